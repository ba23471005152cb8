"""`events tail`: a channel, live; reconnects with its cursor."""

import asyncio
import random
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from eventhub.cli.console import ConfigFile, DataDir, data, say, settings
from eventhub.errors import EventhubError, NotFoundError, UnauthorizedError, UsageError

PROTOCOL = "eventhub.v1+json"
WAIT_S = (0.2, 5.0)


def tail(
    channel: str,
    *,
    start: Annotated[str | None, Parameter(name="--from", help="start, or a cursor.")] = None,
    count: int | None = None,
    json: bool = False,
    node: str | None = None,
    token: str | None = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Follow a channel such as match:ID or team:ID. Without --from: its state, then what follows.

    Parameters
    ----------
    channel
        The channel's name.
    count
        Stop after this many events.
    json
        Print each event message as it came, one a line.
    node
        The node's address; the local one by default.
    token
        An access token; made here when the node is local.
    """
    chosen = settings(data_dir, config)
    address = node or f"http://127.0.0.1:{chosen.http.port}"
    if token is None and not address.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]")):
        raise UsageError(f"--token is needed for {address}: `eventhub token create` there")

    def fresh_token() -> str:
        if token is not None:
            return token
        from eventhub import operations

        return operations.create_token(chosen, user="local", plan="free")

    follower = Follower(address, channel, start, count, as_json=json)
    asyncio.run(follower.run(fresh_token))


class Follower:
    """One channel over however many connections it takes; prints events in the order of the log."""

    def __init__(self, node: str, channel: str, start: str | None, count: int | None, *, as_json: bool) -> None:
        self._address = node.replace("http", "ws", 1).rstrip("/") + "/v1/stream"
        self._channel, self._count, self._as_json = channel, count, as_json
        self._cursor = None if start == "start" else start
        self._from_start = start == "start"
        self._seen = 0

    async def run(self, token: Any) -> None:
        """Follow until enough events have come. Raises what the node refuses for good."""
        import websockets

        wait_s = WAIT_S[0]
        while not self._enough():
            try:
                async with websockets.connect(
                    self._address, subprotocols=[websockets.Subprotocol(PROTOCOL)], max_size=None, proxy=None
                ) as socket:
                    wait_s = WAIT_S[0]
                    await socket.send(_encode({"id": 1, "type": "connect", "token": token()}))
                    await socket.send(_encode(self._subscribe()))
                    async for frame in socket:
                        for line in str(frame).split("\n"):
                            self._take(line)
                        if self._enough():
                            return
            except (OSError, websockets.WebSocketException) as error:
                say(f"connection lost ({type(error).__name__}); trying again")
            await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311
            wait_s = min(wait_s * 2, WAIT_S[1])

    def _subscribe(self) -> dict[str, Any]:
        command: dict[str, Any] = {"id": 2, "type": "subscribe", "channel": self._channel}
        if self._cursor is not None:
            command["cursor"] = self._cursor
        elif self._from_start:
            command["from"] = "start"
        return command

    def _take(self, line: str) -> None:
        message = msgspec.json.decode(line)
        kind = message["type"]
        if kind == "error" and "retry_after_ms" not in message:
            raise _ERRORS.get(message["code"], EventhubError)(message["message"])
        if kind not in ("event", "state", "reset") or self._enough():
            return
        self._cursor = message["cursor"]
        if kind == "event":
            self._seen += 1
        if not self._as_json:
            data(_line(message))
        elif kind == "event":
            data(line)

    def _enough(self) -> bool:
        return self._count is not None and self._seen >= self._count


_ERRORS: dict[str, type[EventhubError]] = {"unauthorized": UnauthorizedError, "unknown_channel": NotFoundError}


def _encode(command: dict[str, Any]) -> str:
    return msgspec.json.encode(command).decode()


def _line(message: dict[str, Any]) -> str:
    """An event or a state as a person reads it."""
    event = message.get("event", {})
    sheet = message.get("state") or (event.get("payload", {}).get("sheet") if event.get("type") == "state" else None)
    if sheet is not None:
        home, away = sheet["home"], sheet["away"]
        score = f"{home['name']} {home['score']}-{away['score']} {away['name']}"
        return f"{sheet['minute'] or '':>7}  {sheet['status']:<10} {score}"
    who = ", ".join(name for name in (event.get("player"), event.get("team")) if name)
    text = event.get("payload", {}).get("text", "")
    return f"{event.get('minute') or '':>7}  {event['type']:<20} {who} {text}".rstrip()
