"""Refresh tokens: opaque, 256 random bits, of which only the SHA-256 is stored.

What follows a token is made of it and of a salt that is stored when it is used: so a client whose answer was lost gets
the same one again, while neither the token alone nor the database alone tells what follows.
"""

import base64
import hashlib
import hmac
import secrets

PREFIX = "ehr_"
LENGTH = len(PREFIX) + 43


def new_refresh_token() -> str:
    """A fresh one."""
    return _told(secrets.token_bytes(32))


def may_be_refresh_token(text: str) -> bool:
    """Whether it looks like one; what does not is not asked for."""
    return text.startswith(PREFIX) and len(text) == LENGTH and text.isascii()


def new_salt() -> bytes:
    """What is stored when a token is used."""
    return secrets.token_bytes(32)


def following(token: str, salt: bytes) -> str:
    """The token that replaces this one."""
    return _told(hmac.digest(token.encode(), salt, "sha256"))


def digest(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def _told(secret: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(secret).decode().rstrip("=")
