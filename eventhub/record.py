"""The record of the log and of the raw topics: what travels beside the value, in one packed header `h`.

Every projection reads the header and not the value, so it is one fixed layout: Kafka's clients pay for each header.

- the vector (log, 61 bytes): index of the raw topic that the record came from (255: marker), for each raw topic the
  last raw offset applied once this record is on the log (-1: none), and each topic's incarnation;
- the tags (raw and log, 32 bytes and the kind): event id (16), fingerprint of the provider's bytes (8), of a state the
  log offset of its cause (8, else -1), and the kind: lane letter, colon, event type (`c:goal`). On the log a revision
  that came as something else before has the kinds of that behind its own: `n:shot<c:goal`. A translation has its
  language there (BCP 47): `n:translation/de`.

A marker has only the vector, and behind it what is about to be tried, where that is told; a fence has the header `n`,
the name of the node that wrote it.
"""

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from eventhub import topics

MARKER = 255
FENCE_KEY = b"fence"
MARKER_KEY = b"marker"

_VECTOR = struct.Struct(f">B{len(topics.RAW)}q{4 * len(topics.RAW)}s")
_TAGS = struct.Struct(">16s8sq")
_TRY = struct.Struct(">Bq")
BATCH = -1
"""In place of a source and an offset: not one record is tried, but a whole batch."""

Headers = Sequence[tuple[str, bytes]]


class Tags(NamedTuple):
    """What is known of a record without decoding its value; `cause` is -1 where there is none.

    `revises` are the kinds, between commas, under which viewers have what this record revises.
    """

    event_id: bytes
    fingerprint: bytes
    cause: int
    kind: bytes
    revises: bytes = b""


class Vector(NamedTuple):
    """How far the log has applied its raw topics, in the order of `topics.RAW`."""

    source: int
    applied: tuple[int, ...]
    incarnations: tuple[str, ...]


class Outgoing(NamedTuple):
    """A record to be written; `value` None is a fence, a marker or a tombstone."""

    key: bytes
    value: bytes | None
    headers: Headers


class LogRecord(NamedTuple):
    """A record of the log as readers see it; for fences and markers `value` is None, `kind` and what tells an event
    (id, fingerprint) are empty."""

    partition: int
    offset: int
    match_id: str
    kind: str
    value: bytes | None
    appended_ms: int
    raw: tuple[int, ...]
    lives: bytes = b""
    """The incarnations of the raw topics that `raw` counts in, packed."""
    event_id: bytes = b""
    fingerprint: bytes = b""
    revises: str = ""


class Lost(NamedTuple):
    """A partition ended before what was on it: an offset known to have been there, and the end that was found."""

    partition: int
    known: int
    end: int


TellCut = Callable[[Lost], Awaitable[None]]
"""Told by whoever finds that the log was cut; may raise UnavailableError."""


async def tell_nobody(lost: Lost) -> None:
    """Where nobody can do anything about it."""


def head(headers: Headers) -> bytes:
    """The packed header of a record of a raw topic or of the log; empty for a fence."""
    return headers[0][1] if headers and headers[0][0] == "h" else b""


def pack_tags(event_id: bytes, fingerprint: bytes, kind: bytes, cause: int = -1) -> bytes:
    """The tags of a raw record; on the log they stand behind the vector."""
    return _TAGS.pack(event_id, fingerprint, cause) + kind


def raw_tags(packed: bytes) -> Tags:
    """The tags of a raw record. Raises struct.error when the header is not one of ours."""
    event_id, fingerprint, cause = _TAGS.unpack_from(packed)
    return Tags(event_id, fingerprint, cause, packed[_TAGS.size :])


def log_tags(packed: bytes) -> Tags:
    """The tags of a record of the log; it must have a value."""
    event_id, fingerprint, cause = _TAGS.unpack_from(packed, _VECTOR.size)
    kind, _, revises = packed[_VECTOR.size + _TAGS.size :].partition(b"<")
    return Tags(event_id, fingerprint, cause, kind, revises)


def kind(packed: bytes) -> bytes:
    """Only the kind of a log record, without a language; empty for markers and fences."""
    return packed[_VECTOR.size + _TAGS.size :].partition(b"<")[0].partition(b"/")[0]


def pack_revises(tags: bytes, revises: bytes) -> bytes:
    """The tags of a revision on the log: what it revises had these kinds, between commas; without any, as they are."""
    return b"%s<%s" % (tags, revises) if revises else tags


def pack_vector(source: int, applied: Sequence[int], incarnations: bytes) -> bytes:
    """The vector's bytes; `incarnations` as of `pack_incarnations`."""
    return _VECTOR.pack(source, *applied, incarnations)


def pack_incarnations(incarnations: Sequence[str]) -> bytes:
    """Incarnations (8 hex digits each) in the order of `topics.RAW`, as they stand in the header."""
    return bytes.fromhex("".join(incarnations))


def pack_try(source: int, offset: int) -> bytes:
    """What stands behind a marker's vector: the raw record that is tried next, or 0 and BATCH."""
    return _TRY.pack(source, offset)


def unpack_try(packed: bytes) -> tuple[int, int] | None:
    """The raw record that a marker says is tried next; None for a marker that only has the vector."""
    return _TRY.unpack_from(packed, _VECTOR.size) if len(packed) == _VECTOR.size + _TRY.size else None


def unpack_vector(packed: bytes) -> Vector:
    """The vector at the beginning of a log record's header."""
    source, *applied, incarnations = _VECTOR.unpack_from(packed)
    digits = incarnations.hex()
    return Vector(source, tuple(applied), tuple(digits[i : i + 8] for i in range(0, len(digits), 8)))


def vector_bytes(packed: bytes) -> bytes:
    """The offsets and incarnations of the vector as they stand, to be compared; not the source."""
    return packed[1 : _VECTOR.size]


def lives(packed: bytes) -> bytes:
    """The packed incarnations of the vector: offsets of different ones are not to be compared."""
    return packed[_VECTOR.size - 4 * len(topics.RAW) : _VECTOR.size]


def applied(packed: bytes) -> tuple[int, ...]:
    """Only the offsets of the vector: what every reader of the log checks."""
    return _VECTOR.unpack_from(packed)[1:-1]


class MatchState(msgspec.Struct):
    """The value of `match-state`: a match's sheet, the fold that it follows from, and the next log offset to fold."""

    epoch: str
    next: int
    emitted_ms: int
    sheet: msgspec.Raw
    fold: msgspec.Raw


class Progress(msgspec.Struct):
    """The value of `match-state` under the key PROGRESS_KEY: the next log offset of the whole partition."""

    epoch: str
    next: int


class Seed(NamedTuple):
    """A match sheet (JSON) as aggregation left it, and the last log offset folded into it."""

    sheet: bytes
    applied: int


PROGRESS_KEY = b"#progress"
