"""Three hundred records of which thirty are dead, a node that is killed amid them, and what operators then do."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from eventhub import record, topics
from eventhub.events import RawEvent
from eventhub.identity import fingerprint, identity
from eventhub.kafka import Partitioner, Writer, read_range
from eventhub.record import Outgoing
from tests.support.desk import Desk
from tests.support.feed import RealMatch
from tests.support.groups import scramble
from tests.support.nodes import NodeProcess
from tests.support.wait import until
from tests.system.checks import exactly_once, no_backlog, quiet
from tests.system.conftest import Platform

MATCH, LATER = "m", "later"
POSTED, PUT = 240, 30
WANTED = {
    "unknown_match": 10,
    "malformed": 5,
    "enrichment_failed": 5,
    "unknown_type": 3,
    "id_conflict": 4,
    "too_late": 3,
}
BYTES = b"\xff\x00 not JSON"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def raw(match_id: str, name: str, *, source: str = "broadcast", **fields: Any) -> Outgoing:
    """A raw record as ingest would have put it."""
    now = datetime.now(UTC)
    who = identity(source, match_id, name, 0, b"")
    said: dict[str, Any] = {"type": "pass", "occurred_at": now} | fields
    event = RawEvent(event_id=who.text, source=source, match_id=match_id, accepted_at=now, **said)
    head = record.pack_tags(who.packed, fingerprint(name.encode()), f"n:{event.type}".encode())
    return Outgoing(match_id.encode(), msgspec.json.encode(event), [("h", head)])


def event_id(one: Outgoing) -> str:
    found: str = msgspec.json.decode(one.value or b"")["event_id"]
    return found


async def conflicts(platform: Platform, partition: int) -> list[Outgoing]:
    """Records that are on the raw topic already, with another fingerprint."""
    found = [r async for rs in read_range(platform.cluster, topics.BROADCAST, partition, 0) for r in rs]
    made = []
    for one in found[: WANTED["id_conflict"]]:
        tags = record.raw_tags(record.head(one.headers))
        head = record.pack_tags(tags.event_id, b"another!", tags.kind)
        made.append(Outgoing(one.key, one.value, [("h", head)]))
    return made


def broken() -> list[Outgoing]:
    """Fifteen that nobody can process, and with `too_late` and `id_conflict` the twenty that no replay mends."""
    good = raw(MATCH, "broken")
    return [
        *(Outgoing(MATCH.encode(), BYTES, [("h", b"")]) for _ in range(3)),
        Outgoing(MATCH.encode(), None, []),
        Outgoing(MATCH.encode(), b"[" * 200_000, [("h", bytes(32))]),
        *(Outgoing(MATCH.encode(), good.value, [("h", b"short")]) for _ in range(WANTED["enrichment_failed"])),
        *(raw(MATCH, f"strange{n}", type="moonwalk") for n in range(WANTED["unknown_type"])),
    ]


async def put(writer: Writer, topic: str, partition: int, rows: Sequence[Outgoing]) -> None:
    await writer.append(topic, partition, rows, timeout_s=10)


async def die_between_letters_and_log(node: NodeProcess) -> None:
    """The node has frozen itself just before its send: the letters are out, the log has nothing of it."""
    await until(node.is_frozen, "the node to freeze before its send")
    node.kill()


@pytest.mark.timeout(400)
async def test_thirty_dead_of_three_hundred_are_listed_once_and_mended(
    platform: Platform, matches: list[RealMatch], tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    node = platform.node("one", "tests.support.held", str(flag))
    source, desk = platform.source(node), Desk(platform, tmp_path / "desk")
    partitioner = Partitioner(platform.partitions)
    here, there = partitioner(MATCH), partitioner(LATER)
    writer = Writer(platform.cluster)
    await writer.open()
    later = [raw(LATER, f"l{n}") for n in range(WANTED["unknown_match"])]
    good = [raw(MATCH, f"g{n}") for n in range(PUT)]
    try:
        node.start()
        await node.ready()
        await source.declare(MATCH, matches[0])
        records = [one for _, _, one in matches[0].feed.records[:POSTED]]
        await source.post(MATCH, records[: POSTED // 2])
        await put(writer, topics.BROADCAST, there, later[:5])
        await quiet(platform)
        flag.touch()
        dead = [*broken(), *await conflicts(platform, here)]
        # One batch, so that the letters and what follows them on the log belong to one step of the owner.
        await put(writer, topics.BROADCAST, here, [*dead, *good])
        await die_between_letters_and_log(node)
        old = {"type": "post", "occurred_at": datetime.now(UTC) - timedelta(hours=1)}
        late = [raw(MATCH, f"late{n}", source="social", **old) for n in range(WANTED["too_late"])]
        await put(writer, topics.SOCIAL, here, late)
        await put(writer, topics.BROADCAST, there, later[5:])
        await scramble(platform.cluster, platform.partitions, "deleted")
        node.start()
        await node.ready()
        await source.post(MATCH, records[POSTED // 2 :])
        source.accepted[MATCH] += map(event_id, good)
        await exactly_once(platform, source)
        assert len(set(source.accepted[MATCH])) == POSTED + PUT
        await listed_once_each(desk, dead)
        await until(lambda: scraped(node, sum(WANTED.values())), "the node's metrics to show every letter")
        source.accepted[LATER] = list(map(event_id, later))
        await mend(platform, desk, node, source.declare(LATER, matches[1]))
        await exactly_once(platform, source)
        await put_away(platform, desk)
        await traced(desk, platform, event_id(later[0]), event_id(good[0]))
    finally:
        await writer.close()
        await source.close()
        node.close()


async def listed_once_each(desk: Desk, dead: Sequence[Outgoing]) -> None:
    letters = await desk.letters()
    assert Counter(one["code"] for one in letters) == WANTED
    assert len({one["key"] for one in letters}) == sum(WANTED.values()) == 30
    assert {one["attempts"] for one in letters} == {1}
    twice = [one for one in letters if one["written"] > 1]
    assert len(twice) >= len(dead), "the kill did not come between the letters and the log"
    summary = json.loads(await desk.ok("dlq", "list", "--summary", "--json"))
    assert (summary["open"], summary["by_code"]) == (30, WANTED)
    assert summary["oldest_age_s"] > 0
    shown = json.loads(await desk.ok("dlq", "show", letters[0]["key"], "--json"))
    assert shown["key"] == letters[0]["key"] and "value" in shown
    cause = next(one for one in letters if one["code"] == "malformed" and one["size_bytes"] == len(BYTES))
    assert BYTES.hex() in await desk.ok("dlq", "show", cause["key"])


async def scraped(node: NodeProcess, wanted: int) -> bool:
    async with httpx2.AsyncClient(timeout=10) as http:
        lines = (await http.get(f"{node.admin_url}/metrics")).text.splitlines()
    of_codes = [line for line in lines if line.startswith("eventhub_dead_letters_open{")]
    return sum(float(line.split()[-1]) for line in of_codes) == wanted


async def mend(platform: Platform, desk: Desk, node: NodeProcess, declaring: Any) -> None:
    """The cause goes, the node starts anew, and the letters are sent again: asked for, where many are meant."""
    await declaring
    assert await node.end() == 0
    node.start()
    await node.ready()
    refused = await desk.run("dlq", "replay", "--code", "unknown_match")
    assert refused.returncode == 64 and "--yes" in refused.stderr
    assert await desk.ok("dlq", "replay", "--code", "unknown_match", "--yes") == "10\n"
    await until(lambda: no_backlog(platform), "what was sent again to be applied")
    letters = await desk.letters("--state", "all")
    assert len(letters) == 30
    closed = [one for one in letters if one["state"] != "open"]
    assert {(one["state"], one["code"], one["match_id"]) for one in closed} == {("replayed", "unknown_match", LATER)}
    assert len(closed) == 10


async def put_away(platform: Platform, desk: Desk) -> None:
    """What cannot be mended is the same letter with another attempt, and then it is discarded."""
    before = {one["key"] for one in await desk.letters()}
    assert await desk.ok("dlq", "replay", "--all", "--yes") == "20\n"
    await until(lambda: no_backlog(platform), "what was sent again to be applied")
    again = await desk.letters()
    assert [one["attempts"] for one in again] == [2] * 20
    assert {one["key"] for one in again} == before
    one_key = next(one["key"] for one in again if one["code"] == "too_late")
    assert await desk.ok("dlq", "discard", one_key, "--reason", "test data") == "1\n"
    assert (await desk.run("dlq", "discard", "--code", "malformed", "--reason", "x")).returncode == 64
    assert await desk.ok("dlq", "discard", "--code", "malformed", "--reason", "not ours", "--yes") == "5\n"
    letters = await desk.letters("--state", "all")
    left = {one["code"] for one in letters if one["state"] == "open"}
    assert left == {"enrichment_failed", "unknown_type", "id_conflict", "too_late"}
    (gone,) = [one for one in letters if one["state"] == "discarded" and one["key"] == one_key]
    assert gone["reason"] == "test data" and "@" in gone["ended_by"]
    assert (await desk.run("dlq", "show", f"{topics.BROADCAST}.0.987654")).returncode == 65
    assert (await desk.run("dlq", "replay")).returncode == 64


async def traced(desk: Desk, platform: Platform, mended: str, good: str) -> None:
    found = json.loads(await desk.ok("trace", mended, "--json"))
    hops = [hop["hop"] for hop in found["hops"] if hop["hop"] != "state"]
    assert hops == ["accepted", "dead", "replayed", "log", "history"]
    assert (found["verdict"], found["match_id"]) == ("on the log and in history", LATER)
    told = (await desk.ok("trace", good, "--match", MATCH, EVENTHUB_POSTGRES__DSN=NOWHERE)).splitlines()
    assert told[0].split() == ["HOP", "PLACE", "TIME", "STEP", "MS", "TOTAL", "MS"]
    lines = {line.split()[0]: line for line in told[1:]}
    assert f"{topics.LOG}[{Partitioner(platform.partitions)(MATCH)}]@" in lines["log"]
    assert "not known: PostgreSQL" in lines["history"]
    unknown = await desk.run("trace", "00000000-0000-8000-8000-000000000000")
    assert unknown.returncode == 65 and "nothing knows event" in unknown.stderr
    assert (await desk.run("trace", "goal")).returncode == 64
