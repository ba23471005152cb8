"""Following one channel over however many connections it takes. No commands here."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
import websockets

from eventhub.cli.console import data, printable, say
from eventhub.errors import EventhubError, NotFoundError, UnauthorizedError, UnavailableError

PROTOCOL = "eventhub.v1+json"
WAIT_S = (0.2, 5.0)
FOR_GOOD = (3500, 3999)
STATES_ONLY = ("scores", "competition")
ERRORS: dict[str, type[EventhubError]] = {"unauthorized": UnauthorizedError, "unknown_channel": NotFoundError}


class Follower:
    """One channel over however many connections it takes; prints events in the order of the log."""

    def __init__(self, node: str, channel: str, start: str | None, count: int | None, *, as_json: bool) -> None:
        self._address = node.replace("http", "ws", 1).rstrip("/") + "/v1/stream"
        self._channel, self._count, self._as_json = channel, count, as_json
        self._cursor = None if start == "start" else start
        self._from_start = start == "start"
        self._seen = 0
        self._asked_s = 0.0
        self._good_at = 0.0

    @property
    def cursor(self) -> str | None:
        """Behind what was printed last; None before anything was."""
        return self._cursor

    async def run(self, token: Callable[[], str], *, give_up_after_s: float) -> None:
        """Follow until enough events have come, over as many connections as it takes.

        Raises what the node refuses for good, UnavailableError after `give_up_after_s` without a subscription.
        """
        loop = asyncio.get_running_loop()
        wait_s, self._good_at = WAIT_S[0], loop.time()
        while not self._enough():
            before = self._good_at
            try:
                await self._connection(token())
            except BrokenPipeError:
                raise
            except (OSError, websockets.WebSocketException) as error:
                say(f"connection lost: {_final(error)}; trying again")
            if self._enough():
                return
            if loop.time() - self._good_at > give_up_after_s:
                raise UnavailableError(f"{self._address} gave no subscription for {give_up_after_s:g} s")
            wait_s = WAIT_S[0] if self._good_at > before else min(wait_s * 2, WAIT_S[1])
            await asyncio.sleep(max(self._asked_s, random.uniform(0, wait_s)))  # noqa: S311
            self._asked_s = 0.0

    async def _connection(self, token: str) -> None:
        async with websockets.connect(
            self._address, subprotocols=[websockets.Subprotocol(PROTOCOL)], max_size=None, proxy=None
        ) as socket:
            await socket.send(_encode({"id": 1, "type": "connect", "token": token}))
            await socket.send(_encode(self._subscribe()))
            async for frame in socket:
                for line in str(frame).split("\n"):
                    if not self._take(line):
                        return
                if self._enough():
                    return

    def _subscribe(self) -> dict[str, Any]:
        command: dict[str, Any] = {"id": 2, "type": "subscribe", "channel": self._channel}
        if self._cursor is not None:
            command["cursor"] = self._cursor
        elif self._from_start:
            command["from"] = "start"
        return command

    def _take(self, line: str) -> bool:
        """One message; False when the connection is of no more use."""
        message = msgspec.json.decode(line)
        kind = message["type"]
        if kind == "error":
            if "retry_after_ms" not in message:
                raise ERRORS.get(message["code"], EventhubError)(message["message"])
            self._asked_s = message["retry_after_ms"] / 1000
            say(f"the node asks to wait: {message['message']}")
            return False
        if kind == "subscribed":
            self._good_at = asyncio.get_running_loop().time()
        elif kind == "reconnect":
            self._asked_s = message["in_ms"] / 1000
        elif kind in ("skipped", "notice"):
            say(f"{kind}: {line}")
        elif kind in ("event", "state", "reset") and not self._enough():
            self._cursor = message["cursor"]
            self._show(kind, message, line)
        return True

    def _show(self, kind: str, message: dict[str, Any], line: str) -> None:
        if kind == "reset":
            say(f"reset: {message['reason']}; what lies before it cannot be had")
        if kind == "event":
            self._seen += 1
        if not self._as_json:
            data(_line(message))
        elif kind == "event" or self._channel.partition(":")[0] in STATES_ONLY:
            data(line)

    def _enough(self) -> bool:
        return self._count is not None and self._seen >= self._count


def _final(error: Exception) -> str:
    """Why a connection ended, in words; raises when its close code says not to come back."""
    close = getattr(error, "rcvd", None)
    if close is not None and FOR_GOOD[0] <= close.code <= FOR_GOOD[1]:
        kind = UnauthorizedError if close.code == UnauthorizedError.close_code else EventhubError
        raise kind(f"the node closed for good: {close.code} {close.reason}") from error
    return f"closed with {close.code}" if close is not None else type(error).__name__


def _encode(command: dict[str, Any]) -> str:
    return msgspec.json.encode(command).decode()


def _line(message: dict[str, Any]) -> str:
    """An event or a state as a person reads it."""
    event = message.get("event", {})
    sheet = message.get("state") or (event.get("payload", {}).get("sheet") if event.get("type") == "state" else None)
    if sheet is not None:
        home, away = sheet["home"], sheet["away"]
        score = f"{home['name']} {home['score']}-{away['score']} {away['name']}"
        return printable(f"{sheet['minute'] or '':>7}  {sheet['status']:<10} {score}")
    who = ", ".join(name for name in (event.get("player"), event.get("team")) if name)
    text = event.get("payload", {}).get("text", "")
    return printable(f"{event.get('minute') or '':>7}  {event['type']:<20} {who} {text}".rstrip())
