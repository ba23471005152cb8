"""Room for sensors on the path, so that nothing they send waits in front of a goal (path: within step 1).

What a node has taken of sensors and has not seen on the log yet is under way; it may be as much as the pace's window.
Whoever does not fit waits for its turn, and for broadcast that is under way; nobody is refused here.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from eventhub import topics
from eventhub.ingest.pace import Pace
from eventhub.record import LogRecord

BROADCAST, SENSORS = topics.RAW.index(topics.BROADCAST), topics.RAW.index(topics.SENSORS)
FOLLOWED = {"broadcast": BROADCAST, "sensors": SENSORS}
"""The sources that are followed through the path, each with its place in a record's vector."""
YIELD_S = 0.5
"""However much of broadcast is under way, and however narrow the window, something of sensors goes in so often."""
GAP_S = 0.02
"""While broadcast comes, bodies of sensors are read so far apart: each keeps the loop for some milliseconds."""
SILENT_S = 1.0
"""A partition of which nothing is heard for so long has no owner now, and a Kafka that acknowledges nothing is away:
what waits for them is no load of this node."""


class Part:
    """A part of a request: its weight, since when it is under way, and in how many partitions it was not seen yet.

    `counted` while it takes room; `clean` where it found no sensors under way.
    """

    __slots__ = ("clean", "counted", "missing", "since", "source", "weight")

    def __init__(self, source: int, weight: int, since: float, *, clean: bool) -> None:
        self.source, self.weight, self.since, self.clean = source, weight, since, clean
        self.missing, self.counted = 0, True


class Window:
    """What is under way from this node. Times are `clock`'s, in seconds; weights are bytes and a bit for each item."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = Pace()
        self._clock = clock
        self._under_way = dict.fromkeys(FOLLOWED.values(), 0)
        self._entered = float("-inf")
        self._approached = float("-inf")
        self._door, self._turn, self._onward = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._moved = asyncio.Event()
        self._begun: set[Part] = set()
        self._parts: dict[tuple[int, int], deque[tuple[int, Part]]] = {}
        self._reached: dict[tuple[int, int], int] = {}
        self._heard: dict[int, float] = {}
        self._silent: set[int] = set()

    @property
    def under_way(self) -> int:
        """The weight of what sensors have under way."""
        return self._under_way[SENSORS]

    @property
    def size(self) -> float:
        """The weight that they may have under way now."""
        return self._pace.window(self._clock())

    async def approach(self, source: str, *, within_s: float | None = None) -> None:
        """Before a body is read: while broadcast comes as well, sensors come one after another, in order, in its gaps.

        Raises TimeoutError when that takes longer than `within_s`.
        """
        if source != "sensors":
            return
        async with asyncio.timeout(within_s), self._door:
            while (wait_s := self._approach_s()) > 0:
                await self._news(wait_s)
            self._approached = self._clock()

    async def enter(
        self, source: str, weight: int, *, onward: bool = False, within_s: float | None = None
    ) -> Part | None:
        """Begin a part; None for a source that is not followed.

        Sensors wait for room, in the order of the calls, but for parts of requests that go `onward`: they come first,
        or else all requests would take as long as all of them together. Raises TimeoutError when that takes longer than
        `within_s`.
        """
        if source not in FOLLOWED:
            return None
        if source != "sensors":
            return self._begin(FOLLOWED[source], weight)
        async with asyncio.timeout(within_s), self._onward if onward else self._turn:
            while (wait_s := self._wait_s(weight, onward)) > 0:
                await self._news(wait_s)
            self._entered = self._clock()
            self._moved.set()
            return self._begin(SENSORS, weight)

    @contextmanager
    def follow(self, part: Part | None) -> Iterator[dict[int, int]]:
        """To be filled with the part's places: per partition of its raw topic an offset at or behind its last record.

        It is under way until they were seen; one that failed, or went to the spool, has none.
        """
        places: dict[int, int] = {}
        try:
            yield places
        finally:
            if part is not None:
                self._sent(part, places)

    def see(self, records: Iterable[LogRecord]) -> None:
        """What the tail has read: how far the raw topics are applied."""
        newest = {record.partition: record.raw for record in records if record.raw}
        now = self._clock()
        for partition, applied in newest.items():
            self._heard[partition] = now
            self._silent.discard(partition)
            for source in FOLLOWED.values():
                self._reach(source, partition, applied[source], now)

    def _begin(self, source: int, weight: int) -> Part:
        part = Part(source, weight, self._clock(), clean=not self.under_way)
        self._under_way[source] += weight
        self._begun.add(part)
        return part

    async def _news(self, wait_s: float) -> None:
        """Wait until something came through, for so long at most."""
        self._moved.clear()
        # Not wait_for: Python 3.11's loses a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._moved.wait()
        self._pass_over()

    def _approach_s(self) -> float:
        """How long to wait at most until the next look; 0 or less when the next body may be read."""
        now = self._clock()
        if not self._pace.beside(now):
            return 0.0
        return self._approached + (YIELD_S if self._under_way[BROADCAST] else GAP_S) - now

    def _wait_s(self, weight: int, onward: bool) -> float:
        """How long to wait at most until the next look; 0 or less when the part may begin. Alone it always may."""
        now = self._clock()
        if self._onward.locked() and not onward:
            return SILENT_S
        if self.under_way and self.under_way + weight > self._pace.window(now):
            return SILENT_S
        if self._under_way[BROADCAST] and now < self._entered + YIELD_S:
            return self._entered + YIELD_S - now
        return self._entered + min(self._pace.pause_s(weight, now), YIELD_S) - now

    def _sent(self, part: Part, places: Mapping[int, int]) -> None:
        self._begun.discard(part)
        now = self._clock()
        for partition, offset in places.items():
            at = part.source, partition
            if self._is_silent(partition, now):
                # Where no sensors wait nobody else looks, and what is kept for it would grow.
                self._pass_over()
            if self._reached.get(at, -1) < offset and partition not in self._silent:
                if not self._awaited(partition):
                    self._heard[partition] = now
                part.missing += 1
                self._parts.setdefault(at, deque()).append((offset, part))
        if not part.missing:
            self._leave(part)

    def _reach(self, source: int, partition: int, offset: int, now: float) -> None:
        self._reached[source, partition] = offset
        queue = self._parts.get((source, partition))
        while queue and queue[0][0] <= offset:
            part = queue.popleft()[1]
            part.missing -= 1
            if part.missing:
                continue
            if source == BROADCAST:
                self._pace.broadcast_took(now - part.since, now, clean=part.clean)
            else:
                wanted = self._turn.locked() or self._onward.locked()
                self._pace.sensors_took(now - part.since, now, part.weight, wanted=wanted)
            self._leave(part)

    def _leave(self, part: Part) -> None:
        if part.counted:
            part.counted = False
            self._under_way[part.source] -= part.weight
            self._moved.set()

    def _awaited(self, partition: int) -> bool:
        return any(self._parts.get((source, partition)) for source in FOLLOWED.values())

    def _is_silent(self, partition: int, now: float) -> bool:
        return self._awaited(partition) and now - self._heard[partition] > SILENT_S

    def _pass_over(self) -> None:
        """What waits for Kafka counts no more, nor for a silent partition until it is heard of again."""
        now = self._clock()
        for part in [part for part in self._begun if now - part.since > SILENT_S]:
            self._leave(part)
        self._silent.update(p for _, p in self._parts if self._is_silent(p, now))
        for at, queue in self._parts.items():
            while at[1] in self._silent and queue:
                part = queue.popleft()[1]
                part.missing -= 1
                if not part.missing:
                    self._leave(part)
