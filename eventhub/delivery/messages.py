"""Messages of the stream, subprotocol `eventhub.v1+json`: commands that come in, and the bytes of what goes out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from eventhub.errors import EventhubError, MalformedError

SUBPROTOCOL = "eventhub.v1+json"
FRAME_BYTES = 65_536
"""A frame is not grown beyond this: common clients refuse frames above 1 MiB, and a slow one is given pieces."""

Id = int | str | None


class _Command(msgspec.Struct, tag_field="type", kw_only=True):
    id: Id = None


class Connect(_Command, tag="connect"):
    """Who is there; a token in the `Authorization` header of the handshake stands in for it."""

    token: str | None = None


class Wanted(msgspec.Struct, kw_only=True):
    """A channel to subscribe to: after a cursor, from the start, or from its state now."""

    channel: str
    cursor: str | None = None
    start: Literal["start"] | None = msgspec.field(default=None, name="from")


class Subscribe(_Command, tag="subscribe"):
    """One channel, or several at once; lanes, types and the languages of translations hold for all of them."""

    channel: str | None = None
    cursor: str | None = None
    start: Literal["start"] | None = msgspec.field(default=None, name="from")
    channels: list[Wanted] = []
    lanes: list[str] = []
    types: list[str] = []
    languages: list[str] = []

    def wanted(self) -> list[Wanted]:
        """All channels that it asks for. Raises MalformedError when it asks for none."""
        one = [] if self.channel is None else [Wanted(channel=self.channel, cursor=self.cursor, start=self.start)]
        if not one and not self.channels:
            raise MalformedError("subscribe names no channel; send `channel` or `channels`")
        return one + self.channels


class Unsubscribe(_Command, tag="unsubscribe"):
    """Leave a channel."""

    channel: str


class Refresh(_Command, tag="refresh"):
    """A new access token for the same user."""

    token: str


Command = Connect | Subscribe | Unsubscribe | Refresh
_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class _Identified(msgspec.Struct):
    id: Id = None


class InvalidError(MalformedError):
    """A command that is JSON, but not one that is understood; the connection stays."""

    def __init__(self, detail: str, command_id: Id) -> None:
        super().__init__(detail)
        self.command_id = command_id


def command(line: str | bytes) -> Command:
    """A command. Raises InvalidError for JSON of another shape, MalformedError for what is not JSON."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        raise InvalidError(f"the command is not understood: {str(error)[:200]}", _id(line)) from error
    except RecursionError as error:
        raise InvalidError("the command is nested too deeply", None) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"this is not a JSON message: {error}; send one message a line") from error


def _id(line: str | bytes) -> Id:
    """The id of a command that is not understood, where it can be read: it may be broken behind the first fault."""
    try:
        return msgspec.json.decode(line, type=_Identified).id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def encode(**fields: object) -> bytes:
    """A message; the field order is the order of the arguments."""
    return msgspec.json.encode(fields)


def prefix(channel: str, epoch: str) -> bytes:
    """What stands before the cursor's pairs in every event message of a channel."""
    head = msgspec.json.encode({"type": "event", "channel": channel, "cursor": f"{epoch}."})
    return head[:-2]


def event(head: bytes, pairs: str | int, value: bytes) -> bytes:
    """An event message: the log record's value as it is. `head` is `prefix`, and for an int all but the offset."""
    return b'%s%s","event":%s}' % (head, str(pairs).encode(), value)


def state(channel: str, cursor: str, sheet: bytes) -> bytes:
    """The state of a match, a sheet in JSON."""
    return encode(type="state", channel=channel, cursor=cursor, state=msgspec.Raw(sheet))


def reset(channel: str, cursor: str, reason: str, sheet: bytes) -> bytes:
    """What was asked for cannot be given; start over from this state."""
    return encode(type="reset", channel=channel, cursor=cursor, reason=reason, state=msgspec.Raw(sheet))


def reconnect(in_ms: int, cursors: Mapping[str, str]) -> bytes:
    """Come back in `in_ms` milliseconds, after these cursors by channel."""
    return encode(type="reconnect", in_ms=in_ms, cursors=dict(cursors))


def heartbeat(now: datetime, cursors: Mapping[str, str]) -> bytes:
    """The server's time, and by channel the cursor up to which everything was sent."""
    return encode(type="heartbeat", server_time=now, cursors=dict(cursors))


def notice(mode: str, affected: Sequence[str], since: datetime, reason: str) -> bytes:
    """What is degraded now, everything that it affects, and since when and why it changed."""
    return encode(type="notice", mode=mode, affected=affected, since=since, reason=reason)


def skipped(channel: str, lane: str, count: int, first: str, last: str) -> bytes:
    """So many events of a lane, from one cursor to another, both inclusive, were left out for a slow client."""
    return msgspec.json.encode(
        {"type": "skipped", "channel": channel, "lane": lane, "count": count, "from": first, "to": last}
    )


def refusal(command_id: Id, error: EventhubError, channel: str | None = None) -> bytes:
    """An error, with the command and channel that it answers."""
    fields: dict[str, object] = {"id": command_id, "type": "error", "code": error.name, "message": error.detail}
    if channel is not None:
        fields["channel"] = channel
    if error.retry_after_s is not None:
        fields["retry_after_ms"] = round(error.retry_after_s * 1000)
    return msgspec.json.encode(fields)


def pieces(messages: Sequence[bytes], limit_bytes: int = FRAME_BYTES) -> Iterator[Sequence[bytes]]:
    """Split messages into runs, each of about `limit_bytes` at most; never an empty run."""
    start = size = 0
    for index, message in enumerate(messages):
        if size + len(message) > limit_bytes and index > start:
            yield messages[start:index]
            start, size = index, 0
        size += len(message) + 1
    if start < len(messages):
        yield messages[start:]
