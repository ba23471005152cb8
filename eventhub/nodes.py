"""The cluster's status: each node publishes a summary of itself on `control-events`, and folds everybody's.

A node that ends takes its summary back; one that was killed is shown as silent, and forgotten after an hour.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from eventhub import topics
from eventhub.errors import UnavailableError
from eventhub.kafka import Writer
from eventhub.record import Outgoing

KEY = "node:"
EVERY_S = 2.0
SILENT_S = 10.0
FORGET_S = 3600.0
WRITE_TIMEOUT_S = 5.0
LEAVE_TIMEOUT_S = 2.0
STUCK_MAX = 20
log = structlog.get_logger(__name__)


class Work(msgspec.Struct):
    """One family on one node: partitions as [first, last] runs, so that a summary stays small."""

    partitions: list[tuple[int, int]] = []
    lag: int = 0
    lag_s: float = 0.0
    stuck: list[int] = []
    blocked_by: list[str] = []


class Summary(msgspec.Struct):
    """One node as the others see it."""

    node: str
    at: datetime
    version: str = ""
    ready: bool = False
    mode: str = ""
    degraded: list[str] = []
    families: dict[str, Work] = {}


class _Heard(msgspec.Struct):
    summary: Summary
    at: float


class Nodes:
    """Everybody's summaries by their keys, and when they were heard, by this node's monotonic clock."""

    def __init__(self, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic) -> None:
        self._now, self._clock = now, clock
        self._heard: dict[str, _Heard] = {}
        self._following = False

    def fold(self, key: str, value: bytes | None) -> None:
        """Take a record of `control-events`; those of other keys are left alone."""
        if not key.startswith(KEY):
            return
        if value is None:
            self._heard.pop(key, None)
            return
        summary = msgspec.json.decode(value, type=Summary)
        # What is found on the topic at start has the age that its node gave it; what comes later came just now.
        age_s = 0.0 if self._following else max(0.0, (self._now() - summary.at).total_seconds())
        self._heard[key] = _Heard(summary, self._clock() - age_s)

    def settle(self) -> None:
        """The topic was read to its end."""
        self._following = True

    def long_gone(self) -> list[str]:
        """Keys that nobody has written for an hour."""
        return [key for key, heard in self._heard.items() if self._clock() - heard.at > FORGET_S]

    def status(
        self, own_key: str, own: Summary, families: Collection[str], partitions: int, *, blind: bool
    ) -> dict[str, Any]:
        """For `/status`: all nodes, and per family the partitions that nobody works on.

        `blind`: Kafka is away, so that nothing is known of the others, nor of what they work on (None).
        """
        now = self._clock()
        heard = {key: (now - found.at, found.summary) for key, found in self._heard.items()} | {own_key: (0.0, own)}
        alive = [found for age_s, found in heard.values() if age_s <= SILENT_S]
        return {
            "nodes": [_shown(found, age_s) for _, (age_s, found) in sorted(heard.items())],
            "unowned": None if blind else unowned(alive, families, partitions),
        }


def key(node: str, data_dir: Path) -> str:
    """The key of a node's summary; nodes of one machine on several data folders have the same name."""
    return f"{KEY}{node}@{hashlib.sha256(bytes(data_dir.resolve())).hexdigest()[:6]}"


def _shown(found: Summary, age_s: float) -> dict[str, Any]:
    """A silent node is shown without what it said of itself: that holds no longer."""
    told = {"node": found.node, "state": "silent" if age_s > SILENT_S else "alive", "heard_s_ago": round(age_s, 1)}
    if age_s > SILENT_S:
        return told
    families = {
        name: {**msgspec.to_builtins(work), "partitions": spread(work.partitions)}
        for name, work in found.families.items()
    }
    about = {"version": found.version, "ready": found.ready, "mode": found.mode, "degraded": found.degraded}
    return {**told, **about, "families": families}


def unowned(summaries: Sequence[Summary], families: Collection[str], partitions: int) -> dict[str, list[int]]:
    """Per family the partitions that none of these nodes works on; families without such are left out."""
    found = {}
    for family in families:
        owned = {p for s in summaries if family in s.families for p in spread(s.families[family].partitions)}
        if missing := [p for p in range(partitions) if p not in owned]:
            found[family] = missing
    return found


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """[0, 1, 2, 5] as [(0, 2), (5, 5)]."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def spread(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The opposite of `runs`."""
    return [number for first, last in pairs for number in range(first, last + 1)]


def summary(status: Mapping[str, Any], *, version: str, at: datetime) -> Summary:
    """A node's own status, shortened."""
    return Summary(
        node=status["node"],
        at=at,
        version=version,
        ready=status["ready"],
        mode=status["mode"],
        degraded=sorted(status["degraded"]),
        families={name: _work(name, family, status["stuck"]) for name, family in status["families"].items()},
    )


def _work(name: str, family: Mapping[str, Any], stuck: Sequence[Mapping[str, Any]]) -> Work:
    reports = family["progress"].values()
    return Work(
        partitions=runs(family["partitions"]),
        lag=sum(report["lag"] or 0 for report in reports),
        lag_s=max((report["lag_s"] for report in reports), default=0.0),
        stuck=[s["partition"] for s in stuck if s["family"] == name and s["partition"] is not None][:STUCK_MAX],
        blocked_by=sorted({by for report in reports for by in report["blocked_by"]}),
    )


class Publisher:
    """Writes this node's summary for as long as the node lives, and takes it back at its end.

    `status` makes the node's own status, as `/status` shows it.
    """

    def __init__(
        self,
        nodes: Nodes,
        writer: Writer,
        status: Callable[[], Mapping[str, Any]],
        *,
        key: str,
        version: str,
        now: Callable[[], datetime],
    ) -> None:
        self._nodes, self._writer, self._status = nodes, writer, status
        self._key, self._version, self._now = key, version, now

    async def run(self) -> None:
        """Publish every 2 s, for ever; what Kafka does not take is made up by the next."""
        encode = msgspec.json.Encoder().encode
        while True:
            records = [Outgoing(self._key.encode(), encode(self._own()), [])]
            # Every node does this for all that are gone: to do it twice harms nothing.
            records += [Outgoing(key.encode(), None, []) for key in self._nodes.long_gone() if key != self._key]
            try:
                await self._write(records, WRITE_TIMEOUT_S)
            except UnavailableError as error:
                log.debug("no summary of this node was published", error=error.detail)
            await asyncio.sleep(EVERY_S)

    async def leave(self) -> None:
        """The node ends: it is no longer part of the cluster. Waits for Kafka at most 2 s."""
        with suppress(UnavailableError):
            await self._write([Outgoing(self._key.encode(), None, [])], LEAVE_TIMEOUT_S)

    def cluster(self, families: Collection[str], partitions: int) -> dict[str, Any]:
        """All nodes, for `/status`."""
        own = self._own()
        return self._nodes.status(self._key, own, families, partitions, blind="kafka" in own.degraded)

    def _own(self) -> Summary:
        return summary(self._status(), version=self._version, at=self._now())

    async def _write(self, records: Sequence[Outgoing], timeout_s: float) -> None:
        await self._writer.append(topics.CONTROL, 0, records, timeout_s=timeout_s)
