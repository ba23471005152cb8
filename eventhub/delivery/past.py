"""The past of one match, page by page: the ring, else history up to its progress, else the log itself.

Sources join only where they overlap: what history has not stored yet and the ring no longer holds is read from the log.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from eventhub.delivery.hub import Hub
from eventhub.delivery.ports import History, Log, LogRecord
from eventhub.delivery.ring import Ring
from eventhub.delivery.view import ALL, View
from eventhub.errors import EventhubError, UnavailableError


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


class _Class(msgspec.Struct):
    type: str
    lane: str


_decode_class = msgspec.json.Decoder(_Class).decode


class Past:
    """Reads what came after an offset in one match."""

    def __init__(self, source: Log, history: History, ring: Ring, hub: Hub) -> None:
        self._source, self._history, self._ring, self._hub = source, history, ring, hub

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
            stored = await self._stored(match_id, partition, after, limit, view, over_gaps)
        except UnavailableError:
            return await self._scanned(match_id, partition, after, limit, view, history_down=True)
        if stored.upto > after:
            return stored
        return await self._scanned(match_id, partition, after, limit, view, history_down=False)

    async def _stored(self, match_id: str, partition: int, after: int, limit: int, view: View, over_gaps: bool) -> Page:
        complete = await self._history.progress(partition) - 1
        if complete <= after:
            return Page([], after)
        lost = await self._history.lost_above(partition, after)
        if lost is not None and not over_gaps:
            raise GoneError(
                f"history has a gap up to offset {lost}, wanted is {after + 1} of partition {partition}",
                partition=partition,
                upto=lost,
            )
        types = sorted(view.types or ())
        rows = await self._history.page(match_id, after=after, limit=limit, types=types)
        upto = min(rows[-1].offset, complete) if len(rows) == limit else complete
        kinds = [(row, _kind(row.body)) for row in rows if row.offset <= upto]
        found = [Entry(r.offset, r.body, kind) for r, kind in kinds if view == ALL or view.passes(kind, r.revises)]
        return Page(found, upto, whole=lost is None)

    async def _scanned(
        self, match_id: str, partition: int, after: int, limit: int, view: View, *, history_down: bool
    ) -> Page:
        await self._has(partition, after, history_down=history_down)
        # The ring may have evicted more meanwhile; the next page looks again.
        end = self._ring.start(partition)
        if end <= after + 1:
            return Page([], after)
        found: list[LogRecord] = []
        batches = self._source.read(partition, after + 1, end)
        try:
            async for batch in batches:
                found += [r for r in batch if r.match_id == match_id and r.value is not None]
                if len(found) >= limit:
                    end = max(found[-1].offset, batch[-1].offset) + 1
                    break
        finally:
            await _close(batches)
        # Retention may have taken the beginning of it between the look above and the read.
        await self._has(partition, after, history_down=history_down)
        return Page(held(found, view), end - 1)

    async def _has(self, partition: int, after: int, *, history_down: bool) -> None:
        """Raise GoneError, or UnavailableError while history may have it, where the log begins behind `after`."""
        beginning = (await self._source.beginnings())[partition]
        if beginning > after + 1:
            where = f"the log begins at offset {beginning}, wanted is {after + 1} of partition {partition}"
            if history_down:
                raise UnavailableError(f"history is down and {where}; try again", retry_after_s=5)
            raise GoneError(f"{where}, and history does not have it", partition=partition, upto=beginning - 1)


def held(records: list[LogRecord], view: View) -> list[Entry]:
    """The records that the view lets pass, as entries."""
    wanted = [r for r in records if view == ALL or view.passes(r.kind, r.revises)]
    return [Entry(r.offset, r.value or b"", r.kind) for r in wanted]


def _kind(body: bytes) -> str:
    event = _decode_class(body)
    return f"{event.lane[:1]}:{event.type}"


async def _close(batches: AsyncIterator[list[LogRecord]]) -> None:
    # A generator left half read would keep its client to the log until it is collected.
    close = getattr(batches, "aclose", None)
    if close is not None:
        await close()
