"""One connection to a node: lines of JSON out and in, and how long it may be silent."""

import asyncio
import contextlib
import json
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from eventhub_client.errors import ClosedError, LostError
from eventhub_client.messages import Json
from eventhub_client.renewal import Renewal
from eventhub_client.tokens import TokenProvider

SUBPROTOCOL = "eventhub.v1+json"
OPEN_TIMEOUT_S = 10
CLOSE_TIMEOUT_S = 2
FRAME_BYTES = 16 << 20
"""More than a node ever sends in a frame; what is bigger is not taken into memory."""
FOR_GOOD = range(3500, 4000)
SILENCE = 2.5
"""So many heartbeats may be missed before a connection counts as dead."""
UNTOLD_PING_S = 15.0
STEADY_S = 10.0
"""A node that takes a client and loses it again at once must not be asked ever faster."""


class Link:
    """An open connection. One reader at a time; `receive` may be cancelled and loses nothing."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._deadline: float | None = None
        self._ping_s = UNTOLD_PING_S
        self._renewal: Renewal | None = None
        self.subscribed_at: float | None = None
        """When a channel was subscribed here, by the loop's clock: what makes a connection a good one."""
        self.complaint = ""
        """What the node said last against the connection, which explains a close."""
        self.retry_after_s = 0.0
        """How long the node asked to stay away after this connection."""
        self.leaving = False
        """Whether the node asked to come back on another connection."""

    @classmethod
    async def open(cls, url: str) -> "Link":
        """Connect. Raises LostError, and ClosedError when the handshake is refused for good."""
        try:
            socket = await websockets.connect(
                url,
                subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=FRAME_BYTES,
                # The node's heartbeats say more than pings, and a busy reader must not be taken for a dead one.
                ping_interval=None,
                proxy=None,
            )
        except websockets.InvalidStatus as error:
            raise _refusal(error) from error
        except (OSError, websockets.WebSocketException) as error:
            raise LostError(f"{url} cannot be reached: {type(error).__name__}: {error}") from error
        return cls(socket)

    async def greet(self, token: str, provider: TokenProvider | None) -> None:
        """Say who is there; with a provider go on saying so before a token ends."""
        await self.send({"id": self.number(), "type": "connect", "token": token})
        if provider is not None:
            self._renewal = Renewal(self.refresh, provider, token)

    async def refresh(self, token: str) -> int:
        """Hand in another token; returns the command's number."""
        number = self.number()
        await self.send({"id": number, "type": "refresh", "token": token})
        return number

    def refused(self, command: object) -> bool:
        """Whether the command that was refused was a refresh, which is then tried again with another token."""
        return self._renewal is not None and self._renewal.refused(command)

    def number(self) -> int:
        """The id of the next command."""
        self._number += 1
        return self._number

    async def send(self, command: Json) -> None:
        """Send a command. A connection that has ended says so to its reader, not here."""
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._socket.send(json.dumps(command))

    def was_steady(self) -> bool:
        """Whether it was good for so long that what ends it now is not what ended the one before it."""
        now = asyncio.get_running_loop().time()
        return self.subscribed_at is not None and now - self.subscribed_at >= STEADY_S

    def may_be_silent_for(self, ping_s: float) -> None:
        """The node promises a heartbeat at least every `ping_s` seconds."""
        self._ping_s = ping_s if ping_s > 0 else UNTOLD_PING_S

    async def receive(self, until: float | None) -> list[str]:
        """The lines of the next frame; none when the loop's time `until` came first.

        Raises LostError when the connection has ended or is silent for too long, ClosedError when it ended for good.
        """
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            # Counted only while somebody waits: a reader that was busy elsewhere has heard nothing either.
            self._deadline = now + SILENCE * self._ping_s
        wake_at = self._deadline if until is None else min(self._deadline, until)
        try:
            async with asyncio.timeout_at(max(wake_at, now + 0.01)):
                frame = await self._socket.recv()
        except TimeoutError:
            if asyncio.get_running_loop().time() >= self._deadline:
                raise LostError(f"nothing was heard for {SILENCE * self._ping_s:g} s") from None
            return []
        except websockets.ConnectionClosed as error:
            raise self._ended(error) from error
        self._deadline = None
        text = frame if isinstance(frame, str) else frame.decode()
        return [line for line in text.split("\n") if line]

    async def close(self) -> None:
        """Say goodbye and close; at most 2 s."""
        self._stop_renewal()
        await self._socket.close()

    def abort(self) -> None:
        """Drop it without a word; never waits."""
        self._stop_renewal()
        self._socket.transport.abort()

    def _stop_renewal(self) -> None:
        if self._renewal is not None:
            self._renewal.stop()

    def _ended(self, error: websockets.ConnectionClosed) -> LostError | ClosedError:
        if error.rcvd is None:
            return LostError("it was cut", retry_after_s=self.retry_after_s)
        code = error.rcvd.code
        said = ": ".join(part for part in (error.rcvd.reason, self.complaint) if part)
        if code in FOR_GOOD:
            return ClosedError(code, said)
        return LostError(f"closed with {code} {said}".rstrip(), code=code, retry_after_s=self.retry_after_s)


def url_of(node: str) -> str:
    """The address of a node's stream. Raises ValueError for what is no address of HTTP or WebSocket."""
    scheme, separator, rest = node.rstrip("/").partition("://")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if not separator or scheme not in schemes or not rest:
        raise ValueError(f"{node!r} is no address of a node; give one such as http://localhost:8000")
    return f"{schemes[scheme]}://{rest}/v1/stream"


def _refusal(error: websockets.InvalidStatus) -> LostError | ClosedError:
    status = error.response.status_code
    detail = _detail(error.response.body)
    if status in (401, 403):
        return ClosedError(status, detail)
    return LostError(f"the handshake was answered with {status} {detail}".rstrip(), retry_after_s=_asked_s(error))


def _asked_s(error: websockets.InvalidStatus) -> float:
    """What Retry-After asks for, where it is a number; a date is left to the back-off."""
    try:
        return max(0.0, float(error.response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _detail(body: bytes | bytearray | None) -> str:
    """What a problem document says; empty for another body."""
    try:
        found: Any = json.loads(body or b"")
    except ValueError:
        return ""
    return str(found.get("detail", "")) if isinstance(found, dict) else ""
