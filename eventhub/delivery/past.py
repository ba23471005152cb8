"""The past of one match, page by page: the ring, else history up to its progress, else the log itself.

Sources join only where they overlap: what history has not stored yet and the ring no longer holds is read from the log.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec

from eventhub.delivery.hub import Hub
from eventhub.delivery.ports import History, Log, LogRecord
from eventhub.delivery.ring import OVERHEAD_BYTES, Ring
from eventhub.delivery.shared import Fetched, Shared
from eventhub.delivery.view import TRANSLATION, View
from eventhub.errors import EventhubError, UnavailableError

CHUNK = 1024
"""Offsets; a chunk of the past is fetched in one piece."""


class Entry(NamedTuple):
    """An event: its log offset, the log record's value, and its kind (`c:goal`)."""

    offset: int
    value: bytes
    kind: str


class Page(NamedTuple):
    """Every wanted event of the match in (after, upto], ascending; not `whole` where some may be missing for good."""

    entries: list[Entry]
    upto: int
    whole: bool = True


class GoneError(EventhubError):
    """Neither history nor the log has all that lies after this cursor: some up to the offset `upto` is gone."""

    code, title, status = "gone", "No longer there", 410

    def __init__(self, detail: str, *, partition: int, upto: int) -> None:
        super().__init__(detail)
        self.partition, self.upto = partition, upto


class _Payload(msgspec.Struct):
    lang: str = ""


class _Class(msgspec.Struct):
    type: str
    lane: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


_decode_class = msgspec.json.Decoder(_Class).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class _Stored(NamedTuple):
    """What history has of a match from the beginning of a chunk up to `upto`; it never got `lost`, at the latest."""

    rows: list[tuple[Entry, str]]
    upto: int
    lost: int | None


class _Scanned(NamedTuple):
    """What the log has of a partition in [first, end), by match."""

    by_match: dict[str, list[LogRecord]]
    first: int
    end: int


