"""What must hold after a drill, whatever was done to the nodes; each account is read where it really is."""

import json
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import psycopg
import pytest

from eventhub import topics
from eventhub.kafka import Offsets, read_range
from tests.drills import undisturbed
from tests.drills.sender import Sender
from tests.drills.undisturbed import Rows
from tests.support import oracle
from tests.support.clients import Client
from tests.support.nodes import NodeProcess
from tests.support.oracle import LogCheck
from tests.support.wait import until
from tests.system.conftest import Platform

SETTLE_S = 60
FENCES_AT_START, FENCES_A_FAULT = 4, 4


class Account(NamedTuple):
    """Figures of a drill that was judged."""

    submissions: int
    stored: int
    refused: int
    buried: int
    unanswered: int
    fences_most: int


async def judge(
    platform: Platform, sender: Sender, nodes: list[NodeProcess], clients: list[Client], *, faults: int
) -> Account:
    """Everything sent is on the log once, in Postgres once, at each client once in log order, and conflicts nowhere.

    States and sheets are those of an undisturbed run. `faults` bounds the fences: each moves a partition away and back.
    """
    try:
        log = await settled(platform, sender.plan.matches)
    except pytest.fail.Exception:
        # What is wrong with the log may be why it never settles, and says more.
        check_log(await oracle.read_log(platform.cluster, platform.partitions))
        raise
    check_log(log)
    await check_history(platform, sender.plan.unique, log)
    buried = await _check_conflicts(platform, sender)
    await _check_clients(clients, log.values)
    await _check_sheets(platform, nodes, log.values)
    most = no_fence_loop(log, faults=faults)
    return Account(
        sender.answered, len(sender.plan.unique), sum(sender.refused.values()), buried, len(sender.unanswered), most
    )


def check_log(log: LogCheck) -> None:
    """No raw offset goes backwards, and no event is on the log twice."""
    assert log.backwards == 0, "a raw offset went backwards"
    twice = [i for i, n in log.ids.items() if n > 1]
    assert not twice, f"{len(twice)} events are on the log twice"


def no_fence_loop(log: LogCheck, *, faults: int) -> int:
    """Owners fence when a partition comes to them and not again; returns the most fences of a partition."""
    most = max(Counter(partition for partition, _, _ in log.fences).values())
    assert most <= FENCES_AT_START + FENCES_A_FAULT * faults, f"a fence loop: {most} of one partition, {faults} faults"
    return most


async def settled(platform: Platform, matches: Sequence[str], timeout_s: float = SETTLE_S) -> LogCheck:
    """The log, once the raw topics are on it, history has it, and no state event is missing at its end."""
    logs: list[LogCheck] = []

    async def is_settled() -> bool:
        if not await _applied(platform):
            return False
        logs[:] = [await oracle.read_log(platform.cluster, platform.partitions)]
        values = logs[0].values
        # Nothing follows the state of a match's end, whatever became of those before it.
        return all(
            undisturbed.found(values.get(m, []))[-1:] == undisturbed.fold(m, values.get(m, [])).states[-1:]
            for m in matches
        )

    await until(is_settled, "the log to apply everything, history the log, and the last state of each match", timeout_s)
    return logs[0]


async def _applied(platform: Platform) -> bool:
    if await oracle.backlog(platform.cluster, platform.partitions):
        return False
    async with await psycopg.AsyncConnection.connect(platform.dsn) as connection:
        rows = await connection.execute("select log_partition, next_offset from log_progress")
        progress: dict[int, int] = dict(await rows.fetchall())
    return progress == await _log_ends(platform)


async def _log_ends(platform: Platform) -> dict[int, int]:
    offsets = Offsets(platform.cluster)
    await offsets.open()
    try:
        return {p: (await offsets.bounds(topics.LOG, p)).end for p in range(platform.partitions)}
    finally:
        await offsets.close()


