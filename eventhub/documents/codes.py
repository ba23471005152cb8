"""Every code that an answer can carry, gathered from the table of errors and from the few places that narrow one."""

from typing import NamedTuple

from eventhub import errors, web
from eventhub.delivery.past import GoneError
from eventhub.errors import (
    ITEM_CODES,
    ConflictError,
    EventhubError,
    ForbiddenError,
    LimitError,
    MalformedError,
    NotFoundError,
    RejectedError,
    UnavailableError,
)


class Code(NamedTuple):
    """A problem's code with the error that carries it, and what it means."""

    name: str
    error: type[EventhubError]
    meaning: str


def _table() -> tuple[type[EventhubError], ...]:
    """The classes of the table and those of the ASGI kit, in their order, and the one of a module of its own."""
    named = [kind for module in (errors, web) for kind in vars(module).values()]
    found = [kind for kind in named if isinstance(kind, type) and issubclass(kind, EventhubError)]
    return (*dict.fromkeys(found), GoneError)


ERRORS = _table()

NARROWED: tuple[Code, ...] = (
    Code("bad_cursor", MalformedError, "The cursor is not one that the server gave, or is of another match."),
    Code("epoch_changed", MalformedError, "The log was begun anew since this cursor; start without one."),
    Code("channel_not_allowed", ForbiddenError, "The token's claim `channels` does not name this channel or match."),
    Code("unknown_channel", NotFoundError, "No channel of the stream has this name."),
    Code("delayed", UnavailableError, "A match of the channel is shown later than before; subscribe again."),
    Code(
        "unknown_delay", RejectedError, "A match cannot be declared with this delay; the operator lists those it can."
    ),
    Code("already_subscribed", LimitError, "The stream has this channel already; unsubscribe first."),
    Code("key_rate", LimitError, "The key sends more to this node than a key may; nothing was taken, send it again."),
    Code("overloaded", UnavailableError, "The node has too much to do, and this source waits first; send it again."),
    Code("revision", ConflictError, "Somebody changed the mode meanwhile; look at it again, then say what to replace."),
    Code("spool_full", UnavailableError, "Kafka does not answer and the node's spool is full; send it again later."),
    Code("spool_refused", UnavailableError, "Kafka does not answer and the spool's disk refuses; send it again later."),
    Code("read_only", UnavailableError, "The platform is read-only; what changes it waits, the live feed goes on."),
)
"""Codes that stand in for the code of their error, to say more."""


def meaning(kind: type[EventhubError]) -> str:
    """What an error means, in a sentence."""
    if kind is EventhubError:
        return "Something went wrong in the server itself; it was logged there."
    return " ".join((kind.__doc__ or "").split())


def _codes() -> dict[str, Code]:
    codes = {kind.code: Code(kind.code, kind, meaning(kind)) for kind in ERRORS}
    codes |= {code.name: code for code in NARROWED if code.name not in codes}
    items = {name: Code(name, RejectedError, f"{text[0].upper()}{text[1:]}.") for name, text in ITEM_CODES.items()}
    return codes | {name: code for name, code in items.items() if name not in codes}


PROBLEM_CODES = _codes()
"""Every code of a problem; those of items too, because a request can be refused for the same reason."""
