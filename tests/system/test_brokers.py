"""Three brokers, of which two must have a record: one dies and nothing stops, two die and no promise is broken."""

import asyncio
import re
from contextlib import suppress

import httpx2
import pytest
from aiokafka.errors import KafkaError

from eventhub import kafka, topics
from eventhub.errors import UnavailableError
from eventhub.kafka.declare import _Maker
from eventhub.kafka.describe import connected
from tests.conftest import declare
from tests.drills import brokers as drill
from tests.drills.outage import mutated
from tests.support.brokers import Brokers
from tests.support.feed import RealMatch
from tests.support.nodes import running
from tests.support.wait import until
from tests.support.weaken import wipe
from tests.system.checks import check_sheet, exactly_once, final
from tests.system.conftest import Platform


async def one_event(platform: Platform, url: str, match_id: str, number: int) -> httpx2.Response:
    """Send one canonical event and return the answer, whatever it is."""
    event = {
        "source_event_id": f"{match_id}:late:{number}",
        "match_id": match_id,
        "type": "period_end",
        "occurred_at": "2026-01-01T00:00:00Z",
        "period": "second_half",
        "clock_s": 5400 + number,
    }
    async with httpx2.AsyncClient(timeout=40) as http:
        return await http.post(
            f"{url}/v1/ingest/broadcast", json=event, headers={"Authorization": f"Bearer {platform.broadcast_key}"}
        )


@pytest.mark.timeout(240)
async def test_one_broker_may_die_and_of_two_nothing_acknowledged_is_lost(
    on_three: Platform, brokers: Brokers, matches: list[RealMatch]
) -> None:
    node = on_three.node("one")
    first, second = matches[0], matches[1]
    async with running(node), drill.mended(brokers), on_three.client(node) as client:
        source = on_three.source(node)
        for match in (first, second):
            await source.declare(match.name, match)
            await client.subscribe(f"match:{match.name}", start="start")
        batches = 0

        async def kill_one() -> None:
            nonlocal batches
            batches += 1
            if batches == 8:
                await brokers.kill(0)

        await asyncio.wait_for(source.play(first.name, first, batch=50, after=kill_one), 90)
        assert not brokers.processes[0].alive and batches > 16
        live = client.events[f"match:{first.name}"]
        await until(lambda: len(live) >= len(source.accepted[first.name]), "the live client to get everything", 60)
        check_sheet(await final(on_three, node, first.name), first.name)

        await brokers.kill(1)
        promised: list[str] = []
        for number in range(3):
            answer = await one_event(on_three, node.url, second.name, number)
            if answer.status_code == 202:
                assert answer.json()["durable"] == "spool", "one copy is not durable"
                promised += [item["event_id"] for item in answer.json()["items"]]
            else:
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"]
        await brokers.restart(0)
        await brokers.restart(1)
        await brokers.healthy()
        source.accepted.setdefault(second.name, []).extend(promised)
        await asyncio.wait_for(source.play(second.name, second), 90)
        await exactly_once(on_three, source, client)
        assert client.connections == 1, "a socket is never dropped because a dependency is down"
        await source.close()


@pytest.mark.timeout(240)
async def test_what_only_a_dead_leader_had_was_not_accepted(
    on_three: Platform, brokers: Brokers, matches: list[RealMatch]
) -> None:
    assert await drill.unseen(on_three, brokers, matches[0]) > 0


@pytest.mark.timeout(240)
async def test_it_finds_out_a_node_that_asks_one_replica_alone(
    on_three: Platform, brokers: Brokers, matches: list[RealMatch]
) -> None:
    with pytest.raises(AssertionError, match="accepted events are missing in the log"):
        await drill.unseen(on_three, brokers, matches[0], program=mutated("acks-of-one"))


async def nobody_leads(brokers: Brokers) -> None:
    """Topics that a dead broker alone has are there, and are waited for: made anew, they would be read once more."""
    cluster = kafka.Kafka(brokers.bootstrap)
    await wipe(cluster)
    before = await declare(cluster)
    async with drill.mended(brokers), connected(cluster) as admin:
        (control,) = await admin.describe_topics([topics.CONTROL])
        dead = (control["partitions"][0]["leader"] + 1) % brokers.count
        await brokers.kill(dead)

        async def leaderless() -> bool:
            with suppress(KafkaError):  # the dead one may be asked
                (raw,) = await admin.describe_topics([topics.BROADCAST])
                return any(p["leader"] < 0 for p in raw["partitions"])
            return False

        await until(leaderless, "partitions without a leader")
        with pytest.raises(UnavailableError) as refused:
            await declare(cluster, timeout_s=3)
    assert await declare(cluster) == before._replace(created=[]), "topics that were there were made anew"
    assert re.search("partitions of .*broadcast-events.* have no leader", str(refused.value))


@pytest.mark.timeout(240)
async def test_topics_without_a_leader_are_not_made_anew(brokers: Brokers) -> None:
    await nobody_leads(brokers)


@pytest.mark.timeout(240)
async def test_mutant_what_has_no_leader_is_missing(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_led(self: _Maker) -> list[str]:
        led = {name for name, parts in (await self._there()).items() if all(p["leader"] >= 0 for p in parts)}
        return [name for name in topics.TOPICS if name not in led]

    async def at_once(self: _Maker, name: str) -> None:
        return None

    monkeypatch.setattr(_Maker, "_missing", not_led)
    monkeypatch.setattr(_Maker, "_led", at_once)
    with pytest.raises(AssertionError, match="were made anew"):
        await nobody_leads(brokers)
