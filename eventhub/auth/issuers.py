"""Access tokens that others sign: their public keys come as JWK sets, fetched in the background and kept in a file.

A check never waits for a fetch: a token whose key is not known yet is refused, and the set is asked for at once.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from eventhub.auth.principal import Claims, Peeked, Principal, proved
from eventhub.config import Issuer
from eventhub.errors import UnauthorizedError

FETCH_EVERY_S = 300
FETCH_LEAST_S = 30
"""Whoever sends tokens with made-up key ids costs the issuer no more than a question so often."""
FETCH_TIMEOUT_S = 5
MOST_BYTES = 262_144
LEEWAY = timedelta(seconds=30)
LONGEST = timedelta(hours=24)
"""A token of theirs cannot be revoked here, so one that lives for longer is refused."""
LEAST_RSA_BITS = 2048
log = structlog.get_logger(__name__)


class Key(NamedTuple):
    """A public key and the one algorithm that it is used with."""

    key: Any
    algorithm: str


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


class Known:
    """One issuer, and its keys as they were last fetched. `kept` is the file of them."""

    def __init__(self, issuer: Issuer, kept: Path | None = None) -> None:
        self.issuer, self._kept = issuer, kept
        self._keys: dict[str, Key] = {}
        self.wanted = asyncio.Event()
        """Set by a token whose key is not known."""
        if kept is not None:
            with suppress(OSError, msgspec.MsgspecError):
                self._keys = usable(kept.read_bytes(), issuer.algorithms)

    def take(self, body: bytes) -> None:
        """Replace the keys by those of a JWK set, and keep it. Raises msgspec.MsgspecError for what is none."""
        self._keys = usable(body, self.issuer.algorithms)
        if self._kept is None:
            return
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            draft = self._kept.with_name(f"{self._kept.name}.new")
            draft.write_bytes(body)
            draft.replace(self._kept)
        except OSError as error:
            hint = (
                "tokens of outside issuers need them again after a restart; is the data folder full, or not writable?"
            )
            log.warning("no local copy was kept", file=self._kept.name, error=repr(error), hint=hint)

    def read(self, token: str, kid: str, now: datetime) -> Principal:
        """Whom the token names, be it ended or not. Raises UnauthorizedError."""
        key = self._keys.get(kid)
        if key is None:
            self.wanted.set()
            raise UnauthorizedError(
                f"the token's key is not among those of {self.issuer.issuer} yet; try again in {FETCH_LEAST_S} s"
            )
        claims, everything = proved(token, key.key, key.algorithm)
        self._judge(claims, now)
        plan = everything.get(self.issuer.plan_claim) if self.issuer.plan_claim else None
        return claims.principal(
            user=f"{self.issuer.issuer}|{claims.sub}", plan=plan if isinstance(plan, str) else None, ours=False
        )

    def _judge(self, claims: Claims, now: datetime) -> None:
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        at = now.timestamp()
        wrong = (
            "it is of another issuer"
            if claims.iss != self.issuer.issuer
            else f"it is not for {self.issuer.audience}"
            if self.issuer.audience not in audiences
            else "it is not valid yet"
            if max(claims.iat, claims.nbf or 0) > at + LEEWAY.total_seconds()
            else f"it lives for longer than {LONGEST.total_seconds() / 3600:g} h"
            if claims.exp - claims.iat > LONGEST.total_seconds()
            else ""
        )
        if wrong:
            raise UnauthorizedError(f"the token is not valid: {wrong}; get a new one")


class Issuers:
    """The issuers of the settings. `follow` keeps their keys fresh; without it those of the files hold."""

    def __init__(self, settings: Sequence[Issuer] = (), folder: Path | None = None) -> None:
        self._known = {
            one.issuer: Known(one, None if folder is None else folder / f"jwks-{_name(one.issuer)}.json")
            for one in settings
        }

    def read(self, token: str, peeked: Peeked, now: datetime) -> Principal:
        """Whom a token names that one of them has signed. Raises UnauthorizedError; never waits."""
        known = self._known.get(peeked.issuer)
        if known is None:
            raise UnauthorizedError("the token is not valid: its issuer is not one that this platform trusts")
        return known.read(token, peeked.kid, now)

    async def follow(self, *, every_s: float = FETCH_EVERY_S, least_s: float = FETCH_LEAST_S) -> None:
        """Fetch the sets, every `every_s` and when a key is missing, but never twice within `least_s`; for ever."""
        async with httpx2.AsyncClient(timeout=FETCH_TIMEOUT_S, follow_redirects=False) as http:
            await asyncio.gather(*(_follow(one, http, every_s, least_s) for one in self._known.values()))


async def _follow(known: Known, http: httpx2.AsyncClient, every_s: float, least_s: float) -> None:
    failed = False
    while True:
        known.wanted.clear()
        try:
            known.take(await _fetched(http, known.issuer.jwks_url))
        except (httpx2.HTTPError, msgspec.MsgspecError, ValueError) as error:
            failed = True
            hint = "the keys that are known hold on; is auth.issuers right, and does the issuer answer?"
            log.warning("keys cannot be fetched", issuer=known.issuer.issuer, error=repr(error)[:300], hint=hint)
        else:
            if failed:
                log.info("keys are fetched again", issuer=known.issuer.issuer)
            failed = False
        await asyncio.sleep(least_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if failed else max(0.0, every_s - least_s)):
                await known.wanted.wait()


async def _fetched(http: httpx2.AsyncClient, url: str) -> bytes:
    """The body of an answer with 200. Raises HTTPError, and ValueError for another status or too long a body."""
    body = b""
    async with asyncio.timeout(2 * FETCH_TIMEOUT_S), http.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise ValueError(f"it answered {answer.status_code}")
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise ValueError(f"the set is longer than {MOST_BYTES} bytes")
    return body


def usable(body: bytes, algorithms: Sequence[str]) -> dict[str, Key]:
    """Of a JWK set, by `kid`, the public keys for signatures with one of these algorithms; others are left alone."""
    found: dict[str, Key] = {}
    for one in msgspec.json.decode(body, type=_Set).keys:
        kid = one.get("kid")
        if not isinstance(kid, str) or one.get("use", "sig") != "sig" or one.get("kty") == "oct":
            continue
        try:
            key = jwt.PyJWK(one)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        weak = isinstance(key.key, RSAPublicKey) and key.key.key_size < LEAST_RSA_BITS
        if key.algorithm_name in algorithms and not weak:
            found[kid] = Key(key.key, key.algorithm_name)
    return found


def _name(issuer: str) -> str:
    return hashlib.sha256(issuer.encode()).hexdigest()[:16]


__all__ = ["Issuers", "Known", "usable"]
