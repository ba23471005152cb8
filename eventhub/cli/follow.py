"""Following one channel over however many connections it takes, by the Python client. No commands here."""

from collections.abc import Callable
from typing import Any

from eventhub.cli.console import data, printable, say
from eventhub.errors import EventhubError, NotFoundError, UnauthorizedError, UnavailableError
from eventhub_client import (
    Client,
    ClosedError,
    Event,
    GaveUpError,
    LostError,
    Message,
    Notice,
    RefusedError,
    Reset,
    Skipped,
)

WAIT_S = (0.2, 5.0)
STATES_ONLY = ("scores", "competition")
ERRORS: dict[str, type[EventhubError]] = {"unauthorized": UnauthorizedError, "unknown_channel": NotFoundError}
NOT_ALLOWED = (UnauthorizedError.close_code, UnauthorizedError.status)


class Follower:
    """One channel over however many connections it takes; prints events in the order of the log."""

    def __init__(self, node: str, channel: str, start: str | None, count: int | None, *, as_json: bool) -> None:
        self._node = node
        self._channel, self._count, self._as_json = channel, count, as_json
        self._cursor = None if start == "start" else start
        self._from_start = start == "start"
        self._seen = 0

    @property
    def cursor(self) -> str | None:
        """Behind what was printed last; None before anything was."""
        return self._cursor

    async def run(self, token: Callable[[], str], *, give_up_after_s: float) -> None:
        """Follow until enough events have come, over as many connections as it takes.

        Raises what the node refuses for good, UnavailableError after `give_up_after_s` without a subscription.
        """

        async def fresh() -> str:
            return token()

        async with Client(
            self._node, fresh, backoff_s=WAIT_S, give_up_after_s=give_up_after_s, on_retry=_retrying
        ) as client:
            cursors = {} if self._cursor is None else {self._channel: self._cursor}
            await client.subscribe(self._channel, cursors=cursors, from_start=self._from_start)
            try:
                while not self._enough():
                    self._take(await anext(client))
            except RefusedError as error:
                raise ERRORS.get(error.code, EventhubError)(error.detail) from error
            except ClosedError as error:
                raise (UnauthorizedError if error.code in NOT_ALLOWED else EventhubError)(str(error)) from error
            except GaveUpError as error:
                raise UnavailableError(str(error)) from error

    def _take(self, message: Message) -> None:
        if isinstance(message, Skipped | Notice):
            say(f"{message.raw['type']}: {message.text}")
            return
        self._cursor = message.cursor
        if isinstance(message, Reset):
            say(f"reset: {message.reason}; what lies before it cannot be had")
        if isinstance(message, Event):
            self._seen += 1
        if not self._as_json:
            data(_line(message.raw))
        elif isinstance(message, Event) or self._channel.partition(":")[0] in STATES_ONLY:
            data(message.text)

    def _enough(self) -> bool:
        return self._count is not None and self._seen >= self._count


def _retrying(error: LostError | RefusedError, _: float) -> None:
    """Say why it waits. Raises why there is no token: that is wrong here, and not at the node."""
    if isinstance(error.__cause__, EventhubError):
        raise error.__cause__
    if isinstance(error, RefusedError):
        say(f"the node asks to wait: {error.detail}")
    else:
        say(f"connection lost: {error}; trying again")


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
