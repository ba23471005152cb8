"""The hub: from the tail to every subscriber of a channel, without knowing what a client is (path: hub).

A message is built once per event and channel, a frame once per channel, view and window, shared by all its
subscribers. A channel that was idle for a window flushes at once, a busy one waits its window out, and a critical
event flushes at once with everything pending before it: within a channel nothing follows something of higher offset.
Nothing here waits for a client: who has no room for a frame falls behind, and joins again when it has caught up.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from eventhub.delivery import messages
from eventhub.delivery.channels import KINDS, MATCH, STATES_ONLY, TEAM, Channels, Name
from eventhub.delivery.cursor import pairs
from eventhub.delivery.frame import Frame
from eventhub.delivery.pace import Pace
from eventhub.delivery.ports import Log, Registry
from eventhub.delivery.view import View
from eventhub.events import Match
from eventhub.record import LogRecord

MAX_VIEWS = 32
Offer = Callable[[Frame], bool]
"""Takes a frame, or says that there is no room for it."""


class Subscriber(Protocol):
    """Who has joined a channel."""

    def fall_behind(self) -> None:
        """A frame was refused, and no more will be offered; `flushed` still says what came before that frame."""


class _Audience:
    """The subscribers of one view of one channel, and what is due to them."""

    __slots__ = ("due", "first", "flushed_at", "passing", "pending", "size", "subscribers", "urgent", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.subscribers: dict[Subscriber, Offer] = {}
        self.pending: list[bytes] = []
        self.size = 0
        self.first: dict[int, int] = {}
        self.urgent = False
        self.flushed_at = float("-inf")
        self.due: asyncio.TimerHandle | None = None
        self.passing: dict[str, bool] = {}

    def clear(self) -> None:
        """Nothing is due any more."""
        self.pending = []
        self.size = 0
        self.first.clear()
        self.urgent = False


class _Channel:
    __slots__ = ("audiences", "head", "name")

    def __init__(self, name: Name, head: bytes) -> None:
        self.name = name
        self.head = head
        self.audiences: dict[View, _Audience] = {}


class Hub:
    """Channels with their subscribers. One event loop; every method but `reached` is synchronous."""

    def __init__(
        self,
        source: Log,
        registry: Registry,
        channels: Channels,
        sheet_of: Callable[[str], bytes],
        *,
        window_s: float,
        delay_s: float = 0,
    ) -> None:
        self.seen: dict[int, int] = {}
        self._source = source
        self._registry = registry
        self._channels = channels
        self._sheet_of = sheet_of
        self._pace = Pace(window_s)
        self._delay_s = delay_s
        self._tables: dict[str, dict[str, _Channel]] = {kind: {} for kind in KINDS}
        self._matches, self._teams = self._tables[MATCH], self._tables[TEAM]
        self._touched: dict[_Audience, None] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []

    def begin(self, start: dict[int, int]) -> None:
        """Per partition the first offset that will be published."""
        self.seen = {partition: offset - 1 for partition, offset in start.items()}

    def publish(self, records: Iterable[LogRecord]) -> None:
        """Take a batch, offsets ascending within a partition; what is due goes out at its end."""
        for record in records:
            if record.value is not None:
                match = self._registry.get(record.match_id)
                if match is not None and match.delay_s > self._delay_s:
                    self._outgrown(match)
                else:
                    self._put_all(record, match)
            # Only now: while one channel has the record, `flushed` of another must not count it.
            self.seen[record.partition] = record.offset
        if self._touched:
            now = asyncio.get_running_loop().time()
            for audience in self._touched:
                self._settle(audience, now)
            self._touched.clear()
        if self._waiters:
            self._wake()

    def view_for(self, name: Name, view: View) -> View:
        """The view that a subscriber gets: beyond 32 views of a channel the next wider one, which is all of it.

        All but translations, if it asks for none.
        """
        channel = self._find(name)
        known = channel is None or view in channel.audiences or len(channel.audiences) < MAX_VIEWS
        return view if known else view.wider()

    def flushed(self, name: Name, view: View, partition: int) -> int:
        """The last offset up to which everything that the view lets pass has gone out to its subscribers."""
        audience = self._audience(name, view)
        seen = self.seen[partition]
        return seen if audience is None else audience.first.get(partition, seen + 1) - 1

    def flush(self, name: Name, view: View) -> None:
        """Send what is pending now, ahead of its window."""
        audience = self._audience(name, view)
        if audience is not None:
            self._flush(audience, asyncio.get_running_loop().time())

    def join(self, name: Name, view: View, subscriber: Subscriber, offer: Offer) -> None:
        """From the next frame on, the subscriber gets all that comes after `flushed`."""
        channel = self._find(name)
        if channel is None:
            channel = self._tables[name.kind][name.subject] = _Channel(name, self._head(name))
        audience = channel.audiences.get(view)
        if audience is None:
            audience = channel.audiences[view] = _Audience(view)
        audience.subscribers[subscriber] = offer

    def leave(self, name: Name, view: View, subscriber: Subscriber) -> None:
        """The opposite of `join`, also for who has fallen behind; leaving twice does nothing. Never from an offer."""
        channel = self._find(name)
        audience = channel.audiences.get(view) if channel is not None else None
        if channel is None or audience is None:
            return
        audience.subscribers.pop(subscriber, None)
        if not audience.subscribers:
            if audience.due is not None:
                audience.due.cancel()
            del channel.audiences[view]
        if not channel.audiences:
            del self._tables[name.kind][name.subject]

    async def reached(self, partition: int, offset: int) -> None:
        """Wait until this offset was published."""
        if self.seen[partition] < offset:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append((partition, offset, future))
            await future

    def _put(self, channel: _Channel, record: LogRecord, place: str | int) -> None:
        kind = record.kind
        message: bytes | None = None
        for audience in channel.audiences.values():
            if not audience.subscribers:
                # All have fallen behind.
                continue
            passes = audience.passing.get(kind)
            if passes is None:
                passes = audience.passing[kind] = audience.view.passes(kind)
            if not passes and not (record.revises and audience.view.passes(kind, record.revises)):
                continue
            if message is None:
                message = self._message(channel, record, place)
            if audience.size + len(message) > messages.FRAME_BYTES:
                self._flush(audience, asyncio.get_running_loop().time())
                if not audience.subscribers:
                    # The last one fell behind just now: what comes next is not kept for it, so neither is this, or
                    # whoever joined in between would get the one without the other.
                    continue
            audience.first.setdefault(record.partition, record.offset)
            audience.pending.append(message)
            audience.size += len(message) + 1
            audience.urgent = audience.urgent or kind[:1] == "c"
            self._touched[audience] = None

    def _put_all(self, record: LogRecord, match: Match | None) -> None:
        channel = self._matches.get(record.match_id)
        if channel is not None:
            self._put(channel, record, record.offset)
        if self._teams and match is not None:
            self._put_teams(record, match)
        if record.kind.endswith(":state"):
            self._put_boards(record)

    def _outgrown(self, match: Match) -> None:
        """The match was declared with a longer delay than this hub has: who follows it here must join another."""
        for channel in (self._matches.get(match.match_id), *map(self._teams.get, (match.home.id, match.away.id))):
            for audience in [] if channel is None else list(channel.audiences.values()):
                for subscriber in list(audience.subscribers):
                    del audience.subscribers[subscriber]
                    subscriber.fall_behind()
                # They get it from the ring; kept here, it would be all that who joins next is shown of this time.
                audience.clear()

    def _put_teams(self, record: LogRecord, match: Match) -> None:
        for team_id in {match.home.id, match.away.id}:
            channel = self._teams.get(team_id)
            if channel is not None:
                seen = {p: self.seen[p] for p in self._channels.groups(channel.name)}
                seen[record.partition] = record.offset
                self._put(channel, record, pairs(seen))

    def _put_boards(self, record: LogRecord) -> None:
        for name in self._channels.of_state(record.match_id):
            channel = self._find(name)
            if channel is not None:
                self._put(channel, record, pairs({**self.seen, record.partition: record.offset}))

    def _message(self, channel: _Channel, record: LogRecord, place: str | int) -> bytes:
        if channel.name.kind not in STATES_ONLY:
            return messages.event(channel.head, place, record.value or b"")
        # The sheet as it stands: of two states that come together, the later one holds the earlier.
        cursor = f"{self._source.epoch}.{place}"
        return messages.state(str(channel.name), cursor, self._sheet_of(record.match_id))

    def _settle(self, audience: _Audience, now: float) -> None:
        if not audience.pending:
            return
        at = audience.flushed_at + self._pace.window_s
        if audience.urgent or now >= at:
            self._flush(audience, now)
        elif audience.due is None:
            audience.due = asyncio.get_running_loop().call_at(at, self._flush_due, audience, at)

    def _flush_due(self, audience: _Audience, at: float) -> None:
        now = asyncio.get_running_loop().time()
        self._pace.late(now - at)
        self._flush(audience, now)

    def _flush(self, audience: _Audience, now: float) -> None:
        if audience.due is not None:
            audience.due.cancel()
            audience.due = None
        if not audience.pending:
            return
        frame = Frame(audience.pending)
        self._pace.sent(len(audience.subscribers), now)
        late = [subscriber for subscriber, offer in audience.subscribers.items() if not offer(frame)]
        # Who refuses the frame asks `flushed` for its place, so that must not have moved yet.
        for subscriber in late:
            del audience.subscribers[subscriber]
            subscriber.fall_behind()
        audience.clear()
        audience.flushed_at = now

    def _wake(self) -> None:
        waiting = []
        for waiter in self._waiters:
            partition, offset, future = waiter
            if self.seen[partition] < offset and not future.done():
                waiting.append(waiter)
            elif not future.done():
                future.set_result(None)
        self._waiters = waiting

    def _head(self, name: Name) -> bytes:
        head = messages.prefix(str(name), self._source.epoch)
        return head + b"%d." % self._source.partition_of(name.subject) if name.kind == MATCH else head

    def _find(self, name: Name) -> _Channel | None:
        return self._tables[name.kind].get(name.subject)

    def _audience(self, name: Name, view: View) -> _Audience | None:
        channel = self._find(name)
        return None if channel is None else channel.audiences.get(view)
