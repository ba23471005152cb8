"""Step 4 of the path: the log in, Postgres out.

Each offset is applied once, because the progress is in the same transaction as the rows.

A record of the log is never dead-lettered here: where Postgres cannot take it, its bytes are stored with a flaw, and an
alarm says so.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from eventhub import record, topics
from eventhub.kafka import Offsets
from eventhub.storage import HistoryWriter, Row, is_data_error
from eventhub.streams.owner import Batch, Lease

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
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        flaw = f"{type(error).__name__}: {error}"
    return Row(
        event_id=tags.event_id.hex(),
        match_id=consumed.key.decode(),
        type=kind[2:],
        lane=kind[0],
        occurred_at=occurred_at,
        offset=consumed.offset,
        body=body,
        flawed_bytes=value if flaw else None,
        flaw=flaw,
    )


class History:
    """The duty of one log partition."""

    topics: tuple[str, ...] = (topics.LOG,)
    refresh_s: float | None = None

    def __init__(self, partition: int, writer: HistoryWriter, offsets: Offsets) -> None:
        self.partition, self._writer, self._offsets = partition, writer, offsets
        self.ready = False
        self._next = 0

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
        self._next = await lease.or_changed(self._writer.progress(self.partition))
        beginning = (await self._offsets.bounds(topics.LOG, self.partition)).beginning
        if beginning > self._next:
            log.error(
                "history has a gap",
                partition=self.partition,
                first=self._next,
                last=beginning - 1,
                hint="noted in log_gaps; Postgres was away for longer than the log keeps records",
            )
            await self._writer.note_gap(self.partition, self._next, beginning - 1)
        self.ready = True

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Store the records; returns when they are committed."""
        for _, consumed in batches:
            await self._apply(consumed)

    async def _apply(self, consumed: Sequence[Any]) -> None:
        following = consumed[-1].offset + 1
        rows = [r for r in map(row, consumed) if r is not None]
        try:
            self._next = await self._writer.apply(self.partition, rows, next_offset=following)
        except Exception as error:
            if not is_data_error(error):
                raise
            await self._bisect(consumed, error)
        else:
            if self._next != following:
                # Another owner is further: seek to where it is.
                self.ready = False
                raise RuntimeError(f"progress of partition {self.partition} is {self._next}, not {following}")

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
        self._next = await self._writer.apply(self.partition, [flawed], next_offset=flawed.offset + 1)
