"""Access tokens of this platform: JWTs signed with EdDSA (RFC 8037) that live 15 minutes.

The signing key is a setting, generated in the data folder in development. Each token names its key (`kid`, the RFC 7638
thumbprint); keys of before and of next are honoured while nodes change over.
"""

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from eventhub.auth.principal import Principal, peek, proved
from eventhub.errors import ConfigError, UnauthorizedError

TOKEN_LIFE = timedelta(minutes=15)
LEEWAY = timedelta(seconds=5)
LONGEST = timedelta(hours=24)
"""Whoever else holds the key may sign for longer than we do, but not for ever."""
ISSUER = "eventhub"
ALGORITHM = "EdDSA"
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----[A-Za-z0-9+/=\s]*-----END [A-Z ]+-----")


class Tokens:
    """Signs with one Ed25519 key; checks what that key, or one of `others`, has signed."""

    def __init__(self, private_key: Ed25519PrivateKey, others: Sequence[Ed25519PublicKey] = ()) -> None:
        self._private = private_key
        public = (private_key.public_key(), *others)
        self._public = {thumbprint(key): key for key in public}
        self._kid = thumbprint(public[0])

    def sign(
        self, user: str, plan: str, now: datetime, *, session: str | None = None, channels: Sequence[str] | None = None
    ) -> str:
        """An access token that ends 15 minutes after `now`; a session of its own unless one is given."""
        claims: dict[str, object] = {
            "iss": ISSUER,
            "sub": user,
            "plan": plan,
            "sid": session or new_session(),
            # With its fraction, so that what was issued just before a revocation is not taken for what came after.
            "iat": now.replace(microsecond=now.microsecond // 1000 * 1000).timestamp(),
            "exp": int((now + TOKEN_LIFE).timestamp()),
            "jti": secrets.token_urlsafe(12),
        }
        if channels is not None:
            claims["channels"] = list(channels)
        return jwt.encode(claims, self._private, algorithm=ALGORITHM, headers={"kid": self._kid})

    def read(self, token: str, kid: str) -> Principal:
        """Whom the token names, be it ended or not. Raises UnauthorizedError when no key of ours signed it."""
        key = self._public.get(kid)
        if key is None:
            raise UnauthorizedError("the token is not valid: its key (kid) is not one of this platform; get a new one")
        claims, _ = proved(token, key, ALGORITHM)
        if claims.iss != ISSUER or not claims.sid or claims.exp - claims.iat > LONGEST.total_seconds():
            raise UnauthorizedError("the token is not valid: it is not for this platform; get a new one")
        return claims.principal(user=claims.sub, plan=claims.plan, ours=True)

    def check(self, token: str) -> Principal:
        """Whom the token names. Raises UnauthorizedError when it is malformed, of another signer, or ended."""
        principal = self.read(token, peek(token).kid)
        if datetime.now(UTC) > principal.expires_at + LEEWAY:
            raise UnauthorizedError("the token has ended; get a new one")
        return principal

    def jwks(self) -> dict[str, object]:
        """The public keys as a JWK set (RFC 7517), the one that signs first."""
        return {
            "keys": [{**_jwk(key), "kid": kid, "use": "sig", "alg": ALGORITHM} for kid, key in self._public.items()]
        }


def new_session() -> str:
    """A fresh id of a session, which no one can guess."""
    return secrets.token_urlsafe(12)


def thumbprint(key: Ed25519PublicKey) -> str:
    """The key's id: SHA-256 of its canonical JWK (RFC 7638)."""
    one = _jwk(key)
    text = '{"crv":"%s","kty":"%s","x":"%s"}' % (one["crv"], one["kty"], one["x"])  # noqa: UP031
    return _base64(hashlib.sha256(text.encode()).digest())


def load_tokens(signing_key: str | None, data_dir: Path, others: Sequence[str] = ()) -> Tokens:
    """Tokens signed with the key of the settings (PEM, PKCS 8), else with one kept in the data folder.

    `others` are texts with PEMs, public or private, of keys that are honoured too. Raises ConfigError when one of
    these is not an Ed25519 key.
    """
    private = _parsed(signing_key.encode() if signing_key else _kept_key(data_dir / "signing-key.pem"), "signing_key")
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError("auth.signing_key is a public key; it takes the private one")
    keys = [_parsed(pem.encode(), "previous_keys") for text in others for pem in _pems(text)]
    return Tokens(private, [key.public_key() if isinstance(key, Ed25519PrivateKey) else key for key in keys])


def _pems(text: str) -> list[str]:
    """Every PEM of a text; several may follow each other in one file. Raises ConfigError for anything else."""
    if _PEM.sub("", text).strip():
        raise ConfigError("auth.previous_keys holds something that is no PEM; give public or private keys in PEM")
    return _PEM.findall(text)


def _parsed(pem: bytes, setting: str) -> Ed25519PrivateKey | Ed25519PublicKey:
    try:
        public = b" PUBLIC KEY-----" in pem
        key = (
            serialization.load_pem_public_key(pem) if public else serialization.load_pem_private_key(pem, password=None)
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"auth.{setting} is not a key in PEM (openssl genpkey -algorithm ed25519)") from error
    if not isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        raise ConfigError(f"auth.{setting} is not an Ed25519 key (openssl genpkey -algorithm ed25519)")
    return key


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


def _jwk(key: Ed25519PublicKey) -> dict[str, str]:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64(raw)}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
