"""Who is refused, and who waits, when the node has too much to do: over the routes, against a real Kafka."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from eventhub import ingest, kafka, web
from eventhub.embedded import Services
from eventhub.ingest import pressure, window
from eventhub.ingest.pace import PART
from eventhub.ingest.routes import parts
from tests.ingest.scene import LIMITS, Scene, event, frozen, scene_with
from tests.support.wait import until

pytestmark = pytest.mark.own_services

ROUTES = sys.modules[parts.__module__]
"""The module; the package has a function of its name."""
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
