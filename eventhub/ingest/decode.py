"""A body becomes items, each the bytes that the source sent. Nothing inside an item is read here. Pure."""

from collections.abc import Sequence

import msgspec

from eventhub.errors import MalformedError, TooLargeError

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")

_array = msgspec.json.Decoder(list[msgspec.Raw])
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
        items = _split_array(text)
    elif content_type.partition(";")[0].strip().lower() in NDJSON or not _is_one(text):
        items = [line for line in map(bytes.strip, text.split(b"\n")) if line]
    else:
        items = [text]
    if len(items) > max_items:
        raise TooLargeError(f"{len(items)} items in one body; at most {max_items} are taken")
    return items


def _split_array(text: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _array.decode(text)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError(f"the array cannot be read: {reason(error)}", pointer="") from error


def _is_one(text: bytes) -> bool:
    """True for one JSON value over the whole text; several lines of NDJSON are not one."""
    if b"\n" not in text:
        return True
    try:
        _one.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def reason(error: Exception) -> str:
    """The error in words, short, without the client's data."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
