"""Whom a token names, and what is in a token: its claims, read strictly once its signature is known to be good."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import jwt
import msgspec

from eventhub.errors import ForbiddenError, UnauthorizedError

MOST_BYTES = 8192
"""Longer than any token; what is longer is not looked into."""
_Moment = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Principal(NamedTuple):
    """Whom a token names. `channels`: patterns of what it may read, None for everything.

    `session` is the family of refresh tokens that it comes from. `ours`: this platform signed it and could revoke it,
    so that it may be honoured past its end.
    """

    user: str
    plan: str
    expires_at: datetime
    session: str = ""
    channels: tuple[str, ...] | None = None
    issued_at: datetime | None = None
    ours: bool = True

    def may_read(self, channel: str) -> bool:
        """Whether a pattern is the channel's name, or ends in `*` and is how that name begins."""
        return self.channels is None or any(
            channel.startswith(one[:-1]) if one.endswith("*") else channel == one for one in self.channels
        )

    def allow(self, channel: str) -> None:
        """Raises ForbiddenError, code `channel_not_allowed`, for a channel that it may not read."""
        if not self.may_read(channel):
            raise ForbiddenError(
                f"this token may not read {channel[:80]}; its claim `channels` names what it may",
                code="channel_not_allowed",
            )


class Claims(msgspec.Struct):
    """What a token says. Times are seconds since 1970; `iat` may have a fraction."""

    iss: str
    sub: _Text
    exp: _Moment
    iat: _Moment
    aud: str | list[str] | None = None
    nbf: _Moment | None = None
    sid: str = ""
    plan: str | None = None
    channels: list[str] | None = None

    def principal(self, *, user: str, plan: str | None, ours: bool) -> Principal:
        """Whom they name."""
        channels = None if self.channels is None else tuple(self.channels)
        ends, issued = datetime.fromtimestamp(self.exp, UTC), datetime.fromtimestamp(self.iat, UTC)
        # There are few plans, and a principal lives as long as its socket: one text of each is enough.
        return Principal(user, sys.intern(plan or "free"), ends, self.sid, channels, issued, ours)


class Peeked(NamedTuple):
    """What a token says of itself before anything of it is proved: only good for choosing the key that proves it."""

    issuer: str
    kid: str


class _Issued(msgspec.Struct):
    iss: str


def peek(token: str) -> Peeked:
    """Who claims to have signed it, and with which key. Raises UnauthorizedError for what is no token."""
    if len(token) > MOST_BYTES:
        raise UnauthorizedError(f"the token is longer than {MOST_BYTES} bytes; it is none of ours")
    try:
        unproved = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
        issuer = msgspec.json.decode(unproved["payload"], type=_Issued).iss
    except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnauthorizedError(f"the token is not valid: {type(error).__name__}; get a new one") from error
    return Peeked(issuer, str(unproved["header"].get("kid", "")))


def proved(token: str, key: Any, algorithm: str) -> tuple[Claims, dict[str, Any]]:
    """The claims of a token that this key signed with this algorithm, as a struct and all of them as a dict.

    The key and the algorithm are ours to choose; what the header says of them is only compared. Raises
    UnauthorizedError. Times are not looked at.
    """
    try:
        payload = jwt.PyJWS().decode_complete(token, key, algorithms=[algorithm])["payload"]
        return msgspec.json.decode(payload, type=Claims), msgspec.json.decode(payload, type=dict[str, Any])
    except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise UnauthorizedError(f"the token is not valid: {type(error).__name__}; get a new one") from error


__all__ = ["Claims", "Peeked", "Principal", "peek", "proved"]
