"""What system tests hold against each other: the source's account, the log, Postgres, the clients, the sheets."""

import asyncio
import contextlib
from collections.abc import Set
from typing import Any, Protocol

import pytest

from eventhub import topics
from eventhub.kafka import Offsets
from tests.support import oracle
from tests.support.clients import Client
from tests.support.feed import CARDS, SCORES
from tests.support.nodes import NodeProcess
from tests.support.wait import until
from tests.system.conftest import Platform

PROVIDER = b'"source":"broadcast/wyscout"'


def provider_events(events: list[bytes]) -> list[bytes]:
    return [event for event in events if PROVIDER in event]


async def final(platform: Platform, node: NodeProcess, match_id: str) -> dict[str, Any]:
    """The match sheet, once it is final."""
    sheet: dict[str, Any] = {}

    async def is_final() -> bool:
        sheet.update(await platform.get(node, f"/v1/matches/{match_id}"))
        return bool(sheet["status"] == "final")

    await until(is_final, f"the final sheet of {match_id}")
    return sheet


async def stored(platform: Platform, match_id: str, count: int) -> list[bytes]:
    """The provider's events of a match in Postgres, in log order, once there are that many."""
    found: list[bytes] = []

    async def is_there() -> bool:
        found[:] = provider_events([b for _, _, b in (await oracle.history(platform.dsn)).get(match_id, [])])
        return len(found) >= count

    await until(is_there, f"{count} events of {match_id} in Postgres")
    return found


def check_sheet(sheet: dict[str, Any], name: str) -> None:
    score = sheet["home"]["score"], sheet["away"]["score"]
    cards = tuple((sheet[s]["yellow_cards"], sheet[s]["red_cards"]) for s in ("home", "away"))
    assert (score, cards) == (SCORES[name], CARDS[name])


def unlike(got: list[bytes], wanted: list[bytes]) -> str:
    """How these differ, in one line, or nothing: thousands of events in a failure would hide everything else."""
    if got == wanted:
        return ""
    same = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
    there, instead = (one[same].decode()[:300] if same < len(one) else "nothing" for one in (got, wanted))
    return (
        f"{len(got)} events instead of {len(wanted)}; the first {same} are the same, then {there} instead of {instead}"
    )


async def no_backlog(platform: Platform) -> bool:
    return await oracle.backlog(platform.cluster, platform.partitions) == 0


async def quiet(platform: Platform, timeout_s: float = 60) -> None:
    """Nothing waits, and for a second nothing has come onto the log: what is put next is what the owner takes next."""
    offsets, loop = Offsets(platform.cluster), asyncio.get_running_loop()
    seen: dict[int, int] = {}
    since = loop.time()
    await offsets.open()

    async def still() -> bool:
        nonlocal seen, since
        ends = await offsets.ends(topics.LOG, platform.partitions)
        if ends != seen:
            seen, since = ends, loop.time()
        return loop.time() - since > 1 and await no_backlog(platform)

    try:
        await until(still, "the log to apply everything and be quiet", timeout_s)
    finally:
        await offsets.close()


async def everything(platform: Platform, *clients: Client) -> dict[str, list[bytes]]:
    """What Postgres has of each match, once every client has the same of all its channels, in the same order."""
    found: dict[str, list[bytes]] = {}

    async def same() -> bool:
        found.clear()
        found.update({m: [b for _, _, b in rows] for m, rows in (await oracle.history(platform.dsn)).items()})
        return all(
            got == found.get(channel.removeprefix("match:"), [])
            for one in clients
            for channel, got in one.events.items()
        )

    try:
        await until(same, "every client to have byte for byte what history has")
    except BaseException as error:
        for number, one in enumerate(clients):
            told = {c: f"{len(got)} of {len(found.get(c.removeprefix('match:'), []))}" for c, got in one.events.items()}
            error.add_note(f"client {number} connected {one.connections} times, with errors {one.errors}, has {told}")
        raise
    return found


def changed(now: dict[str, list[bytes]], before: dict[str, list[bytes]]) -> list[str]:
    """Of each match whose events are not what they were, how they differ."""
    return [f"{m}: {unlike(now.get(m, []), before.get(m, []))}" for m in now | before if now.get(m) != before.get(m)]


class Account(Protocol):
    """Whoever sent events, and knows the ids of those that were accepted, by match."""

    accepted: dict[str, list[str]]


async def exactly_once(platform: Platform, source: Account, *clients: Client, settle_s: float = 90) -> None:
    """Every accepted event is on the log once, in Postgres once, and at each client once, in log order."""
    await until(lambda: no_backlog(platform), "the log to apply everything", settle_s)
    wanted = {i.replace("-", "") for ids in source.accepted.values() for i in ids}
    # What is missing here will not come: to wait for it in history would only hide why.
    _none_missing(wanted, (await oracle.read_log(platform.cluster, platform.partitions)).ids.keys(), "the log")

    async def all_stored() -> bool:
        return await oracle.count(platform.dsn) >= len(wanted)

    await until(all_stored, "history to catch up", settle_s)
    if clients:
        await everything(platform, *clients)
    log, history = await _agreed(platform)
    assert log.backwards == 0
    assert {i for i, n in log.ids.items() if n > 1} == set(), "on the log twice"
    assert len(history) == len(set(history)), "in history twice"
    _none_missing(wanted, log.ids.keys(), "the log")
    _none_missing(wanted, set(history), "history")
    assert set(history) == set(log.ids), "the log and history have other ids"
    assert not any(one.resets for one in clients)
    assert all(recovered for one in clients for recovered in one.recovered)


async def _agreed(platform: Platform) -> tuple[oracle.LogCheck, list[str]]:
    """The log and the ids of history, read until they agree: state events still come between the two looks."""
    seen: list[tuple[oracle.LogCheck, list[str]]] = []

    async def agree() -> bool:
        log = await oracle.read_log(platform.cluster, platform.partitions)
        history = [i for rows in (await oracle.history(platform.dsn)).values() for _, i, _ in rows]
        seen[:] = [(log, history)]
        return set(history) == set(log.ids)

    # What they disagree in for good is told by whoever looks at it.
    with contextlib.suppress(pytest.fail.Exception):
        await until(agree, "the log and history to have the same ids", 20)
    return seen[0]


def _none_missing(wanted: Set[str], found: Set[str], place: str) -> None:
    assert wanted <= found, f"{len(wanted - found)} of {len(wanted)} accepted events are missing in {place}"
