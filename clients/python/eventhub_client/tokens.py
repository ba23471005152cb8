"""Access tokens: who gives them, and when the next one is due."""

import base64
import binascii
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

TokenProvider = Callable[[], Awaitable[str]]
"""Gives an access token that has just been made. Called for each connection, and before a token ends."""

RENEW_AT = (0.75, 0.9)
"""Between these parts of a token's life the next one is asked for: those who connected together renew apart."""

SOONEST_S = 0.5
"""A provider may give the same token again and again."""


def renew_after_s(token: str, now: float) -> float | None:
    """Seconds until a token is to be renewed; None when it does not say when it ends. `now` is in Unix time.

    A clock that is wrong here does no harm: how long a token lives is known from its own two times as well.
    """
    claims = _claims(token)
    ends, begins = _number(claims.get("exp")), _number(claims.get("iat"))
    if ends is None:
        return None
    whole_s = None if begins is None else ends - begins
    candidates = [s for s in (ends - now, whole_s) if s is not None and s > 0]
    if not candidates:
        return None
    return max(SOONEST_S, min(candidates) * random.uniform(*RENEW_AT))  # noqa: S311 - no secret


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says, unchecked: the node checks it. Empty for a token of another kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
