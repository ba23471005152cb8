"""The routes of ingest against a real Kafka: 202 only for what is durable, and clear answers to the rest."""

import asyncio
import gzip
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette

from eventhub import auth, ingest, kafka, mode, topics, web
from eventhub.embedded import Services
from eventhub.errors import EventhubError
from eventhub.events import Match, Team
from eventhub.ingest import pressure, window
from eventhub.ingest.carrier import Carried
from eventhub.ingest.pace import PART
from eventhub.ingest.routes import parts
from eventhub.record import Outgoing
from tests.support.wait import until

ROUTES = sys.modules[parts.__module__]
"""The module; the package has a function of its name."""
NOW = datetime(2026, 7, 1, 19, tzinfo=UTC)
LIMITS = ingest.Limits(max_body_bytes=100_000, max_items=50, max_depth=8, ack_timeout_s=2)


class Scene(NamedTuple):
    http: httpx2.AsyncClient
    keys: dict[str, str]
    cluster: kafka.Kafka
    mode: mode.Mode
    gate: ingest.Gate
    window: ingest.Window

    async def post(self, path: str, body: bytes, key: str = "broadcast", **headers: str) -> httpx2.Response:
        authorization = {"Authorization": f"Bearer {self.keys.get(key, key)}"}
        return await self.http.post(path, content=body, headers=authorization | headers)

    async def get(self, path: str, key: str = "broadcast") -> httpx2.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {self.keys.get(key, key)}"})

    async def declare_elsewhere(self, match_id: str) -> None:
        """What another node writes when it is told of a match."""
        match = Match(match_id, Team("h", "H"), Team("a", "A"), NOW)
        writer = kafka.Writer(self.cluster)
        await writer.open()
        record = Outgoing(match_id.encode(), msgspec.json.encode(match), [])
        await writer.append(topics.REGISTRY, kafka.Partitioner(8)(match_id), [record], timeout_s=10)
        await writer.close()

    async def raw(self) -> list[str]:
        """Source ids on the broadcast topic, partition by partition."""
        found = []
        for partition in range(8):
            async for records in kafka.read_range(self.cluster, topics.BROADCAST, partition, 0):
                found += [json.loads(r.value)["source_event_id"] for r in records]
        return found


