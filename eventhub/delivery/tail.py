"""The tail: reads the whole log and feeds the ring, the sheets and the hub (path: tail).

It starts some minutes back, checks what it reads, and after any failure of the log starts over from its own position.
"""

import asyncio
from collections.abc import Callable, Sequence
from operator import lt

import structlog

from eventhub.delivery.hub import Hub
from eventhub.delivery.ports import Log
from eventhub.delivery.ring import Ring
from eventhub.delivery.sheets import Sheets
from eventhub.errors import UnavailableError
from eventhub.record import LogRecord, Lost, TellCut, tell_nobody

log = structlog.get_logger(__name__)
Learn = Callable[[Sequence[LogRecord]], None]
Later = Callable[[Sequence[LogRecord]], None]
"""Takes the records on to readers who see them later."""


def _no_one(records: Sequence[LogRecord]) -> None:
    """Nobody reads later."""


FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class Tail:
    """One reader of the log for the whole node; `learn` is told what it reads, before any client is.

    `alarms` counts what must never happen: an offset that comes again (skipped), a raw offset that goes backwards
    (delivered all the same). `log_was_cut` is told when the log ends before what was read of it.
    """

    def __init__(
        self,
        source: Log,
        ring: Ring,
        sheets: Sheets,
        hub: Hub,
        learn: Learn,
        log_was_cut: TellCut = tell_nobody,
        later: Later = _no_one,
    ) -> None:
        self.alarms = 0
        self._log_was_cut = log_was_cut
        self._again: set[int] = set()
        self.caught_up = asyncio.Event()
        self._source, self._ring, self._sheets, self._hub = source, ring, sheets, hub
        self._learn, self._later = learn, later
        self._position: dict[int, int] = {}
        self._goal: dict[int, int] = {}
        self._raw: dict[int, tuple[bytes, tuple[int, ...]]] = {}

    async def open(self, seconds_back: float) -> None:
        """Note where to start, and the ends at which it has caught up. Raises UnavailableError."""
        self._position = await self._source.offsets_at(seconds_back)
        self._goal = await self._source.ends()
        self._ring.begin(self._position)
        self._hub.begin(self._position)
        self._sheets.begin(self._position)
        self._look()

    def positions(self) -> dict[int, int]:
        """Per partition the next offset to come."""
        return dict(self._position)

    def position(self, partition: int) -> int:
        """The next offset to come."""
        return self._position[partition]

    async def run(self) -> None:
        """Read for ever; ends only by cancellation."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async for batch in self._source.tail(dict(self._position)):
                    pause_s = FIRST_PAUSE_S
                    self.take(batch)
                    if self._again:
                        await self._not_cut()
                    # A consumer that has records at hand does not wait, and writers need their turn.
                    await asyncio.sleep(0)
            except Exception as error:
                log.warning("log lost, starting over", error=repr(error), pause_s=pause_s, positions=self._position)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def take(self, batch: list[LogRecord]) -> None:
        """Pass a batch on, in one go: nobody sees the ring ahead of the hub."""
        fresh = [record for record in batch if self._admit(record)]
        if fresh:
            self._learn(fresh)
            self._hub.publish(fresh)
            self._later(fresh)
        if self._goal:
            self._look()

    def _admit(self, record: LogRecord) -> bool:
        partition, offset = record.partition, record.offset
        if offset < self._position[partition]:
            # Once a batch: the client begins at the first record of a log that ends before its position.
            if partition not in self._again:
                self._again.add(partition)
                self._alarm("offset comes again", record, self._position[partition])
            return False
        self._position[partition] = offset + 1
        if record.raw:
            lives, last = self._raw.get(partition, (record.lives, ()))
            # Offsets of a raw topic that was made anew begin again.
            if lives == record.lives and any(map(lt, record.raw, last)):
                self._alarm("raw offset goes backwards", record, last)
            self._raw[partition] = record.lives, record.raw
        if record.value is not None:
            self._ring.append(record)
            if record.kind.endswith(":state"):
                self._sheets.fold(record)
        return True

    async def _not_cut(self) -> None:
        """Raise UnavailableError, and tell, where the log ends before what was read of it."""
        ends = await self._source.ends()
        lost = [p for p in sorted(self._again) if ends[p] < self._position[p]]
        self._again.clear()
        for partition in lost:
            await self._log_was_cut(Lost(partition, self._position[partition] - 1, ends[partition]))
        if lost:
            raise UnavailableError(f"the log ends before what was read of its partitions {lost}")

    def _alarm(self, what: str, record: LogRecord, before: object) -> None:
        self.alarms += 1
        log.error(what, partition=record.partition, offset=record.offset, raw=record.raw, before=before)

    def _look(self) -> None:
        self._goal = {p: end for p, end in self._goal.items() if self._position[p] < end}
        if not self._goal:
            self.caught_up.set()
