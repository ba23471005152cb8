"""A channel of states only, `scores` or `competition:{id}`: nobody wants the way there (path: connection).

A client gets the sheet of every match of the channel that has changed after its cursor, and then each sheet as it
changes. A later sheet holds all of an earlier one: a client that falls behind gets what stands, and misses nothing.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from eventhub.delivery import messages
from eventhub.delivery.channels import SCORES, Name
from eventhub.delivery.cursor import Cursor, parse
from eventhub.delivery.feed import Feed
from eventhub.delivery.frame import Frame
from eventhub.delivery.messages import Id, Wanted
from eventhub.delivery.outbox import Outbox
from eventhub.delivery.view import ALL

AROUND = timedelta(days=1)
"""`scores` has the matches that start so near to now, and those that are going on."""


class _Due(NamedTuple):
    """A sheet to be told: its match, the place on the log that it is from, and the message."""

    match_id: str
    at: int
    message: bytes


class Board:
    """One such channel of one connection: first what stands, then `live`."""

    __slots__ = ("_behind", "_feed", "_head", "_now", "_outbox", "_seen", "_sent", "answered", "live", "name", "view")

    def __init__(
        self,
        feed: Feed,
        outbox: Outbox,
        name: Name,
        wanted: Wanted,
        command_id: Id,
        behind: Callable[["Board"], None],
        now: Callable[[], datetime],
    ) -> None:
        """Decide where to start. Raises MalformedError with the code `bad_cursor`."""
        self.name, self.view = name, ALL
        self.live = self.answered = False
        self._feed, self._outbox, self._behind, self._now = feed, outbox, behind, now
        cursor = None if wanted.cursor is None else parse(wanted.cursor)
        recovered = cursor is not None and cursor.epoch == feed.source.epoch
        self._seen = dict(cursor.seen) if cursor is not None and recovered else {}
        self._sent: dict[str, int] = {}
        told = {"id": command_id, "type": "subscribed", "channel": str(name), "cursor": str(self._place(self._seen))}
        self._head = [messages.encode(**told, recovered=recovered, view=ALL.told(), delay_s=feed.delay_s)]

    @property
    def delay_s(self) -> float:
        """How late this channel is seen."""
        return self._feed.delay_s

    def cursor(self) -> str:
        """Every state up to here was sent, or one that holds it."""
        if not self.live:
            return str(self._place(self._seen))
        flushed = self._feed.hub.flushed
        return str(self._place({p: flushed(self.name, ALL, p) for p in self._feed.hub.seen}))

    def join(self) -> bool:
        """What stands now, then live. False: it is too much to be taken at once."""
        # What is pending would follow the sheets that hold it already.
        self._feed.hub.flush(self.name, ALL)
        due = self._due()
        if sum(len(one.message) for one in due) * 4 > self._outbox.room_bytes:
            return False
        if self._put(due):
            self._feed.hub.join(self.name, ALL, self, self._outbox.offer)
            self.live, self._sent, self._seen = True, {}, {}
        return True

    async def catch_up(self) -> None:
        """Piece by piece until `join` succeeds or the connection ends; waits for the client between pieces."""
        await self._outbox.drained()
        while not self._outbox.closed and not self.join():
            for one in self._due():
                if not self._outbox.direct:
                    await asyncio.sleep(0)
                    await self._outbox.drained()
                self._put([one])

    def fall_behind(self) -> None:
        """The client has no room: what has changed by the time that it has is what it gets."""
        flushed = self._feed.hub.flushed
        self._seen = {p: flushed(self.name, ALL, p) for p in self._feed.hub.seen}
        self.live = False
        self._behind(self)

    def leave(self) -> None:
        """Stop following."""
        self._feed.hub.leave(self.name, ALL, self)
        self.live = False

    def _due(self) -> list[_Due]:
        """All sheets that changed after what was seen or sent."""
        due, channel, partition_of = [], str(self.name), self._feed.source.partition_of
        for match_id in self._matches():
            seen, at = self._seen.get(partition_of(match_id), -2), self._feed.sheets.place(match_id)
            if at > max(seen, self._sent.get(match_id, -2)):
                message = messages.state(channel, self.cursor(), self._feed.sheets.of(match_id).body)
                due.append(_Due(match_id, at, message))
        return due

    def _matches(self) -> list[str]:
        may = self._feed.channels.delay_of
        matches = [m for m in self._feed.channels.matches(self.name) if may(m) <= self._feed.delay_s]
        if self.name.kind != SCORES:
            return matches
        now, starts, status = self._now(), self._feed.channels.starts_at, self._feed.sheets.of
        return [m for m in matches if abs(starts(m) - now) <= AROUND or status(m).status == "live"]

    def _put(self, due: list[_Due]) -> bool:
        for piece in messages.pieces([*self._head, *(one.message for one in due)]):
            if not self._outbox.put(Frame(piece)):
                return False
            self._head, self.answered = [], True
        self._sent.update({one.match_id: one.at for one in due})
        return True

    def _place(self, seen: dict[int, int]) -> Cursor:
        return Cursor(self._feed.source.epoch, {p: seen.get(p, -1) for p in self._feed.hub.seen})
