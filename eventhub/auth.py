"""Who may: ingest keys and access tokens. No check asks Postgres or any other server.

Keys are 256 random bits; `account-events` carries their SHA-256, folded by every node. Access tokens are JWTs signed
with EdDSA (RFC 8037) and live 15 minutes; the signing key is a setting, generated in the data folder in development.
"""

import base64
import hashlib
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventhub.errors import ConfigError, ForbiddenError, UnauthorizedError

KEY_PREFIX = "ehk_"
TOKEN_LIFE = timedelta(minutes=15)
LEEWAY_S = 5
ISSUER = "eventhub"
SOURCES = ("sensors", "broadcast", "social", "admin")


class Key(msgspec.Struct, frozen=True):
    """An ingest key as `account-events` has it: never the key itself."""

    id: str
    source: str
    sha256: str
    created_at: datetime
    kind: str = "key"
    revoked: bool = False


class Principal(NamedTuple):
    """Whom a token names."""

    user: str
    plan: str
    expires_at: datetime


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


class Tokens:
    """Signs and checks access tokens with one Ed25519 key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private = private_key
        self._public = private_key.public_key()

    def sign(self, user: str, plan: str, now: datetime) -> str:
        """An access token that ends 15 minutes after `now`."""
        claims = {"iss": ISSUER, "sub": user, "plan": plan, "iat": now, "exp": now + TOKEN_LIFE}
        return jwt.encode(claims, self._private, algorithm="EdDSA")

    def check(self, token: str) -> Principal:
        """Whom the token names. Raises UnauthorizedError when it is malformed, of another signer, or ended."""
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise UnauthorizedError("the token has ended; get a new one") from error
        except jwt.InvalidTokenError as error:
            raise UnauthorizedError(f"the token is not valid: {type(error).__name__}") from error
        ends = datetime.fromtimestamp(int(claims["exp"]), UTC)
        return Principal(str(claims["sub"]), str(claims.get("plan", "free")), ends)


def bearer(authorization: str | None) -> str:
    """What follows `Bearer`. Raises UnauthorizedError."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        raise UnauthorizedError("send `Authorization: Bearer …`")
    return value.strip()


def load_tokens(signing_key: str | None, data_dir: Path) -> Tokens:
    """Tokens signed with the key of the settings (PEM, PKCS 8), else with one kept in the data folder.

    Raises ConfigError when the setting is not an Ed25519 private key.
    """
    pem = signing_key.encode() if signing_key else _kept_key(data_dir / "signing-key.pem")
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except ValueError as error:
        raise ConfigError(
            "auth.signing_key is not a private key in PEM (openssl genpkey -algorithm ed25519)"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError("auth.signing_key is not an Ed25519 key (openssl genpkey -algorithm ed25519)")
    return Tokens(private)


def _kept_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Linked into place, so that nodes which start at once agree on one key and none reads half of it.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(fresh)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_bytes()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
