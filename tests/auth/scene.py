"""Keys and tokens for tests: what this platform signs, and what somebody else does."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventhub import auth


def now() -> datetime:
    return datetime.now(UTC)


def pem_of(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem_of(key: Ed25519PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def tokens_of(key: Ed25519PrivateKey, *others: str) -> auth.Tokens:
    return auth.load_tokens(pem_of(key), Path("unused"), others)


def kid_of(tokens: auth.Tokens) -> str:
    keys: Any = tokens.jwks()["keys"]
    return str(keys[0]["kid"])


def claims(**more: Any) -> dict[str, Any]:
    """Good claims of this platform, changed; None takes one away."""
    at = now().timestamp()
    good = {"iss": "eventhub", "sub": "ann", "plan": "gold", "sid": "s", "iat": at, "exp": int(at) + 900, **more}
    return {name: value for name, value in good.items() if value is not None}


def signed(key: Any, algorithm: str, header: dict[str, Any], **more: Any) -> str:
    """Whatever the claims are; PyJWT's own `encode` refuses some of them."""
    payload = json.dumps(claims(**more)).encode()
    return jwt.PyJWS().encode(payload, key, algorithm=algorithm, headers=header)


def by_hand(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    """A token as no library makes it."""
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
