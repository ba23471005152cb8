"""Catching a subscriber up, and joining it to its channel without a gap or a duplicate (path: connection).

Every match of the channel has a place up to which everything is sent or folded into the state that was sent. Pages
are merged by offset within a partition and never pass what the channel has flushed; the last step, from the ring up
to `flushed` and into the shared subscribers, is synchronous, so that nothing can come between.

A client that falls behind is caught up in the same way, but for what is left out (delivery/slow.py).
"""

import asyncio
from collections.abc import Callable, Mapping
from heapq import merge

from eventhub.delivery import emission, messages, slow
from eventhub.delivery.channels import MATCH, Name
from eventhub.delivery.cursor import Cursor, bad_cursor, parse
from eventhub.delivery.feed import Feed
from eventhub.delivery.frame import Frame
from eventhub.delivery.messages import Id, Wanted
from eventhub.delivery.outbox import Outbox
from eventhub.delivery.past import Entry, GoneError, held
from eventhub.delivery.slow import Skipped
from eventhub.delivery.view import View
from eventhub.errors import UnavailableError


class DelayedError(UnavailableError):
    """A match of the channel was declared with a longer delay since it was subscribed."""

    code = "delayed"


class Follower:
    """One channel of one connection: first catching up, then `live`. `behind` is told when it falls behind again."""

    __slots__ = (
        "_answered", "_behind", "_buffer", "_feed", "_floor", "_head", "_id", "_outbox", "_resets", "_slow",
        "_start", "_upto", "live", "name", "view",
    )  # fmt: skip

    def __init__(
        self,
        feed: Feed,
        outbox: Outbox,
        name: Name,
        view: View,
        wanted: Wanted,
        command_id: Id,
        behind: Callable[["Follower"], None],
    ) -> None:
        """Decide where to start. Raises MalformedError with the code `bad_cursor`."""
        self.name = name
        self._behind, self._slow = behind, False
        self.view = feed.hub.view_for(name, view)
        self.live = False
        self._feed, self._outbox = feed, outbox
        self._id = command_id
        self._head: list[bytes] = []
        self._answered = False
        self._resets = 0
        self._start: dict[str, int] = {}
        self._upto: dict[str, int] = {}
        self._buffer: dict[str, list[Entry]] = {}
        self._floor: dict[int, int] = {}
        self._begin(wanted)

    @property
    def answered(self) -> bool:
        """Whether the client has been told that it is subscribed."""
        return self._answered

    @property
    def delay_s(self) -> float:
        """How late this channel is seen."""
        return self._feed.delay_s

    def cursor(self) -> str:
        """Everything up to here was sent."""
        places = self._floor
        if self.live:
            groups = self._feed.channels.groups(self.name)
            places = {p: self._feed.hub.flushed(self.name, self.view, p) for p in groups}
        return str(Cursor(self._feed.source.epoch, places))

    def join(self) -> bool:
        """The last step: what the ring has up to the channel's last flush, then live. False: more must be fetched.

        Raises DelayedError.
        """
        hub = self._feed.hub
        groups = self._groups()
        if self._ahead(groups):
            return False
        for partition, matches in groups.items():
            # A state may hold what is still pending here; it must not go out to us afterwards.
            if max(self._start[m] for m in matches) > hub.flushed(self.name, self.view, partition):
                hub.flush(self.name, self.view)
        rest: dict[int, list[Entry]] = {}
        for partition, matches in groups.items():
            entries = self._remaining(partition, matches)
            if entries is None:
                return False
            rest[partition] = entries
        sizes = [len(entry.value) for entries in rest.values() for entry in entries]
        if len(sizes) > self._feed.limits.page_events or sum(sizes) * 4 > self._outbox.room_bytes:
            return False
        for partition, entries in rest.items():
            self._emit(partition, entries)
        self._send_head()
        if not self._outbox.closed:
            hub.join(self.name, self.view, self, self._outbox.offer)
            self.live, self._slow = True, False
            self._start, self._upto, self._floor, self._buffer, self._head = {}, {}, {}, {}, []
        return True

    def fall_behind(self) -> None:
        """The client has no room for what is sent to all: from here on it is caught up by itself."""
        flushed, groups = self._feed.hub.flushed, self._matches()
        self.live, self._slow = False, True
        self._place({m: flushed(self.name, self.view, p) for p, matches in groups.items() for m in matches})
        self._behind(self)

    async def catch_up(self) -> None:
        """Page by page until `join` succeeds or the connection ends; waits for the client between pages.

        Raises UnavailableError when neither history nor the log can be read, and DelayedError.
        """
        await self._outbox.drained()
        while not self._outbox.closed:
            try:
                if await self._step():
                    return
            except GoneError as error:
                # What is left begins behind the state that was sent, and goes on being deleted.
                if self._resets:
                    raise UnavailableError(error.detail, retry_after_s=self._feed.limits.retry_after_s) from error
                self._reset("gone", {error.partition: error.upto})
            await asyncio.sleep(0)
            await self._outbox.drained()

    def leave(self) -> None:
        """Stop following."""
        self._feed.hub.leave(self.name, self.view, self)
        self.live = False

    def _begin(self, wanted: Wanted) -> None:
        cursor = None if wanted.cursor is None else self._parse(wanted.cursor)
        if cursor is not None and cursor.epoch != self._feed.source.epoch:
            self._reset("epoch_changed")
        elif cursor is not None:
            place = cursor.seen.get
            self._place({m: place(p, -1) for p, matches in self._matches().items() for m in matches})
            self._answer(recovered=True)
        elif wanted.start is not None:
            self._place({m: -1 for matches in self._matches().values() for m in matches})
            self._answer(recovered=True)
        else:
            sheets = self._from_sheets({})
            self._answer(recovered=False)
            self._head += [messages.state(str(self.name), self.cursor(), sheet) for sheet in sheets]

    def _parse(self, text: str) -> Cursor:
        cursor = parse(text)
        if cursor.epoch == self._feed.source.epoch:
            if max(cursor.seen) >= self._feed.source.partitions:
                raise bad_cursor(text, "it names a partition that does not exist")
            if self.name.kind == MATCH and cursor.seen.keys() != self._matches().keys():
                raise bad_cursor(text, f"it is not one of channel {self.name}")
        return cursor

    def _matches(self) -> dict[int, list[str]]:
        return self._feed.channels.groups(self.name)

    def _groups(self) -> dict[int, list[str]]:
        if self._feed.channels.delay_s(self.name) > self._feed.delay_s:
            raise DelayedError(f"a match of channel {self.name} has a longer delay now; subscribe again")
        # A match that was declared since had no events before.
        groups = self._matches()
        for partition, matches in groups.items():
            self._floor.setdefault(partition, -1)
            for match_id in matches:
                self._start.setdefault(match_id, -1)
                self._upto.setdefault(match_id, -1)
        return groups

    def _place(self, start: dict[str, int]) -> None:
        self._start, self._upto = dict(start), dict(start)
        self._buffer.clear()
        self._floor = {p: min(start[m] for m in matches) for p, matches in self._matches().items()}

    def _from_sheets(self, gone: Mapping[int, int]) -> list[bytes]:
        """Place every match behind its sheet, or behind what is gone of its partition; returns the sheets."""
        partitions = {m: p for p, matches in self._matches().items() for m in matches}
        sheets = {m: self._feed.sheets.of(m) for m in partitions}
        self._place({m: max(sheet.applied, gone.get(partitions[m], -1)) for m, sheet in sheets.items()})
        return [sheet.body for sheet in sheets.values()]

    def _answer(self, *, recovered: bool) -> None:
        self._head = [
            messages.encode(
                id=self._id,
                type="subscribed",
                channel=str(self.name),
                cursor=self.cursor(),
                recovered=recovered,
                view=self.view.told(),
                delay_s=self._feed.delay_s,
            )
        ]

    def _reset(self, reason: str, gone: Mapping[int, int] | None = None) -> None:
        self._resets += 1
        sheets = self._from_sheets(gone or {})
        if not self._answered:
            self._answer(recovered=False)
        channel, cursor = str(self.name), self.cursor()
        self._head.append(messages.reset(channel, cursor, reason, sheets[0]))
        self._head += [messages.state(channel, cursor, sheet) for sheet in sheets[1:]]

    def _ahead(self, groups: dict[int, list[str]]) -> dict[int, int]:
        """By partition the greatest place that this node's tail has not reached."""
        tops = {p: max(self._start[m] for m in matches) for p, matches in groups.items()}
        return {p: top for p, top in tops.items() if top > self._feed.hub.seen[p]}

    async def _step(self) -> bool:
        groups = self._groups()
        ahead = self._ahead(groups)
        if ahead:
            ends = await self._feed.source.ends()
            if any(top >= ends[p] for p, top in ahead.items()):
                self._reset("ahead_of_log")
            else:
                self._send_head()
                for partition, top in ahead.items():
                    await self._feed.hub.reached(partition, top)
            return self.join()
        for partition, matches in groups.items():
            lag_s = self._lag_s(matches) if self._slow else 0
            if self._slow and lag_s >= self._feed.limits.snapshot_after_s:
                self._stand_in(partition, matches)
            await self._fetch(partition, matches, conflate=self._slow and lag_s >= self._feed.limits.conflate_after_s)
        return self.join()

    def _lag_s(self, matches: list[str]) -> float:
        """How long ago what comes next was appended to the log; endless where the ring no longer has it."""
        ring = self._feed.ring
        if not all(ring.covers(m, self._upto[m]) for m in matches):
            return float("inf")
        following = [record.appended_ms for m in matches for record in ring.after(m, self._upto[m], 1)]
        return (ring.newest_ms - min(following, default=ring.newest_ms)) / 1000 - self._feed.delay_s

    def _stand_in(self, partition: int, matches: list[str]) -> None:
        """Of a match that is far behind, the critical events and the state that the others led to."""
        ring = self._feed.ring
        busy = [m for m in matches if ring.after(m, self._upto[m], 1)]
        whole = all(ring.covers(m, self._upto[m]) and not self._buffer.get(m) for m in matches)
        # The states of two matches end at two places; what lies between would be told twice, or out of order.
        if not whole or len(busy) != 1:
            return
        upto, sheet = self._upto[busy[0]], self._feed.sheets.of(busy[0])
        if not upto < sheet.applied <= self._feed.hub.flushed(self.name, self.view, partition):
            return
        self._feed.slow["stood_in"] += 1
        left = slow.only_critical(held(ring.before(busy[0], upto, sheet.applied), self.view))
        self._head += self._told(partition, left.skipped)
        self._emit(partition, left.entries)
        for match_id in matches:
            self._start[match_id] = self._upto[match_id] = sheet.applied
        self._floor[partition] = sheet.applied
        self._head.append(messages.state(str(self.name), self.cursor(), sheet.body))
        self._send_head()

    async def _fetch(self, partition: int, matches: list[str], *, conflate: bool) -> None:
        """Fetch the next page of the match that is furthest behind, and send what is complete for all."""
        flushed = self._feed.hub.flushed(self.name, self.view, partition)
        behind = min(self._upto[m] for m in matches)
        if behind < flushed:
            for match_id in matches:
                if self._upto[match_id] == behind:
                    page = await self._feed.past.page(match_id, behind, self._feed.limits.page_events, self.view)
                    self._buffer.setdefault(match_id, []).extend(page.entries)
                    self._upto[match_id] = page.upto
        flushed = self._feed.hub.flushed(self.name, self.view, partition)
        entries = self._take(matches, min(flushed, min(self._upto[m] for m in matches)))
        if conflate:
            left = slow.conflate(entries)
            self._feed.slow["conflated"] += bool(left.skipped)
            self._head += self._told(partition, left.skipped)
            entries = left.entries
        sent = 0
        for run in messages.pieces([entry.value for entry in entries], self._feed.limits.queue_bytes // 4):
            self._emit(partition, entries[sent : sent + len(run)])
            sent += len(run)
            await self._outbox.drained()

    def _take(self, matches: list[str], bound: int) -> list[Entry]:
        """Remove from the buffers what lies at or below the bound, in log order."""
        taken = []
        for match_id in matches:
            entries = self._buffer.get(match_id, [])
            taken.append([e for e in entries if e.offset <= bound])
            self._buffer[match_id] = [e for e in entries if e.offset > bound]
        return list(merge(*taken))

    def _remaining(self, partition: int, matches: list[str]) -> list[Entry] | None:
        """All that is left up to the last flush, in log order; None when it is too much, or not in the ring."""
        flushed = self._feed.hub.flushed(self.name, self.view, partition)
        parts: list[list[Entry]] = []
        for match_id in matches:
            parts.append(self._buffer.get(match_id, []))
            if self._upto[match_id] < flushed:
                if not self._feed.ring.covers(match_id, self._upto[match_id]):
                    return None
                records = self._feed.ring.before(match_id, self._upto[match_id], flushed)
                if len(records) > self._feed.limits.page_events:
                    return None
                parts.append(held(records, self.view))
        return [e for e in merge(*parts) if e.offset <= flushed]

    def _told(self, partition: int, skipped: list[Skipped]) -> list[bytes]:
        return emission.told(self.name, self._feed.source.epoch, self._floor, partition, skipped)

    def _emit(self, partition: int, entries: list[Entry]) -> None:
        """Send events with a cursor each; the floor follows frame by frame, for a refused frame was not sent."""
        if self._head and entries:
            first, entries = entries[: emission.WITH_ANSWER], entries[emission.WITH_ANSWER :]
            self._head += emission.lines(self.name, self._feed.source.epoch, self._floor, partition, first)
            self._send_head()
            if self._head:
                return
            self._floor[partition] = first[-1].offset
        sent = 0
        for frame, events in emission.frames(self._feed, self.name, self._floor, partition, entries):
            if not self._outbox.put(frame):
                return
            sent += events
            self._floor[partition] = entries[sent - 1].offset

    def _send_head(self) -> None:
        if self._head and self._outbox.put(Frame(self._head)):
            self._head, self._answered = [], True
