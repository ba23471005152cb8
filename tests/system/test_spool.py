"""Kafka freezes, and the node that spools meanwhile dies, or has no room; `make drill ONLY=spool` is the full form."""

import httpx2
import pytest

from tests.drills import outage
from tests.drills.numbered import Sources
from tests.drills.outage import DURABLE, frozen, left, mutated
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.system.conftest import Platform

pytestmark = pytest.mark.own_services
FOUND_OUT = (AssertionError, pytest.fail.Exception)
PER_S = 400


@pytest.mark.timeout(480)
async def test_nothing_that_was_accepted_is_lost_when_the_node_dies_while_it_spools(
    platform: Platform, matches: list[RealMatch]
) -> None:
    found = await outage.killed(platform, matches[0], frozen_s=15, kills=4, per_s=PER_S)
    assert len(found.spooled) == 4


async def test_a_node_on_the_folder_of_a_dead_one_drains_its_spool(
    platform: Platform, matches: list[RealMatch]
) -> None:
    assert await outage.adopted(platform, matches[0], answers=30) > 0


@pytest.mark.skipif(not outage.mounts(), reason="this machine lets nobody mount a small disk")
async def test_a_disk_that_gets_full_is_503_until_there_is_room(platform: Platform, matches: list[RealMatch]) -> None:
    found = await outage.too_full(platform, matches[0], how="disk", size_bytes=1 << 20, refusals=30)
    assert found.refused >= 30


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("spooled-before-written", "accepted events are missing in the log"),
        ("not-held-back", "is out of order, or has a hole"),
    ],
)
async def test_it_finds_out_a_node_with(platform: Platform, matches: list[RealMatch], name: str, told: str) -> None:
    with pytest.raises(FOUND_OUT, match=told):
        await outage.killed(platform, matches[0], frozen_s=5, kills=1, per_s=PER_S, program=mutated(name))


async def test_it_finds_out_that_nobody_adopts(platform: Platform, matches: list[RealMatch]) -> None:
    with pytest.raises(FOUND_OUT, match="waited 15 s for the dead node's spool to be drained"):
        await outage.adopted(platform, matches[0], answers=10, drained_s=15, program=mutated("nobody-adopts"))


async def test_without_a_durable_disk_nothing_is_accepted_that_kafka_does_not_have(
    platform: Platform, matches: list[RealMatch]
) -> None:
    settings = DURABLE | {"EVENTHUB_SPOOL__DURABLE": "false"}
    node = NodeProcess("one", platform.folder, {**platform.environ, **settings})
    async with running(node), httpx2.AsyncClient(timeout=15) as http:
        await Sources(platform, node).declare(matches[0])
        with frozen(platform):
            event = {"match_id": "m0", "type": "pass", "source_event_id": "1", "occurred_at": "2026-07-01T19:00:00Z"}
            headers = {"Authorization": f"Bearer {platform.broadcast_key}"}
            answer = await http.post(f"{node.url}/v1/ingest/broadcast", json=event, headers=headers)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert left(node.folder / "spool") == 0
