"""The subscriptions of one connection: begun, caught up beside what else the client asks, and ended (path: connection).

A channel is refused for a reason that the client is told; one that falls behind is caught up, or the client is sent
away with the cursors to go on from.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog

from eventhub.delivery import messages
from eventhub.delivery.board import Board
from eventhub.delivery.channels import STATES_ONLY, Name
from eventhub.delivery.feed import Feed
from eventhub.delivery.frame import Frame
from eventhub.delivery.messages import Id, Wanted
from eventhub.delivery.outbox import Outbox
from eventhub.delivery.resume import DelayedError, Follower
from eventhub.delivery.view import View
from eventhub.errors import EventhubError, ForbiddenError, LimitError, NotFoundError

log = structlog.get_logger(__name__)
SLOW_CODE = 3008
MOVED_CODE = 3009
"""Reconnect: what may be seen has changed."""


class Client(Protocol):
    """Whose subscriptions they are. `plan` decides how late everything is seen."""

    outbox: Outbox

    @property
    def plan(self) -> str:
        """The plan that holds now."""

    @property
    def now(self) -> Callable[[], datetime]:
        """The wall clock."""

    def allow(self, channel: str) -> None:
        """Raises ForbiddenError for a channel that the client may not read."""

    def send_away(self, code: int, reason: str) -> None:
        """Ask to reconnect, and close."""


class Subscriptions:
    """Channels by name, each live or catching up."""

    __slots__ = ("_catching", "_client", "_feed", "_followers")

    def __init__(self, feed: Feed, client: Client) -> None:
        self._feed, self._client = feed, client
        self._followers: dict[str, Follower | Board] = {}
        self._catching: dict[str, asyncio.Task[None]] = {}

    def follow(self, wanted: Wanted, view: View, command_id: Id) -> None:
        """Begin one; what is missing is fetched beside. Raises EventhubError for one that is refused at once."""
        channel = wanted.channel
        self._client.allow(channel)
        if channel in self._followers or channel in self._catching:
            raise LimitError(f"channel {channel} is subscribed already; unsubscribe first", code="already_subscribed")
        try:
            name = self._feed.channels.name(channel)
        except NotFoundError:
            if not self._feed.channels.may_be(channel) or len(self._catching) >= self._feed.limits.matches:
                raise
            self._later(channel, command_id, lambda: self._learn(wanted, view, command_id))
        else:
            self._join(name, wanted, view, command_id)

    def leave(self, channel: str) -> None:
        """End one; one that is not there is left alone."""
        follower = self._followers.pop(channel, None)
        task = self._catching.pop(channel, None)
        if task is not None:
            task.cancel()
        if follower is not None:
            follower.leave()

    def restrict(self) -> None:
        """End each that the client may not read any more, and tell it."""
        for channel in dict.fromkeys([*self._followers, *self._catching]):
            try:
                self._client.allow(channel)
            except ForbiddenError as error:
                self.leave(channel)
                self._client.outbox.put(Frame([messages.refusal(None, error, channel)]))

    def close(self) -> None:
        """End all of them."""
        for channel in [*self._catching, *self._followers]:
            self.leave(channel)

    def cursors(self) -> dict[str, str]:
        """By channel the place up to which everything was sent."""
        return {channel: f.cursor() for channel, f in self._followers.items() if f.answered}

    def in_time(self) -> bool:
        """Whether each is seen with the delay that it has by now. Raises UnavailableError, as `Feed.tier` does."""
        return all(f.delay_s == self._seen(f.name).delay_s for f in self._followers.values())

    async def _learn(self, wanted: Wanted, view: View, command_id: Id) -> None:
        """Another node may have declared the match a moment ago, so the registry is asked before a refusal."""
        await self._feed.catch_up_registry()
        self._join(self._feed.channels.name(wanted.channel), wanted, view, command_id)

    def _join(self, name: Name, wanted: Wanted, view: View, command_id: Id) -> None:
        limits, outbox = self._feed.limits, self._client.outbox
        limit = limits.teams if name.kind == "team" else limits.matches
        if sum(f.name.kind == name.kind for f in self._followers.values()) >= limit:
            raise LimitError(f"{limit} {name.kind} channels are subscribed, no more are allowed; unsubscribe from one")
        follower: Follower | Board
        feed = self._seen(name)
        if name.kind in STATES_ONLY:
            follower = Board(feed, outbox, name, wanted, command_id, self._catch_up_again, self._client.now)
        else:
            follower = Follower(feed, outbox, name, view, wanted, command_id, self._catch_up_again)
        self._followers[wanted.channel] = follower
        if not follower.join():
            self._later(wanted.channel, command_id, follower.catch_up)

    def _seen(self, name: Name) -> Feed:
        return self._feed.tier(self._client.plan, self._feed.channels.delay_s(name))

    def _catch_up_again(self, follower: Follower | Board) -> None:
        """The client takes less than there is; what it is then told is less, or that it must go."""
        channel = str(follower.name)

        async def again() -> None:
            try:
                await follower.catch_up()
            except DelayedError:
                self._client.send_away(MOVED_CODE, "delayed")
            except EventhubError as error:
                hint = "it was told to reconnect; look whether history or Kafka is away, or has lost what it wants"
                log.warning("slow client cannot be caught up", channel=channel, error=error.detail, hint=hint)
                self._client.send_away(SLOW_CODE, "slow")

        if not self._client.outbox.closed:
            self._later(channel, None, again)

    def _later(self, channel: str, command_id: Id, work: Callable[[], Awaitable[None]]) -> None:
        """Go on with a subscription beside what else the client asks, until it is done, refused or cancelled."""
        task = asyncio.create_task(self._go_on(channel, command_id, work), name=f"catch-up {channel}")
        self._catching[channel] = task

    async def _go_on(self, channel: str, command_id: Id, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            named = error if isinstance(error, EventhubError) else EventhubError("catching up failed; it was logged")
            if named is not error:
                log.error("catching up failed", channel=channel, exc_info=error)
            if not isinstance(named, NotFoundError | LimitError):
                named.retry_after_s = named.retry_after_s or self._feed.limits.retry_after_s
            follower = self._followers.pop(channel, None)
            if follower is not None:
                follower.leave()
            self._client.outbox.put(Frame([messages.refusal(command_id, named, channel)]))
        finally:
            # After an unsubscribe, another task may have this place already.
            if self._catching.get(channel) is asyncio.current_task():
                del self._catching[channel]
