"""One client of the stream: its commands, its subscriptions, its heartbeat (path: connection).

Knows nothing of the server that carries it: messages come in through `handle`, frames go out through the outbox.
"""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from eventhub.bucket import Bucket
from eventhub.delivery import messages
from eventhub.delivery.feed import TOLD, Feed
from eventhub.delivery.frame import Frame
from eventhub.delivery.messages import Connect, Id, InvalidError, Refresh, Subscribe, Unsubscribe
from eventhub.delivery.outbox import Outbox
from eventhub.delivery.ports import Principal
from eventhub.delivery.subscriptions import MOVED_CODE, SLOW_CODE, Subscriptions
from eventhub.delivery.view import view_of
from eventhub.errors import (
    EventhubError,
    ForbiddenError,
    LimitError,
    MalformedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

log = structlog.get_logger(__name__)
DRAIN_CODE = 3001
STRANGER_BYTES = 16_384
"""A message before `connect` was answered: a token and little else."""
AWAY_S = 1.0
"""Those who are sent away at the same moment come back spread over so many seconds."""


def _now() -> datetime:
    return datetime.now(UTC)


class Connection:
    """A client from its handshake to its close.

    `principal`: whom the handshake's token named, if there was one; it is counted at the doors already.
    """

    __slots__ = (
        "_address", "_changes", "_commands", "_counted", "_ended", "_feed", "_limits", "_on_end", "_part",
        "_principal", "_timer", "connected", "now", "outbox", "session", "subscriptions",
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
        # One bound method for both: each costs 64 bytes a socket.
        overflow = self._overflow
        self.outbox = Outbox(
            limits.queue_bytes,
            backlog=feed.backlog,
            stuck_s=limits.stuck_s,
            on_overflow=overflow,
            on_stuck=overflow,
        )
        self._feed, self._limits, self.now, self._on_end = feed, limits, now, on_end
        self._principal, self._address = principal, address
        self._counted = None if principal is None else principal.user
        self._changes: Bucket | None = None
        self._commands: Bucket | None = None
        feed.doors.enter(address)
        self.subscriptions = Subscriptions(feed, self)
        self._timer: asyncio.TimerHandle | None = None
        self._part = 0
        self.connected = self._ended = False

    @property
    def user(self) -> str | None:
        """Whom it serves; None before that is known."""
        return None if self._principal is None else self._principal.user

    @property
    def plan(self) -> str:
        """The plan that the user has; empty before there is one."""
        return "" if self._principal is None else self._principal.plan

    def allow(self, channel: str) -> None:
        """Raises ForbiddenError for a channel that the token may not read."""
        if self._principal is not None:
            self._principal.allow(channel)

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
        self.subscriptions.close()
        self.outbox.gone()
        self._on_end(self)

    def handle(self, text: str | bytes) -> None:
        """Take a frame of the client: one command a line. Answers go to the outbox; never waits, never raises."""
        lines = (text.encode() if isinstance(text, str) else text).split(b"\n")
        most = self._limits.message_bytes if self._principal else min(STRANGER_BYTES, self._limits.message_bytes)
        if sum(map(len, lines)) > most:
            return self.refuse(TooLargeError(f"a message has at most {most} bytes"))
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

    def send_away(self, code: int, reason: str, *, in_s: float = 0) -> None:
        """Ask the client to reconnect after the cursors of what it was sent, in `in_s` seconds or later; close."""
        in_ms = round((in_s + self._feed.jitter() * AWAY_S) * 1000)
        last = [Frame([messages.reconnect(in_ms, self.subscriptions.cursors())])]
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
        view = view_of(command.lanes, command.types, command.languages)
        standing = self._feed.notices.standing()
        if standing is not None:
            self._send(standing)
        for one in command.wanted():
            self.subscriptions.follow(one, view, command.id)
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
        self.recheck()
        return None

    def recheck(self) -> None:
        """The token or the account has changed: what was revoked ends for good, and another delay begins anew."""
        if self._principal is None:
            return
        try:
            self._principal = self._feed.still(self._principal)
            self.subscriptions.restrict()
            in_time = self.subscriptions.in_time()
        except UnauthorizedError as error:
            self.refuse(error)
            return
        except UnavailableError:
            in_time = False
        if not in_time:
            self.send_away(MOVED_CODE, "delayed")

    def _subscribe(self, command: Subscribe) -> None:
        try:
            view = view_of(command.lanes, command.types, command.languages)
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
                self.subscriptions.follow(one, view, command.id)
            except EventhubError as error:
                self._send(messages.refusal(command.id, error, one.channel))

    def _unsubscribe(self, command: Unsubscribe) -> None:
        self.subscriptions.leave(command.channel)
        self._send(messages.encode(id=command.id, type="unsubscribed", channel=command.channel))

    @staticmethod
    def _bucket(per_s: float, burst: float) -> Bucket:
        return Bucket(per_s, burst, asyncio.get_running_loop().time())

    def _beat(self) -> None:
        principal = self._principal
        grace_s = self._limits.token_grace_s if principal is None or principal.ours else 0
        if principal and principal.expires_at + timedelta(seconds=grace_s) < self.now():
            return self.refuse(UnauthorizedError("the token has ended; connect with a new one, or `refresh` in time"))
        self._send(messages.heartbeat(self.now(), self.subscriptions.cursors()))
        return None

    def _unconnected(self) -> None:
        self.refuse(UnauthorizedError(f"no `connect` within {self._limits.auth_deadline_s:g} s"))

    def _overflow(self) -> None:
        self.send_away(SLOW_CODE, "slow")

    def _send(self, message: bytes) -> None:
        self.outbox.put(Frame([message]))
