"""Brokers of three die, of which two must have a record: ingest goes on, or promises nothing that it cannot keep.

The suites by size: the CI runs them small (tests/system/test_brokers.py), `make drill ONLY=brokers` in full.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import psutil

from tests.drills.numbered import LOAD_S, MATCHES, Sources, Together, count, in_order, one_match_each
from tests.drills.outage import left, spool_node
from tests.support.brokers import Brokers
from tests.support.feed import RealMatch
from tests.support.nodes import running
from tests.support.wait import until
from tests.system.checks import exactly_once
from tests.system.conftest import Platform

ACK_S = {"EVENTHUB_INGEST__ACK_TIMEOUT_S": "5"}
WITHOUT = {**ACK_S, "EVENTHUB_SPOOL__DURABLE": "false"}
BATCH = 50
UNSEEN_S, SESSION_S = 1.5, 2.5
"""For how long two brokers stand still, and how soon the controller could take them out (3 s less a heartbeat)."""
MENDED_S = 180
UNAVAILABLE = "unavailable"
SETTLE_S = 900


class Survived(NamedTuple):
    """Figures of a run that was judged.

    `one_down`: events that two brokers took while the third was dead. `spooled`, `refused`: while two were dead, events
    taken from the spool, and refusals of the node that has none. `unseen`: leaders that died with what only they had.
    """

    accepted: int
    one_down: int
    spooled: int
    refused: int
    unseen: int
    per_s: float


async def killed(
    platform: Platform,
    brokers: Brokers,
    match: RealMatch,
    *,
    size: int,
    two_down_s: float,
    unseen: int,
    per_s: float | None = None,
) -> Survived:
    """One broker dies, then a second, both come back, and leaders die alone; over so many accepted events.

    Two nodes take them: one whose disk counts as durable, and one whose disk does not. `per_s`: the sources' pace at
    each of them; None: as fast as it answers.
    """
    loop = asyncio.get_running_loop()
    safe, plain = spool_node(platform, "safe", more=ACK_S), spool_node(platform, "plain", more=WITHOUT)
    to_safe = Sources(platform, safe, per_s=per_s, batch=BATCH, name="s")
    to_plain = Sources(platform, plain, per_s=per_s, batch=BATCH, matches=one_match_each(platform.partitions))
    both = (to_safe, to_plain)
    async with running(safe, plain), mended(brokers):
        await asyncio.gather(*(one.declare(match) for one in both))
        async with to_safe.sending(), to_plain.sending():
            begun_at = loop.time()
            await accepted(both, size // 5)
            await brokers.kill(0)
            dead_at = loop.time()
            await asyncio.gather(*(one.more("log", 3 * MATCHES) for one in both))
            await accepted(both, 2 * size // 5)
            one_down = sum(one.events("log", dead_at) for one in both)
            assert not brokers.processes[0].alive, "the first broker was not dead all the time"

            spooled, refused = await two_down(brokers, to_safe, to_plain, two_down_s)
            await asyncio.gather(*(one.more("log", 3 * MATCHES) for one in both))
            for turn in range(unseen):
                await dies_unseen(brokers, turn % brokers.count)
            await accepted(both, size)
            were_per_s = count(both) / (loop.time() - begun_at)
        await until(lambda: left(safe.folder / "spool") == 0, "the spool to be drained")
        assert left(plain.folder / "spool") == 0
        await exactly_once(platform, Together(*both), settle_s=SETTLE_S)
        await in_order(platform)
    return Survived(count(both), one_down, spooled, refused, unseen, round(were_per_s, 1))


async def two_down(brokers: Brokers, to_safe: Sources, to_plain: Sources, for_s: float) -> tuple[int, int]:
    """The second broker dies too: no 202 but from the spool; then both come back.

    Returns how many events the one node spooled, and how often the other refused.
    """
    loop = asyncio.get_running_loop()
    await brokers.kill(1)
    dead_at = loop.time()
    await asyncio.gather(to_safe.more("spool", 3 * MATCHES), to_plain.more(UNAVAILABLE))
    await until(lambda: loop.time() > dead_at + for_s, "the time to pass", for_s + 60)
    assert [process.alive for process in brokers.processes] == [False, False, True]
    promised = to_safe.events("log", dead_at) + to_plain.events("log", dead_at)
    assert promised == 0, f"{promised} events were accepted that one broker alone has"
    assert to_plain.events("spool") == 0, "a spool that is not durable was promised"
    found = to_safe.events("spool", dead_at), to_plain.said()[UNAVAILABLE]
    await brokers.restart(0)
    await brokers.restart(1)
    await brokers.healthy(MENDED_S)
    return found


async def unseen(platform: Platform, brokers: Brokers, match: RealMatch, *, program: Sequence[str] = ()) -> int:
    """A leader dies with what nobody else had; returns how many events were accepted."""
    node = spool_node(platform, "plain", tuple(program), more=WITHOUT)
    sources = Sources(platform, node, matches=one_match_each(platform.partitions))
    async with running(node), mended(brokers):
        await sources.declare(match)
        async with sources.sending():
            await sources.more("log", 3 * MATCHES)
            await dies_unseen(brokers, 0)
            await sources.more("log", 3 * MATCHES)
        await exactly_once(platform, sources)
        await in_order(platform)
    return sources.count


async def dies_unseen(brokers: Brokers, i: int) -> None:
    """Broker i dies while the others stand still, so that they do not have what it took; they wake, and it comes back.

    Nobody has been taken out of the replicas in sync by then, so one of the others leads next.
    """
    loop = asyncio.get_running_loop()
    others = [n for n in range(brokers.count) if n != i]
    frozen_at = loop.time()
    for n in others:
        brokers.freeze(n)
    try:
        await until(lambda: loop.time() > frozen_at + UNSEEN_S, "records that only one broker has")
        assert all(psutil.Process(brokers.pid(n)).status() == psutil.STATUS_STOPPED for n in others)
        alone_s = loop.time() - frozen_at
        await brokers.kill(i)
        assert alone_s < SESSION_S, "it died too late: the others were no longer in sync"
    finally:
        for n in others:
            brokers.wake(n)
    await brokers.answering()
    await brokers.restart(i)
    await brokers.healthy(MENDED_S)


async def accepted(sources: Sequence[Sources], events: int) -> None:
    """Wait until all of them together have so many."""
    await until(lambda: count(sources) >= events, f"{events} accepted events", LOAD_S)


@asynccontextmanager
async def mended(brokers: Brokers) -> AsyncIterator[None]:
    """Whatever happens, all brokers run at the end."""
    try:
        yield
    finally:
        for i, process in enumerate(brokers.processes):
            if not process.alive:
                await brokers.restart(i)
        await brokers.healthy(MENDED_S)
