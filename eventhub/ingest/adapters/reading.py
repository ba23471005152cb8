"""What every adapter needs to read: one record, or a refusal that names the place; a whole file, gzipped or not."""

import gzip
import re
import zlib
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from eventhub.errors import MalformedError, RejectedError

Record = TypeVar("Record")
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that is an id or counts something; JSON alone sets no limit, and what follows does."""
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
OUT_OF_RANGE = re.compile("out of range|(int|float)` [<>]")
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
LAST_S = 20_000
"""No match clock goes beyond; the limit of `Incoming.clock_s`, which is not checked again after an adapter."""


def decode(decoder: msgspec.json.Decoder[Record], record: bytes, kind: str) -> Record:
    """One record in its type. `kind` is how a refusal calls it: "a Wyscout event".

    Raises RejectedError `malformed` or `number_range` with a JSON pointer (RFC 6901) to the value, or to what holds it.
    """
    try:
        return decoder.decode(record)
    except UNREADABLE as error:
        text = str(error)[:200]
        code = "number_range" if OUT_OF_RANGE.search(text) else "malformed"
        raise RejectedError(f"not {kind}: {text}", code=code, pointer=_pointer(text)) from error


def check_clock(clock_s: float, pointer: str) -> float:
    """The second on the match clock, to the millisecond; raises RejectedError `number_range` beyond 0 to LAST_S."""
    if not 0 <= clock_s <= LAST_S:
        raise RejectedError(
            f"the match clock would be {clock_s:g} s; it goes from 0 to {LAST_S} s",
            code="number_range",
            pointer=pointer,
        )
    return round(clock_s, 3)


def whole(path: Path, kind: str) -> bytes:
    """A file's bytes, unpacked when it is gzipped; raises MalformedError naming the file. Reads it into memory."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedError(f"{path.name} is not {kind}: {error}") from error


def _pointer(text: str) -> str:
    """From a msgspec message, which ends in "- at `$.a[0].b`"; a name that it leaves out ends the pointer."""
    _, found, path = text.rpartition(" - at `$")
    if not found or path.startswith(("[...]", "`")):
        return ""
    return path.rstrip("`").partition("[...]")[0].replace(".", "/").replace("[", "/").replace("]", "")
