"""Ingest keys: 256 random bits each, of which `account-events` carries only the SHA-256, folded by every node."""

import base64
import hashlib
import secrets
from datetime import datetime

import msgspec

from eventhub.errors import ForbiddenError, UnauthorizedError

KEY_PREFIX = "ehk_"
SOURCES = ("sensors", "broadcast", "social", "admin")


class Key(msgspec.Struct, frozen=True):
    """An ingest key as `account-events` has it: never the key itself."""

    id: str
    source: str
    sha256: str
    created_at: datetime
    kind: str = "key"
    revoked: bool = False


def new_key(source: str, now: datetime) -> tuple[str, Key]:
    """A fresh key and the record of it; `source` is one of SOURCES."""
    secret = KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return secret, Key(secrets.token_hex(6), source, _digest(secret), now)


def record_key(key: Key) -> tuple[str, bytes]:
    """Key and value of the record on `account-events`."""
    return f"key:{key.id}", msgspec.json.encode(key)


class Keys:
    """The keys of the platform, folded from `account-events`."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Key] = {}
        self._by_id: dict[str, Key] = {}

    def fold(self, name: str, value: bytes | None) -> None:
        """Take one record of the topic; those of other kinds are left alone."""
        if not name.startswith("key:"):
            return
        old = self._by_id.pop(name.removeprefix("key:"), None)
        if old is not None:
            self._by_digest.pop(old.sha256, None)
        if value is not None:
            key = msgspec.json.decode(value, type=Key)
            self._by_id[key.id] = self._by_digest[key.sha256] = key

    def check(self, authorization: str | None, *allowed: str) -> Key:
        """The key of an `Authorization: Bearer` header.

        Raises UnauthorizedError, or ForbiddenError when it is a key for another source.
        """
        key = self._by_digest.get(_digest(bearer(authorization)))
        if key is None or key.revoked:
            raise UnauthorizedError("the key is unknown or revoked; make one with `eventhub keys create SOURCE`")
        if key.source not in allowed:
            raise ForbiddenError(f"this is a key for {key.source}; this needs one for {' or '.join(allowed)}")
        return key


def bearer(authorization: str | None) -> str:
    """What follows `Bearer`. Raises UnauthorizedError."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        raise UnauthorizedError("send `Authorization: Bearer …`")
    return value.strip()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