async def check_history(platform: Platform, wanted: Set[int], log: LogCheck) -> None:
    """History has the events of these numbers once, and the ids of the log."""
    async with await psycopg.AsyncConnection.connect(platform.dsn) as connection:
        rows = await connection.execute("select (body->'payload'->>'n')::int from events where type <> 'state'")
        numbers = Counter(n for (n,) in await rows.fetchall())
        rows = await connection.execute("select event_id from events")
        ids = {event_id.hex for (event_id,) in await rows.fetchall()}
    missing, foreign = wanted - numbers.keys(), numbers.keys() - wanted
    assert not missing, f"{len(missing)} of {len(wanted)} accepted events are missing in history"
    assert not foreign, f"{len(foreign)} events in history should not be there: {sorted(foreign)[:5]}"
    assert ids == log.ids.keys(), f"{len(ids ^ log.ids.keys())} events are on the log or in history alone"
    # The primary key alone does not say it: the same submission under two ids would be two rows.
    assert numbers.total() == len(wanted), "in history twice"


async def _check_conflicts(platform: Platform, sender: Sender) -> int:
    """Each conflict that was sent is a 422 or a dead letter; returns the number of dead letters, folded by key."""
    letters = await dead_letters(platform)
    assert {code for code, _ in letters.values()} <= {"id_conflict"}
    buried = Counter(number for _, number in letters.values())
    wanted = sender.plan.conflicts
    assert buried.keys() | sender.refused.keys() == wanted, "a conflict that nobody told of, or one that was none"
    # Exactly one outcome for each try that was answered; a try without an answer may have had one too.
    requests = sender.plan.requests
    unknown = sum(one.kind == "conflict" for i in sender.unanswered if i >= 0 for one in requests[i].submissions)
    told = buried.total() + sum(sender.refused.values())
    if unknown == 0:
        assert told == len(wanted), f"{len(wanted)} conflicts were sent, {told} told"
    assert told >= len(wanted)
    return buried.total()


NONSENSE = b"no event"
"""What a drill puts on raw topics to have a dead letter for certain; nobody's submission."""


async def dead_letters(platform: Platform) -> dict[str, tuple[str, int]]:
    """Code and submission of each dead letter, folded by key: a repeat after a crash is the same letter."""
    letters: dict[str, tuple[str, int]] = {}
    for partition in range(platform.partitions):
        async for records in read_range(platform.cluster, topics.DEAD, partition, 0):
            for one in records:
                if one.value == NONSENSE:
                    continue
                value: dict[str, Any] = json.loads(one.value)
                letters[one.key.decode()] = dict(one.headers)["code"].decode(), value["payload"]["n"]
    return letters


async def _check_sheets(platform: Platform, nodes: list[NodeProcess], values: dict[str, Rows]) -> None:
    for match_id, rows in values.items():
        wanted = undisturbed.fold(match_id, rows)
        got = undisturbed.found(rows)
        causes = dict(got)
        missing = [cause for cause, shown in wanted.states if causes.get(cause) != shown]
        assert not missing, f"{len(missing)} of {len(wanted.states)} state events of {match_id} are missing or other"
        assert got == wanted.states, f"the state events of {match_id} are in another order"
        for node in nodes:
            shown = await platform.get(node, f"/v1/matches/{match_id}")
            assert {key: shown[key] for key in wanted.final} == wanted.final, f"the sheet of {match_id} at {node.name}"


async def _check_clients(clients: list[Client], values: dict[str, Rows]) -> None:
    wanted = {match_id: [value for _, value in rows] for match_id, rows in values.items()}

    def behind() -> bool:
        return any(
            len(got) < len(wanted.get(channel.removeprefix("match:"), ()))
            for one in clients
            for channel, got in one.events.items()
        )

    await until(lambda: not behind(), "every client to have as many events as the log", SETTLE_S)
    for number, one in enumerate(clients):
        assert not one.resets, f"client {number} was reset"
        assert all(one.recovered), f"client {number} was told of a gap"
        for channel, got in one.events.items():
            assert got == wanted.get(channel.removeprefix("match:"), []), f"client {number} on {channel}"
