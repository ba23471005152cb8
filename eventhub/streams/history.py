"""Step 4 of the path: the log in, Postgres out.

Each offset is applied once, because the progress is in the same transaction as the rows.

A record of the log is never dead-lettered here: where Postgres cannot take it, its bytes are stored with a flaw, and an
alarm says so.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog

from eventhub import record, topics
from eventhub.errors import UnavailableError
from eventhub.kafka import Offsets
from eventhub.record import Lost, TellCut, tell_nobody
from eventhub.storage import HistoryWriter, Row, Stand, is_data_error
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Batch

log = structlog.get_logger(__name__)


class _Occurred(msgspec.Struct):
    """The one field that the row needs and no header has; kept as text, Postgres parses it."""

    occurred_at: str


_occurred = msgspec.json.Decoder(_Occurred).decode


def row(consumed: Any) -> Row | None:
    """The row of a log record; None for fences and markers. Pure."""
    value: bytes | None = consumed.value
    if value is None:
        return None
    tags = record.log_tags(record.head(consumed.headers))
    kind = tags.kind.decode()
    occurred_at = body = flaw = None
    try:
        occurred_at = _occurred(value).occurred_at
        body = value.decode()
    except Exception as error:
        # Also what nobody foresaw, as the RecursionError of a value that is nested deeply: one record holds nobody up.
        flaw = f"{type(error).__name__}: {error}"
    return Row(
        event_id=tags.event_id.hex(),
        match_id=consumed.key.decode(),
        type=kind[2:].partition("/")[0],
        lane=kind[0],
        occurred_at=occurred_at,
        offset=consumed.offset,
        body=body,
        flawed_bytes=value if flaw else None,
        flaw=flaw,
        revises=tags.revises.decode().split(",") if tags.revises else None,
    )


class History:
    """The duty of one log partition."""

    topics: tuple[str, ...] = (topics.LOG,)
    refresh_s: float | None = None

    def __init__(
        self,
        partition: int,
        writer: HistoryWriter,
        offsets: Offsets,
        writable: Callable[[], Awaitable[None]],
        log_was_cut: TellCut = tell_nobody,
    ) -> None:
        self.partition, self._writer, self._offsets, self._writable = partition, writer, offsets, writable
        self._log_was_cut = log_was_cut
        self.ready = False
        self._next = 0
        self._lease: Lease | None = None

    def forget(self) -> None:
        """The position is read again from Postgres."""
        self.ready = False

    async def release(self) -> None:
        """Nothing is held."""
        self.ready = False

    def next_offsets(self) -> dict[str, int]:
        """Behind the last applied record."""
        return {topics.LOG: self._next}

    async def acquire(self, lease: Lease) -> None:
        """Read the progress. No fence: the row lock and the progress inside the transaction keep zombies out."""
        self._lease = lease
        await lease.or_changed(self._writable())
        beginning = (await self._offsets.bounds(topics.LOG, self.partition)).beginning
        stand = await lease.or_changed(self._writer.progress(self.partition, beginning))
        self._next = stand.next_offset
        await self._same_log(stand)
        self.ready = True

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Store the records; returns when they are committed. While the platform is read-only, the log buffers."""
        assert self._lease is not None
        await self._lease.or_changed(self._writable())
        for _, consumed in batches:
            await self._apply(consumed)

    async def _apply(self, consumed: Sequence[Any]) -> None:
        following = consumed[-1].offset + 1
        rows = [r for r in map(row, consumed) if r is not None]
        last_ms, lost = consumed[-1].timestamp, self._lost(consumed[0].offset)
        try:
            self._next = await self._writer.apply(
                self.partition, rows, next_offset=following, last_ms=last_ms, lost=lost
            )
        except Exception as error:
            if not is_data_error(error):
                raise
            await self._bisect(consumed, error)
        else:
            if self._next != following:
                # Another owner is further: seek to where it is.
                self.ready = False
                raise RuntimeError(f"progress of partition {self.partition} is {self._next}, not {following}")

    def _lost(self, first: int) -> tuple[int, int] | None:
        """What lies between the position and the next record: the owner passes over what the broker no longer has."""
        if first <= self._next:
            return None
        log.error(
            "history has a gap",
            partition=self.partition,
            first=self._next,
            last=first - 1,
            hint="noted in log_gaps; history was behind for longer than the log keeps records",
        )
        return self._next, first - 1

    async def _same_log(self, stand: Stand) -> None:
        """Raise UnavailableError, and tell, when the log no longer has, or has otherwise, what was applied last.

        That it reaches further says nothing: a log that was cut grows again. The append time does.
        """
        last = stand.next_offset - 1
        beginning, end = await self._offsets.bounds(topics.LOG, self.partition)
        if end > last and (last < beginning or stand.last_ms is None):
            return
        if end > last and await self._offsets.appended_ms(topics.LOG, self.partition, last) in (None, stand.last_ms):
            return
        await self._log_was_cut(Lost(self.partition, last, end))
        raise UnavailableError(f"partition {self.partition} of the log is not the one that history has applied")

    async def _bisect(self, consumed: Sequence[Any], error: Exception) -> None:
        """Find the record that Postgres refuses, store its bytes with the flaw, and everything else as it is."""
        if len(consumed) > 1:
            middle = len(consumed) // 2
            await self._apply(consumed[:middle])
            await self._apply(consumed[middle:])
            return
        flawed = row(consumed[0])
        assert flawed is not None
        flaw = f"{type(error).__name__}: {error}"[:500]
        log.error("record stored with a flaw", partition=self.partition, offset=flawed.offset, flaw=flaw)
        flawed = flawed._replace(body=None, occurred_at=None, flawed_bytes=consumed[0].value, flaw=flaw)
        self._next = await self._writer.apply(
            self.partition,
            [flawed],
            next_offset=flawed.offset + 1,
            last_ms=consumed[0].timestamp,
            lost=self._lost(flawed.offset),
        )
