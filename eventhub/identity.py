"""Who an event is: its id and its fingerprint, both functions of what the source sent. Pure.

The id is a UUID of version 8 (RFC 9562) over BLAKE2b. With an id of the source's own it is made from (source, match,
that id, revision); without one, from everything the source said. The match belongs to it because providers number
their records per file. See docs/design/identity.md.
"""

from hashlib import blake2b
from typing import NamedTuple

FINGERPRINT_BYTES = 8


class Identity(NamedTuple):
    """An event's id as 16 bytes and as text, and for a revision the id of what it revises."""

    packed: bytes
    text: str
    of: str | None


def identity(source: str, match_id: str, source_event_id: str | None, revision: int, canonical: bytes) -> Identity:
    """The identity of one event; `canonical` counts only where the source has no id of its own."""
    if source_event_id is None:
        packed = _digest(f"c{_part(source)}{_part(match_id)}".encode() + canonical)
        return Identity(packed, _text(packed), None)
    named = f"{_part(source)}{_part(match_id)}{_part(source_event_id)}"
    first = _digest(f"s{named}".encode())
    if revision == 0:
        return Identity(first, _text(first), None)
    packed = _digest(f"r{named}{revision}".encode())
    return Identity(packed, _text(packed), _text(first))


def packed(text: str) -> bytes:
    """The 16 bytes of an id as text. Raises ValueError for what is none."""
    return bytes.fromhex(text.replace("-", ""))


def fingerprint(item: bytes) -> bytes:
    """8 bytes that tell two versions of the provider's bytes apart."""
    return blake2b(item, digest_size=FINGERPRINT_BYTES).digest()


def _part(text: str) -> str:
    """With its length, so that no two different lists of parts are the same text."""
    return f"{len(text)}:{text}"


def _digest(named: bytes) -> bytes:
    hashed = bytearray(blake2b(named, digest_size=16).digest())
    hashed[6] = hashed[6] & 0x0F | 0x80
    hashed[8] = hashed[8] & 0x3F | 0x80
    return bytes(hashed)


def _text(packed: bytes) -> str:
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
