"""A body becomes items, each the bytes that the source sent. Nothing inside an item is read here. Pure."""

import re
from collections.abc import Sequence
from itertools import islice

import msgspec

from eventhub.errors import MalformedError, TooLargeError

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")

ARRAY_BYTES = 1 << 20
"""An array is taken apart in one go on the loop that the live feed shares; lines are found much faster."""
WHOLE_BYTES = 65_536
"""One object over several lines: a larger one is refused as an item anyway."""
FEW = 20
"""Commas, and then objects, for each item that may come: beyond, an array is looked at before it is taken apart."""


class _Object(msgspec.Struct):
    """Any object; what is in it is skipped."""


_array = msgspec.json.Decoder(list[msgspec.Raw])
_objects = msgspec.json.Decoder(list[_Object])
_line = re.compile(rb"[^\s][^\n]*")
_one = msgspec.json.Decoder(msgspec.Raw)


def split(body: bytes, content_type: str, max_items: int) -> Sequence[bytes]:
    """The items of a body: a JSON array, NDJSON, or one object.

    Raises MalformedError when an array is broken as a whole (a broken line of NDJSON spoils only itself), TooLargeError
    above `max_items`.
    """
    text = body.strip()
    if not text:
        raise MalformedError("the body is empty; send one event, an array, or one event a line")
    if text[:1] == b"[":
        items = _split_array(text, max_items)
    elif content_type.partition(";")[0].strip().lower() in NDJSON or not _is_one(text):
        # One more than are taken: a body of millions of lines is not taken apart to be refused.
        items = [line[0].rstrip() for line in islice(_line.finditer(text), max_items + 1)]
    else:
        items = [text]
    if len(items) > max_items:
        raise TooLargeError(f"more than {max_items} items in one body; send smaller batches")
    return items


def _split_array(text: bytes, max_items: int) -> list[bytes]:
    if len(text) > ARRAY_BYTES:
        raise TooLargeError(
            f"the array has {len(text)} bytes; at most {ARRAY_BYTES} are taken so, more as one event a line"
            " (application/x-ndjson)"
        )
    most = FEW * max_items
    try:
        if text.count(b",") > most:
            # Millions of numbers would take hundreds of megabytes; of objects, one needs a brace.
            if text.count(b"{") > most:
                raise TooLargeError(f"more than {most} objects in one body; send smaller batches")
            _objects.decode(text)
        return [bytes(raw) for raw in _array.decode(text)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError(f"the array cannot be read: {reason(error)}", pointer="") from error


def _is_one(text: bytes) -> bool:
    """True for one JSON value over the whole text; several lines of NDJSON are not one."""
    if b"\n" not in text:
        return True
    if len(text) > WHOLE_BYTES:
        return False
    try:
        _one.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True


def reason(error: Exception) -> str:
    """The error in words, short, without the client's data."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
