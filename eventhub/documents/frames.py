"""The messages that a node sends on a stream, as types from which the documents are made.

`eventhub/delivery/messages.py` writes the same by hand for speed; tests compare what a real node sends with these.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec

from eventhub.documents.shapes import Cursor, LiveEvent, MatchSheet

Id = Annotated[int | str | None, msgspec.Meta(description="That of the command which this answers; null where none.")]
Channel = Annotated[
    str,
    msgspec.Meta(
        description="`match:ID`: every event of a match. `team:ID`: of every match that the team plays in. Of states"
        " only: `competition:ID`, and `scores` for the matches that start within a day or are going on."
    ),
]
Cursors = Annotated[dict[str, Cursor], msgspec.Meta(description="By channel: everything up to it was sent.")]


class _Message(msgspec.Struct, tag_field="type", kw_only=True):
    pass


class Limits(msgspec.Struct):
    """What this node holds a client to.

    Teams and matches at once, and bytes of a message; subscribe commands (one with several channels is one, and
    unsubscribing is free) and commands in all, on average and at once; connections of one address and of one user to
    a node, and to all nodes together.
    """

    teams: int
    matches: int
    message_bytes: int
    changes_per_minute: float
    changes_burst: int
    commands_per_s: float
    commands_burst: int
    connections_per_address: int
    connections_per_user: int
    connections_per_address_total: int
    connections_per_user_total: int


class View(msgspec.Struct):
    """What passes of a channel; null: everything. Translations pass in these languages only."""

    lanes: list[str] | None
    types: list[str] | None
    languages: list[str]


class Connected(_Message, tag="connected"):
    """The token is good; the platform's mode and the limits are told before they matter."""

    id: Id
    session: str
    node: str
    ping_s: Annotated[float, msgspec.Meta(description="A heartbeat comes at least so often, in seconds.")]
    mode: Literal["normal", "degraded", "read_only"]
    limits: Limits


class Subscribed(_Message, tag="subscribed"):
    """What follows on this channel follows from here. `recovered`: everything after the given cursor comes.

    All of it is seen `delay_s` after the node has it: the larger of what the plan and the match ask for.
    """

    id: Id
    channel: Channel
    cursor: Cursor
    recovered: bool
    view: View
    delay_s: float


class Unsubscribed(_Message, tag="unsubscribed"):
    """Nothing of this channel follows."""

    id: Id
    channel: Channel


class Refreshed(_Message, tag="refreshed"):
    """The connection lives on with the new token."""

    id: Id
    expires_at: datetime


class StreamEvent(_Message, tag="event"):
    """One event of the log, in its order, and the cursor to resume behind it."""

    channel: Channel
    cursor: Cursor
    event: LiveEvent  # type: ignore[valid-type]


class State(_Message, tag="state"):
    """The sheet of a match as it stands at the cursor; events follow from there."""

    channel: Channel
    cursor: Cursor
    state: MatchSheet


class Reset(_Message, tag="reset"):
    """What was asked for can no longer be given whole: begin again from this state."""

    channel: Channel
    cursor: Cursor
    reason: str
    state: MatchSheet


class Skipped(_Message, tag="skipped"):
    """The client takes less than there is: so many events of a lane, between these cursors and with them, are left out.

    Of the bulk lane the latest of each thing still comes; of the normal lane a `state` that holds them all. Critical
    events are never left out. What is between the two cursors and is not left out follows: resume after the cursor of
    an event or a state, not after `to`.
    """

    channel: Channel
    lane: Literal["normal", "bulk"]
    count: Annotated[int, msgspec.Meta(ge=1)]
    from_: Cursor = msgspec.field(name="from")
    to: Cursor


class Notice(_Message, tag="notice"):
    """What is degraded now, everything that it affects, and since when; the newest one counts."""

    mode: Literal["normal", "degraded", "read_only"]
    affected: list[str]
    since: datetime
    reason: str


class Reconnect(_Message, tag="reconnect"):
    """This node ends: come back in so many milliseconds, with these cursors."""

    in_ms: Annotated[int, msgspec.Meta(ge=0)]
    cursors: Cursors


class Heartbeat(_Message, tag="heartbeat"):
    """The node lives; where nothing happened the cursors move on all the same."""

    server_time: datetime
    cursors: Cursors


class Error(_Message, tag="error"):
    """A command was refused, or (followed by a close) the connection is. Switch on `code`: it never changes."""

    id: Id
    code: str
    message: str
    channel: str | msgspec.UnsetType = msgspec.UNSET
    retry_after_ms: int | msgspec.UnsetType = msgspec.UNSET


AnySent = (
    Connected
    | Subscribed
    | Unsubscribed
    | Refreshed
    | StreamEvent
    | State
    | Reset
    | Skipped
    | Notice
    | Reconnect
    | Heartbeat
    | Error
)
SENT: tuple[Any, ...] = get_args(AnySent)
"""Every message that a node sends."""
