"""One client of the stream: its commands, its subscriptions, its heartbeat (path: connection).

Knows nothing of the server that carries it: messages come in through `handle`, frames go out through the outbox.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from eventhub.bucket import Bucket
from eventhub.delivery import messages
from eventhub.delivery.board import Board
from eventhub.delivery.channels import STATES_ONLY, Name
from eventhub.delivery.feed import TOLD, Feed
from eventhub.delivery.frame import Frame
from eventhub.delivery.messages import Connect, Id, InvalidError, Refresh, Subscribe, Unsubscribe, Wanted
from eventhub.delivery.outbox import Outbox
from eventhub.delivery.ports import Principal
from eventhub.delivery.resume import Follower
from eventhub.delivery.view import View, view_of
from eventhub.errors import (
    EventhubError,
    ForbiddenError,
    LimitError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnauthorizedError,
)

log = structlog.get_logger(__name__)
SLOW_CODE = 3008
DRAIN_CODE = 3001


def _now() -> datetime:
    return datetime.now(UTC)


class Connection:
    """A client from its handshake to its close.

    `principal`: whom the handshake's token named, if there was one; it is counted at the doors already.
    """

    __slots__ = (
        "_address", "_catching", "_changes", "_commands", "_counted", "_ended", "_feed", "_followers", "_limits",
        "_now", "_on_end", "_part", "_principal", "_timer", "connected", "outbox", "session",
    )  # fmt: skip

    def __init__(
        self,
        feed: Feed,
        principal: Principal | None = None,
        *,
        address: str = "",
        now: Callable[[], datetime] = _now,
        on_end: Callable[["Connection"], None] = lambda _: None,
    ) -> None:
        self.session = secrets.token_hex(8)
        limits = feed.limits
        self.outbox = Outbox(
            limits.queue_bytes,
            backlog=feed.backlog,
            stuck_s=limits.stuck_s,
            on_overflow=self._overflow,
            on_stuck=self._overflow,
        )
        self._feed, self._limits, self._now, self._on_end = feed, limits, now, on_end
        self._principal, self._address = principal, address
        self._counted = None if principal is None else principal.user
        self._changes: Bucket | None = None
        self._commands: Bucket | None = None
        feed.doors.enter(address)
        self._followers: dict[str, Follower | Board] = {}
        self._catching: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._part = 0
        self.connected = self._ended = False

    def open(self) -> None:
        """Start its clocks: the deadline for `connect`, then heartbeats."""
        later = asyncio.get_running_loop().call_later
        if self._principal is None:
            self._timer = later(self._limits.auth_deadline_s, self._unconnected)
        else:
            self._part = self._feed.beats.add(self, self._beat)

    def end(self) -> None:
        """The client is gone: leave everything. Doing it twice does nothing."""
        if self._ended:
            return
        self._ended = True
        self._feed.doors.leave(self._address, self._counted)
        if self._timer is not None:
            self._timer.cancel()
        self._feed.beats.remove(self, self._part)
        for task in self._catching.values():
            task.cancel()
        for follower in self._followers.values():
            follower.leave()
        self._followers.clear()
        self.outbox.gone()
        self._on_end(self)

    def handle(self, text: str | bytes) -> None:
        """Take a frame of the client: one command a line. Answers go to the outbox; never waits, never raises."""
        lines = (text.encode() if isinstance(text, str) else text).split(b"\n")
        if sum(map(len, lines)) > self._limits.message_bytes:
            return self.refuse(TooLargeError(f"a message has at most {self._limits.message_bytes} bytes"))
        for line in lines:
            if self.outbox.closed:
                return None
            if line.strip():
                self._commands = self._commands or self._bucket(
                    self._limits.commands_per_s, self._limits.commands_burst
                )
                wait_s = self._commands.take(asyncio.get_running_loop().time())
                if wait_s:
                    self._feed.doors.limited["commands"] += 1
                    return self.refuse(LimitError("commands come too often", retry_after_s=wait_s))
                self._command(line)
        return None

    def refuse(self, error: EventhubError, command_id: Id = None) -> None:
        """Tell an error that ends the connection, and close with its code."""
        if isinstance(error, UnauthorizedError):
            self._feed.doors.refused["token"] += 1
        last = [Frame([messages.refusal(command_id, error)])]
        self.outbox.finish(last, error.close_code, error.name, timeout_s=self._limits.close_timeout_s)

    def send_away(self, code: int, reason: str) -> None:
        """Ask the client to reconnect after the cursors of what it was sent, and close."""
        in_ms = round(self._feed.jitter() * 1000)
        last = [Frame([messages.reconnect(in_ms, self._cursors())])]
        if self.outbox.finish(last, code, reason, timeout_s=self._limits.close_timeout_s) and code == SLOW_CODE:
            self._feed.slow["sent_away"] += 1

    def _command(self, line: bytes) -> None:
        command_id: Id = None
        try:
            command = messages.command(line)
            command_id = command.id
            if isinstance(command, Connect):
                self._connect(command)
            elif self._principal is None:
                raise UnauthorizedError("send `connect` with a token first")
            elif isinstance(command, Refresh):
                self._refresh(command, self._principal)
            elif isinstance(command, Subscribe):
                self._subscribe(command)
            else:
                self._unsubscribe(command)
        except InvalidError as error:
            self._send(messages.refusal(error.command_id, error))
        except (UnauthorizedError, MalformedError) as error:
            if error.name == error.code:
                self.refuse(error, command_id)
            else:
                self._send(messages.refusal(command_id, error))
        except EventhubError as error:
            self._send(messages.refusal(command_id, error))

    def _connect(self, command: Connect) -> None:
        if command.token is not None:
            self._principal = self._feed.check(command.token)
        if self._principal is None:
            raise UnauthorizedError("connect needs a token")
        if self._counted is None:
            try:
                self._feed.doors.name(self._principal.user)
            except LimitError as error:
                return self.refuse(error, command.id)
            self._counted = self._principal.user
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._part = self._feed.beats.add(self, self._beat)
        connected = messages.encode(
            id=command.id,
            type="connected",
            session=self.session,
            node=self._feed.node,
            ping_s=self._limits.ping_s,
            mode=self._feed.notices.mode,
            limits={name: getattr(self._limits, name) for name in TOLD},
        )
        standing = self._feed.notices.standing()
        self.outbox.put(Frame([connected] if standing is None else [connected, standing]))
        self.connected = True
        return None

    def follow(self, command: Subscribe) -> None:
        """Subscribe a client that sends no commands itself. Raises EventhubError."""
        view = view_of(command.lanes, command.types)
        standing = self._feed.notices.standing()
        if standing is not None:
            self._send(standing)
        for one in command.wanted():
            self._follow(one, view, command.id)
        self.connected = True

    def tell(self, frame: Frame) -> None:
        """A notice for every client that has connected; never waits."""
        if self.connected:
            self.outbox.put(frame)

    def _refresh(self, command: Refresh, known: Principal) -> None:
        try:
            principal = self._feed.check(command.token)
        except UnauthorizedError as error:
            # The token that the client came with still holds.
            return self._send(messages.refusal(command.id, error))
        if principal.user != known.user:
            raise ForbiddenError("the new token names another user; open another connection for it")
        self._principal = principal
        self._send(messages.encode(id=command.id, type="refreshed", expires_at=principal.expires_at))
        return None

    def _subscribe(self, command: Subscribe) -> None:
        try:
            view = view_of(command.lanes, command.types)
            wanted = command.wanted()
        except MalformedError as error:
            raise InvalidError(error.detail, command.id) from error
        per_s, burst = self._limits.changes_per_minute / 60, self._limits.changes_burst
        self._changes = self._changes or self._bucket(per_s, burst)
        wait_s = self._changes.take(asyncio.get_running_loop().time())
        if wait_s:
            self._feed.doors.limited["changes"] += 1
            what = "subscriptions change too often; wait, and send several channels in one command"
            raise LimitError(what, retry_after_s=wait_s)
        for one in wanted:
            try:
                self._follow(one, view, command.id)
            except EventhubError as error:
                self._send(messages.refusal(command.id, error, one.channel))

    def _follow(self, wanted: Wanted, view: View, command_id: Id) -> None:
        channel = wanted.channel
        if channel in self._followers or channel in self._catching:
            raise LimitError(f"channel {channel} is subscribed already; unsubscribe first", code="already_subscribed")
        try:
            name = self._feed.channels.name(channel)
        except NotFoundError:
            if not self._feed.channels.may_be(channel) or len(self._catching) >= self._limits.matches:
                raise
            self._later(channel, command_id, lambda: self._learn(wanted, view, command_id))
        else:
            self._join(name, wanted, view, command_id)

    async def _learn(self, wanted: Wanted, view: View, command_id: Id) -> None:
        """Another node may have declared the match a moment ago, so the registry is asked before a refusal."""
        await self._feed.catch_up_registry()
        self._join(self._feed.channels.name(wanted.channel), wanted, view, command_id)

    def _join(self, name: Name, wanted: Wanted, view: View, command_id: Id) -> None:
        limit = self._limits.teams if name.kind == "team" else self._limits.matches
        if sum(f.name.kind == name.kind for f in self._followers.values()) >= limit:
            raise LimitError(f"{limit} {name.kind} channels are subscribed, no more are allowed; unsubscribe from one")
        follower: Follower | Board
        if name.kind in STATES_ONLY:
            follower = Board(self._feed, self.outbox, name, wanted, command_id, self._catch_up_again, self._now)
        else:
            follower = Follower(self._feed, self.outbox, name, view, wanted, command_id, self._catch_up_again)
        self._followers[wanted.channel] = follower
        if not follower.join():
            self._later(wanted.channel, command_id, follower.catch_up)

    def _catch_up_again(self, follower: Follower | Board) -> None:
        """The client takes less than there is; what it is then told is less, or that it must go."""
        channel = str(follower.name)

        async def again() -> None:
            try:
                await follower.catch_up()
            except EventhubError as error:
                hint = "it was told to reconnect; look whether history or Kafka is away, or has lost what it wants"
                log.warning("slow client cannot be caught up", channel=channel, error=error.detail, hint=hint)
                self.send_away(SLOW_CODE, "slow")

        if not self.outbox.closed:
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
                named.retry_after_s = named.retry_after_s or self._limits.retry_after_s
            follower = self._followers.pop(channel, None)
            if follower is not None:
                follower.leave()
            self._send(messages.refusal(command_id, named, channel))
        finally:
            # After an unsubscribe, another task may have this place already.
            if self._catching.get(channel) is asyncio.current_task():
                del self._catching[channel]

    def _unsubscribe(self, command: Unsubscribe) -> None:
        follower = self._followers.pop(command.channel, None)
        task = self._catching.pop(command.channel, None)
        if task is not None:
            task.cancel()
        if follower is not None:
            follower.leave()
        self._send(messages.encode(id=command.id, type="unsubscribed", channel=command.channel))

    @staticmethod
    def _bucket(per_s: float, burst: float) -> Bucket:
        return Bucket(per_s, burst, asyncio.get_running_loop().time())

    def _beat(self) -> None:
        principal = self._principal
        ended = principal and principal.expires_at + timedelta(seconds=self._limits.token_grace_s) < self._now()
        if ended:
            return self.refuse(UnauthorizedError("the token has ended; connect with a new one, or `refresh` in time"))
        self._send(messages.heartbeat(self._now(), self._cursors()))
        return None

    def _unconnected(self) -> None:
        self.refuse(UnauthorizedError(f"no `connect` within {self._limits.auth_deadline_s:g} s"))

    def _overflow(self) -> None:
        self.send_away(SLOW_CODE, "slow")

    def _cursors(self) -> dict[str, str]:
        return {channel: f.cursor() for channel, f in self._followers.items() if f.answered}

    def _send(self, message: bytes) -> None:
        self.outbox.put(Frame([message]))
