"""The routes of ingest against a real Kafka: 202 only for what is durable, and clear answers to the rest."""

import gzip
from datetime import timedelta

import msgspec
import pytest

from eventhub import ingest, mode
from eventhub.embedded import Services
from eventhub.ingest.carrier import Carried
from eventhub.record import Outgoing
from tests.ingest.scene import NOW, Scene, event, frozen

pytestmark = pytest.mark.own_services


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


@pytest.mark.parametrize("source", ["sensors", "broadcast"])
async def test_nothing_at_all_is_answered_too(scene: Scene, source: str) -> None:
    answer = await scene.post(f"/v1/ingest/{source}", b"[]", source)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (422, 0, [])