@pytest.fixture
async def scene(own_cluster: kafka.Kafka, own_declared: kafka.Declared, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_with(LIMITS, own_cluster, tmp_path) as made:
        yield made


@asynccontextmanager
async def scene_with(limits: ingest.Limits, cluster: kafka.Kafka, folder: Path) -> AsyncIterator[Scene]:
    keys, registry, secrets = auth.Keys(), ingest.Registry(), {}
    for source in auth.SOURCES:
        secrets[source], key = auth.new_key(source, NOW)
        keys.fold(*auth.record_key(key))
    writer = kafka.Writer(cluster)
    await writer.open()
    table = kafka.Table(cluster, topics.REGISTRY, 8, registry.fold)
    await table.open()

    async def caught_up() -> None:
        await table.open()

    now_mode = mode.Mode(folder / "mode.json", lambda: NOW)
    now_mode.settle()
    partitioner = kafka.Partitioner(8)
    carrier = ingest.Carrier(writer, partitioner, None, lost=lambda: False, timeout_s=limits.ack_timeout_s)
    gate, room = ingest.Gate(limits), ingest.Window()
    node = ingest.Node(
        name="n1",
        keys=keys,
        mode=now_mode,
        registry=registry,
        known=ingest.Known(),
        registry_caught_up=caught_up,
        writer=writer,
        carriers=dict.fromkeys(topics.SOURCE_TOPIC, carrier),
        partitioner=partitioner,
        adapters=ingest.adapters.load(),
        limits=limits,
        gate=gate,
        window=room,
        now=lambda: NOW,
    )
    app = Starlette(routes=ingest.routes(node), exception_handlers={EventhubError: web.on_error})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://node") as http:
        made = Scene(http, secrets, cluster, now_mode, gate, room)
        match = {"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}, "starts_at": NOW.isoformat()}
        headers = {"Authorization": f"Bearer {secrets['admin']}"}
        assert (await http.put("/v1/matches/m1", json=match, headers=headers)).status_code in (200, 201)
        yield made
    await table.close()
    await writer.close()


def event(number: str, **changes: Any) -> bytes:
    given = {"match_id": "m1", "type": "pass", "occurred_at": NOW.isoformat(), "source_event_id": number}
    return json.dumps(given | changes).encode()


@contextmanager
def frozen(services: Services) -> Any:
    """Kafka does not answer."""
    pid = services.pid("kafka")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def accepted_only_when_durable(scene: Scene, services: Services) -> None:
    with frozen(services):
        answer = await scene.post("/v1/ingest/broadcast", event("frozen"))
    assert answer.status_code == 503, f"{answer.status_code} although Kafka had not acknowledged"
    assert int(answer.headers["retry-after"]) >= 1


async def test_202_only_once_kafka_has_acknowledged(scene: Scene, own_services: Services) -> None:
    await accepted_only_when_durable(scene, own_services)
    again = await scene.post("/v1/ingest/broadcast", event("after"))
    assert again.status_code == 202
    assert "after" in await scene.raw()


async def test_mutant_202_before_the_acknowledgement(
    scene: Scene, own_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(self: ingest.Carrier, topic: str, by_match: dict[str, list[Outgoing]]) -> Carried:
        return Carried("log", {})

    monkeypatch.setattr(ingest.Carrier, "append", at_once)
    with pytest.raises(AssertionError, match="had not acknowledged"):
        await accepted_only_when_durable(scene, own_services)


async def test_an_invalid_item_never_holds_back_a_valid_one(scene: Scene) -> None:
    body = b"\n".join([event("v1"), b'{"match_id":', event("v2", type="try"), event("v3")])
    answer = await scene.post("/v1/ingest/broadcast", body, **{"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["durable"]) == (2, "log")
    assert [item["index"] for item in told["items"]] == [0, 3]
    assert [(r["index"], r["code"]) for r in told["rejected"]] == [(1, "malformed"), (2, "unknown_type")]
    assert {"v1", "v3"} <= set(await scene.raw())


async def test_a_match_that_another_node_has_just_declared_is_known(scene: Scene) -> None:
    await scene.declare_elsewhere("far8")
    answer = await scene.post("/v1/ingest/broadcast", event("first", match_id="far8"))
    assert (answer.status_code, answer.json()["rejected"]) == (202, [])
    await scene.declare_elsewhere("far9")
    answer = await scene.post("/v1/ingest/broadcast/wyscout?match_id=far9", b"{}")
    # It is no record of this provider, but the match is known.
    assert [one["code"] for one in answer.json()["rejected"]] == ["malformed"]


async def test_nothing_accepted_is_422_and_nothing_is_stored(scene: Scene) -> None:
    answer = await scene.post("/v1/ingest/broadcast", event("no", match_id="m2"))
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["code"] == "unknown_match"
    assert "no" not in await scene.raw()


async def test_the_same_id_with_other_bytes_is_told_at_once(scene: Scene) -> None:
    assert (await scene.post("/v1/ingest/broadcast", event("c1"))).status_code == 202
    assert (await scene.post("/v1/ingest/broadcast", event("c1"))).status_code == 202
    answer = await scene.post("/v1/ingest/broadcast", event("c1", clock_s=5))
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["code"] == "id_conflict"
    assert (await scene.post("/v1/ingest/broadcast", event("c1", clock_s=5, revision=1))).status_code == 202


@pytest.mark.parametrize(
    ("path", "key", "body", "status", "code"),
    [
        ("/v1/ingest/broadcast", "none", b"{}", 401, "unauthorized"),
        ("/v1/ingest/broadcast", "social", b"{}", 403, "forbidden"),
        ("/v1/ingest/radio", "broadcast", b"{}", 404, "not_found"),
        ("/v1/ingest/broadcast/opta?match_id=m1", "broadcast", b"{}", 404, "not_found"),
        ("/v1/ingest/broadcast/wyscout?match_id=m2", "broadcast", b"{}", 422, "unknown_match"),
        ("/v1/ingest/broadcast", "broadcast", b"[{]", 400, "malformed"),
        ("/v1/ingest/broadcast", "broadcast", b"", 400, "malformed"),
        ("/v1/ingest/broadcast", "broadcast", b"x" * 100_001, 413, "too_large"),
        ("/v1/ingest/broadcast", "broadcast", b"[" + b"{}," * 50 + b"{}]", 413, "too_large"),
    ],
)
async def test_a_refused_request_is_a_problem_with_its_code(
    scene: Scene, path: str, key: str, body: bytes, status: int, code: str
) -> None:
    answer = await scene.post(path, body, key)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert scene.keys["broadcast"] not in answer.text


async def test_gzip_is_taken_and_never_inflated_beyond_the_limit(scene: Scene) -> None:
    gzipped = {"Content-Encoding": "gzip"}
    assert (await scene.post("/v1/ingest/broadcast", gzip.compress(event("gz")), **gzipped)).status_code == 202
    bomb = gzip.compress(b" " * 50_000_000)
    assert (await scene.post("/v1/ingest/broadcast", bomb, **gzipped)).status_code == 413
    cut = gzip.compress(event("cut"))[:-4]
    assert (await scene.post("/v1/ingest/broadcast", cut, **gzipped)).status_code == 400
    assert "cut" not in await scene.raw()


async def test_a_match_is_declared_once_and_changed_by_put(scene: Scene) -> None:
    match = {"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}, "starts_at": NOW.isoformat()}
    admin = {"Authorization": f"Bearer {scene.keys['admin']}"}
    assert (await scene.http.put("/v1/matches/m9", json=match, headers=admin)).status_code == 201
    assert (await scene.http.put("/v1/matches/m9", json=match, headers=admin)).status_code == 200
    moved = match | {"starts_at": "2026-07-02T19:00:00Z"}
    only_new = await scene.http.put("/v1/matches/m9", json=moved, headers=admin | {"If-None-Match": "*"})
    assert only_new.status_code == 412
    assert only_new.json()["match"]["starts_at"] == "2026-07-01T19:00:00Z"
    assert (await scene.http.put("/v1/matches/m9", json=moved, headers=admin)).json()["starts_at"] == moved["starts_at"]
    same = match | {"away": match["home"]}
    assert (await scene.http.put("/v1/matches/m8", json=same, headers=admin)).status_code == 422


async def test_a_dry_run_shows_the_mapped_events_and_stores_nothing(scene: Scene) -> None:
    body = b"\n".join([event("dry", clock_s=61.5), event("bad", type="try")])
    answer = await scene.post("/v1/ingest/broadcast?dry_run=true", body)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["accepted"], told["durable"]) == (1, None)
    assert (told["items"][0]["event"]["clock_s"], told["items"][0]["event"]["type"]) == (61.5, "pass")
    assert told["rejected"][0]["code"] == "unknown_type"
    assert (await scene.post("/v1/ingest/broadcast?dry_run=perhaps", event("dry"))).status_code == 400
    # Nothing was noted either: the same id with other bytes is no conflict.
    assert (await scene.post("/v1/ingest/broadcast", event("dry"))).status_code == 202
    assert (await scene.raw()).count("dry") == 1


async def test_a_key_sees_its_own_counts_lateness_and_refusals_and_no_other_key_does(scene: Scene) -> None:
    late = (NOW - timedelta(seconds=90)).isoformat()
    await scene.post("/v1/ingest/broadcast", b"[%s,%s]" % (event("s1", occurred_at=late), event("s2", type="try")))
    await scene.post("/v1/ingest/broadcast", event("s1", occurred_at=late))
    await scene.post("/v1/ingest/broadcast", b"[{]")
    told = (await scene.get("/v1/ingest/status")).json()
    assert (told["requests"], told["accepted"], told["duplicates"], told["rejected"]) == (2, 2, 1, 2)
    assert told["codes"] == {"unknown_type": 1, "malformed": 1}
    assert told["lateness_s"] == {"p50": 90, "p99": 90, "max": 90}
    newest, older = told["rejects"]
    assert (newest["index"], newest["code"]) == (None, "malformed")
    assert (older["index"], older["pointer"]) == (1, "/type")
    assert '"s2"' in older["item"]
    assert (await scene.get("/v1/ingest/status", "sensors")).json()["requests"] == 0
    assert (await scene.get("/v1/ingest/status", "nobody")).status_code == 401


async def test_read_only_refuses_matches_and_goes_on_taking_events(scene: Scene) -> None:
    match = {"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}, "starts_at": NOW.isoformat()}
    admin = {"Authorization": f"Bearer {scene.keys['admin']}"}
    scene.mode.fold(mode.KEY, msgspec.json.encode(mode.Setting("read_only", "upgrade", "ann", NOW, None, 1)))
    answer = await scene.http.put("/v1/matches/m10", json=match, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (503, "read_only")
    assert int(answer.headers["retry-after"]) >= 1
    assert "upgrade" in answer.json()["detail"]
    assert (await scene.post("/v1/ingest/broadcast", event("ro"))).status_code == 202


async def test_mutant_a_write_that_does_not_ask_for_the_mode_passes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mode.Mode, "check", lambda _: None)
    with pytest.raises((AssertionError, KeyError)):
        await test_read_only_refuses_matches_and_goes_on_taking_events(scene)


CROWDED = LIMITS._replace(max_pending_bytes=700, ack_timeout_s=30)


def fix(number: str) -> bytes:
    return event(number, type="tracking_frame", payload={"players": []})


async def sensors_wait_first(scene: Scene, services: Services) -> None:
    """Broadcast fills half of what may be in hand while Kafka stands still: sensors are refused, broadcast is not."""
    size = len(event("b0"))
    with frozen(services):
        waiting = [asyncio.create_task(scene.post("/v1/ingest/broadcast", event(f"b{n}"))) for n in range(4)]
        await until(lambda: scene.gate.pending_bytes == 4 * size, "four requests to wait for Kafka")
        assert 350 < 4 * size < 525, "the scene is about more than half, and less than three quarters"
        refused = await asyncio.wait_for(scene.post("/v1/ingest/sensors", fix("s0"), "sensors"), 2)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded"), "sensors were taken before"
        assert int(refused.headers["retry-after"]) >= 1
        goal = asyncio.create_task(scene.post("/v1/ingest/broadcast", event("b4", type="goal")))
        await until(lambda: scene.gate.pending_bytes > 4 * size, "the goal to be in hand as well")
        assert not any(one.done() for one in waiting), "Kafka was frozen, and yet it acknowledged"
    assert [(await one).status_code for one in (*waiting, goal)] == [202] * 5
    assert (await scene.post("/v1/ingest/sensors", fix("s0"), "sensors")).status_code == 202
    assert scene.gate.refused == {("sensors", "pending"): 1}


async def test_under_pressure_sensors_wait_and_broadcast_goes_on(
    own_cluster: kafka.Kafka, own_declared: kafka.Declared, own_services: Services, tmp_path: Path
) -> None:
    async with scene_with(CROWDED, own_cluster, tmp_path) as scene:
        await sensors_wait_first(scene, own_services)


async def test_mutant_every_source_is_equal(
    own_cluster: kafka.Kafka,
    own_declared: kafka.Declared,
    own_services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(pressure.BEARABLE, "sensors", pressure.BEARABLE["broadcast"])
    async with scene_with(CROWDED, own_cluster, tmp_path) as scene:
        with pytest.raises((AssertionError, TimeoutError)):
            await sensors_wait_first(scene, own_services)


async def sensors_are_told_to_come_again(scene: Scene) -> None:
    """Another request has taken the window, and its part does not come through."""
    with scene.window.follow(await scene.window.enter("sensors", PART)):
        refused = await scene.post("/v1/ingest/sensors", fix("w0"), "sensors")
        assert refused.status_code == 503, "it waited on"
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1 and "on its way" in refused.json()["detail"]
        assert (await scene.post("/v1/ingest/broadcast", event("w1", type="goal"))).status_code == 202
    assert scene.gate.refused == {("sensors", "turn"): 1}
    assert (await scene.post("/v1/ingest/sensors", fix("w0"), "sensors")).status_code == 202


async def test_sensors_that_wait_for_their_turn_too_long_are_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ROUTES, "TURN_S", 0.5)
    monkeypatch.setattr(window, "SILENT_S", 5)
    await sensors_are_told_to_come_again(scene)


async def test_a_body_that_waits_too_long_to_be_read_is_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            await asyncio.Event().wait()

    monkeypatch.setattr(ROUTES, "TURN_S", 0.1)
    monkeypatch.setattr(ingest.Window, "approach", never)
    monkeypatch.setattr(web, "read_body", None)
    refused = await scene.post("/v1/ingest/sensors", fix("w0"), "sensors")
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert scene.gate.refused == {("sensors", "turn"): 1}


async def test_mutant_sensors_wait_for_as_long_as_it_takes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ROUTES, "TURN_S", 3600)
    monkeypatch.setattr(window, "SILENT_S", 0.05)
    with pytest.raises(AssertionError, match="it waited on"):
        await sensors_are_told_to_come_again(scene)


@pytest.mark.parametrize("turn_s", [0.2, 10])
async def test_a_request_that_has_begun_goes_on_first_but_not_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, turn_s: float
) -> None:
    onward, enter = [], ingest.Window.enter

    async def noted(self: ingest.Window, *of: Any, **how: Any) -> Any:
        onward.append(how.get("onward", False))
        await asyncio.sleep(0.15)
        return await enter(self, *of, **how)

    monkeypatch.setattr(ROUTES, "TURN_S", turn_s)
    monkeypatch.setattr(ROUTES, "PART", 1)
    monkeypatch.setattr(ingest.Window, "enter", noted)
    body = b"\n".join(fix(f"o{n}") for n in range(4))
    answer = await scene.post("/v1/ingest/sensors", body, "sensors", **{"Content-Type": "application/x-ndjson"})
    assert answer.json()["accepted"] == 4
    assert onward[:2] == [False, True] and onward[-1] == (turn_s == 10)


@pytest.mark.parametrize("source", ["sensors", "broadcast"])
async def test_nothing_at_all_is_answered_too(scene: Scene, source: str) -> None:
    answer = await scene.post(f"/v1/ingest/{source}", b"[]", source)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (422, 0, [])


async def test_a_request_that_is_taken_in_parts_is_answered_and_counted_as_one(scene: Scene) -> None:
    items = [fix(f"p{n}") if n not in (3, 48) else b"{" for n in range(50)]
    assert len(list(parts(list(enumerate(items)), PART))) > 1, "the scene is about more than one part"
    body = b"\n".join(items)
    answer = await scene.post("/v1/ingest/sensors", body, "sensors", **{"Content-Type": "application/x-ndjson"})
    told = answer.json()
    assert (answer.status_code, told["accepted"], told["durable"]) == (202, 48, "log")
    assert [one["index"] for one in told["items"]] == [n for n in range(50) if n not in (3, 48)]
    assert [one["index"] for one in told["rejected"]] == [3, 48]
    status = (await scene.get("/v1/ingest/status", "sensors")).json()
    assert (status["requests"], status["accepted"], status["rejected"]) == (1, 48, 2)
    assert [one["index"] for one in status["rejects"]] == [48, 3]


async def test_a_key_that_sends_too_much_is_refused_whole_and_other_keys_are_not(
    own_cluster: kafka.Kafka, own_declared: kafka.Declared, tmp_path: Path
) -> None:
    async with scene_with(LIMITS._replace(items_per_s=1, items_burst=3), own_cluster, tmp_path) as scene:
        assert (await scene.post("/v1/ingest/broadcast", event("k0"))).status_code == 202
        refused = await scene.post("/v1/ingest/broadcast", b"[%s]" % b",".join(event(f"k{n}") for n in range(1, 4)))
        assert (refused.status_code, refused.json()["code"]) == (429, "key_rate")
        assert int(refused.headers["retry-after"]) >= 1 and "3 at once" in refused.json()["detail"]
        assert (await scene.post("/v1/ingest/broadcast", event("k4"))).status_code == 202
        assert (await scene.post("/v1/ingest/social", event("p0", type="post"), "social")).status_code == 202
        kept = set(await scene.raw())
        assert {"k0", "k4"} <= kept and not {"k1", "k2", "k3"} & kept
        assert scene.gate.refused == {("broadcast", "key_rate"): 1}