class Past:
    """Reads what came after an offset in one match; who asks for the same stretch at once shares one fetch of it.

    Stretches begin at multiples of CHUNK, so that clients with different cursors share all pages but their first ones.
    """

    def __init__(self, source: Log, history: History, ring: Ring, hub: Hub, shared: Shared[Any]) -> None:
        self._source, self._history, self._ring, self._hub = source, history, ring, hub
        self._shared = shared

    async def page(self, match_id: str, after: int, limit: int, view: View, *, over_gaps: bool = False) -> Page:
        """The next events above `after`, of at most `limit` looked at; `upto` is above `after` unless at the end.

        Where history has a gap above `after`, GoneError; with `over_gaps` what there is, the page marked as not whole.

        Never beyond what the hub has seen, which is the horizon of a delayed reader, even where history is further.
        Blocks for Postgres and Kafka within their deadlines.
        Raises GoneError, or UnavailableError when neither answers.
        """
        page = await self._page(match_id, after, limit, view, over_gaps)
        horizon = max(after, self._hub.seen[self._source.partition_of(match_id)])
        if page.upto <= horizon:
            return page
        return Page([entry for entry in page.entries if entry.offset <= horizon], horizon, page.whole)

    async def _page(self, match_id: str, after: int, limit: int, view: View, over_gaps: bool) -> Page:
        partition = self._source.partition_of(match_id)
        if self._ring.covers(match_id, after):
            records = self._ring.after(match_id, after, limit)
            upto = records[-1].offset if len(records) == limit else max(after, self._hub.seen[partition])
            return Page(held(records, view), upto)
        try:
            stored = await self._from_history(match_id, partition, after, limit, view, over_gaps)
        except UnavailableError:
            return await self._from_log(match_id, partition, after, limit, view, history_down=True)
        if stored.upto > after:
            return stored
        return await self._from_log(match_id, partition, after, limit, view, history_down=False)

    async def _from_history(
        self, match_id: str, partition: int, after: int, limit: int, view: View, over_gaps: bool
    ) -> Page:
        begins, types = (after + 1) // CHUNK * CHUNK, tuple(sorted(view.types or ()))
        stored: _Stored = await self._shared.get(
            ("history", match_id, begins, types), lambda: self._fetch(match_id, partition, begins, types)
        )
        lost = stored.lost if stored.lost is not None and stored.lost > after else None
        if lost is not None and not over_gaps:
            raise GoneError(
                f"history has a gap up to offset {lost}, wanted is {after + 1} of partition {partition}",
                partition=partition,
                upto=lost,
            )
        first = bisect_right(stored.rows, after, key=_offset)
        looked_at = stored.rows[first : first + limit]
        upto = looked_at[-1][0].offset if len(looked_at) == limit else stored.upto
        passes = view.filter()
        found = [entry for entry, revises in looked_at if passes(entry.kind, revises)]
        return Page(found, max(after, upto), whole=lost is None)

    async def _fetch(self, match_id: str, partition: int, begins: int, types: Sequence[str]) -> Fetched[_Stored]:
        """A chunk has at most as many events as offsets, so that a full answer reaches its end."""
        complete = await self._history.progress(partition) - 1
        if complete < begins:
            return Fetched(_Stored([], begins - 1, None), 0)
        lost = await self._history.lost_above(partition, begins - 1)
        rows = await self._history.page(match_id, after=begins - 1, limit=CHUNK, types=types)
        upto = min(rows[-1].offset, complete) if len(rows) == CHUNK else complete
        found = [(Entry(r.offset, r.body, _kind(r.body)), r.revises) for r in rows if r.offset <= upto]
        size_bytes = sum(len(entry.value) + OVERHEAD_BYTES for entry, _ in found) + OVERHEAD_BYTES
        # What lies behind the chunk may be more by the next time; what lies in it is told by its own key.
        return Fetched(_Stored(found, upto, lost), size_bytes if upto >= begins + CHUNK - 1 else 0)

    async def _from_log(
        self, match_id: str, partition: int, after: int, limit: int, view: View, *, history_down: bool
    ) -> Page:
        begins = (after + 1) // CHUNK * CHUNK
        scanned: _Scanned = await self._shared.get(("log", partition, begins), lambda: self._scan(partition, begins))
        if scanned.first > after + 1:
            where = f"the log begins at offset {scanned.first}, wanted is {after + 1} of partition {partition}"
            if history_down:
                raise UnavailableError(f"history is down and {where}; try again", retry_after_s=5)
            raise GoneError(f"{where}, and history does not have it", partition=partition, upto=scanned.first - 1)
        records = scanned.by_match.get(match_id, [])
        first = bisect_right(records, after, key=_offset_of)
        looked_at = records[first : first + limit]
        upto = looked_at[-1].offset if len(looked_at) == limit else scanned.end - 1
        return Page(held(looked_at, view), max(after, upto))

    async def _scan(self, partition: int, begins: int) -> Fetched[_Scanned]:
        """Every match of a chunk in one pass; of what the ring holds, the ring is asked."""
        first = max(begins, (await self._source.beginnings())[partition])
        end = max(begins, min(begins + CHUNK, self._ring.start(partition)))
        by_match: dict[str, list[LogRecord]] = {}
        size_bytes = OVERHEAD_BYTES
        batches = self._source.read(partition, first, end)
        try:
            async for batch in batches if first < end else _nothing():
                for record in batch:
                    if record.value is not None:
                        by_match.setdefault(record.match_id, []).append(record)
                        size_bytes += len(record.value) + OVERHEAD_BYTES
        finally:
            await _close(batches)
        # Retention may have taken the beginning of it between the look above and the read.
        first = max(first, (await self._source.beginnings())[partition])
        return Fetched(_Scanned(by_match, first, end), size_bytes if end == begins + CHUNK else 0)


def held(records: list[LogRecord], view: View) -> list[Entry]:
    """The records that the view lets pass, as entries."""
    passes = view.filter()
    return [Entry(r.offset, r.value or b"", r.kind) for r in records if passes(r.kind, r.revises)]


def _kind(body: bytes) -> str:
    event = _decode_class(body)
    language = f"/{_decode_payload(event.payload).lang}" if event.type == TRANSLATION else ""
    return f"{event.lane[:1]}:{event.type}{language}"


def _offset(row: tuple[Entry, str]) -> int:
    return row[0].offset


def _offset_of(record: LogRecord) -> int:
    return record.offset


async def _nothing() -> AsyncIterator[list[LogRecord]]:
    """Of a stretch that is empty."""
    return
    yield


async def _close(batches: AsyncIterator[list[LogRecord]]) -> None:
    # A generator left half read would keep its client to the log until it is collected.
    close = getattr(batches, "aclose", None)
    if close is not None:
        await close()
