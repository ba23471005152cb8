"""Access tokens of this platform: no forgery is taken, and keys change without refusing anyone (checklist 1 and 2)."""

import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventhub import auth
from eventhub.auth import principal
from eventhub.auth.tokens import thumbprint
from eventhub.errors import ConfigError, ForbiddenError, UnauthorizedError
from tests.auth.scene import by_hand, claims, kid_of, now, pem_of, public_pem_of, signed, tokens_of

OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
TOKENS = tokens_of(OURS)
KID = kid_of(TOKENS)
HEADER = {"kid": KID}


def with_hmac(secret: bytes) -> str:
    """HS256 whose secret is our public key, which everybody has."""
    unsigned = by_hand({"alg": "HS256", "typ": "JWT", "kid": KID}, claims()).rpartition(".")[0]
    mac = hmac.digest(secret, unsigned.encode(), hashlib.sha256)
    return unsigned + "." + by_hand({}, {}, mac).rpartition(".")[2]


def of_another_key(alg: str, key: Any, header: dict[str, Any]) -> str:
    return signed(key, alg, {**HEADER, **header})


FORGERIES: dict[str, str] = {
    "none": by_hand({"alg": "none", "kid": KID}, claims()),
    "None": by_hand({"alg": "None", "kid": KID}, claims(), b"x"),
    "no alg": by_hand({"kid": KID}, claims(), b"x"),
    "HS256 with the PEM": with_hmac(public_pem_of(OURS).encode()),
    "HS256 with the JWK": with_hmac(json.dumps(TOKENS.jwks()).encode()),
    "another key": of_another_key("EdDSA", THEIRS, {}),
    "another algorithm": of_another_key("ES256", generate_private_key(SECP256R1()), {}),
    "its own jwk": of_another_key("EdDSA", THEIRS, {"jwk": tokens_of(THEIRS).jwks()["keys"][0]}),  # type: ignore[index]
    "its own jku": of_another_key("EdDSA", THEIRS, {"jku": "http://127.0.0.1:1/keys"}),
    "its own x5u": of_another_key("EdDSA", THEIRS, {"x5u": "http://127.0.0.1:1/cert"}),
    "an unknown kid": signed(OURS, "EdDSA", {"kid": "unknown"}),
    "no kid": signed(OURS, "EdDSA", {}),
    "another issuer": signed(OURS, "EdDSA", HEADER, iss="evil"),
    "no issuer": signed(OURS, "EdDSA", HEADER, iss=None),
    "no exp": signed(OURS, "EdDSA", HEADER, exp=None),
    "no iat": signed(OURS, "EdDSA", HEADER, iat=None),
    "no sub": signed(OURS, "EdDSA", HEADER, sub=None),
    "an empty sub": signed(OURS, "EdDSA", HEADER, sub=""),
    "no session": signed(OURS, "EdDSA", HEADER, sid=None),
    "exp as a text": signed(OURS, "EdDSA", HEADER, exp=str(int(now().timestamp()) + 900)),
    "exp without an end": signed(OURS, "EdDSA", HEADER, exp=float("inf")),
    "exp beyond the calendar": signed(OURS, "EdDSA", HEADER, exp=1e18),
    "ten years": signed(OURS, "EdDSA", HEADER, exp=int(now().timestamp()) + 315_360_000),
    "ended": signed(OURS, "EdDSA", HEADER, exp=int(now().timestamp()) - 60),
    "nested": "e30." + "[" * 3000 + ".x",
    "nothing": "",
    "too long": "a" * 9000,
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forgery_is_refused(kind: str) -> None:
    for check in (TOKENS.check, auth.Access(TOKENS, auth.Accounts()).check):
        with pytest.raises(UnauthorizedError) as refused:
            check(FORGERIES[kind])
        assert len(FORGERIES[kind]) < 20 or FORGERIES[kind] not in refused.value.detail


def test_200_tokens_with_one_changed_character_are_refused() -> None:
    good = TOKENS.sign("ann", "gold", now())
    assert TOKENS.check(good).user == "ann"
    step = max(1, len(good) // 200)
    for place in range(0, len(good) - 1, step):
        changed = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        with pytest.raises(UnauthorizedError):
            TOKENS.check(changed)


def test_mutant_a_check_that_believes_the_header_takes_forgeries(monkeypatch: pytest.MonkeyPatch) -> None:
    class Believing(jwt.PyJWS):
        def decode_complete(self, jwt: Any, key: Any = "", algorithms: Any = None, **_: Any) -> Any:  # type: ignore[override]
            return super().decode_complete(jwt, options={"verify_signature": False})

    monkeypatch.setattr(jwt, "PyJWS", Believing)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_forgery_is_refused("none")


def test_mutant_an_end_that_may_be_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def proved(token: str, key: Any, algorithm: str) -> Any:
        payload = jwt.PyJWS().decode_complete(token, key, algorithms=[algorithm])["payload"]
        found = msgspec.convert(msgspec.json.decode(payload), principal.Claims, strict=False)
        return found, msgspec.json.decode(payload)

    monkeypatch.setattr("eventhub.auth.tokens.proved", proved)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_forgery_is_refused("exp as a text")


def test_a_token_names_its_key_its_session_and_itself() -> None:
    made = TOKENS.sign("ann", "gold", now(), channels=["match:*"])
    told = jwt.decode(made, options={"verify_signature": False})
    assert jwt.get_unverified_header(made) == {"alg": "EdDSA", "typ": "JWT", "kid": KID}
    assert {"iss", "sub", "plan", "sid", "iat", "exp", "jti", "channels"} == set(told)
    assert told["exp"] - told["iat"] <= 900
    assert TOKENS.sign("ann", "gold", now()) != TOKENS.sign("ann", "gold", now())


def test_the_kid_is_the_thumbprint_of_rfc_7638() -> None:
    # The key of RFC 8037, appendix A, and its thumbprint there.
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    key: Any = jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": x}).key
    assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_keys_change_over_without_refusing_anyone(tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    before, learning = tokens_of(old), tokens_of(old, public_pem_of(new))
    changed, after = tokens_of(new, public_pem_of(old)), tokens_of(new)
    of_old, of_new = before.sign("ann", "gold", now()), changed.sign("ann", "gold", now())
    # Nodes change one after the other: in each step, what one node signs all others take.
    for node, token in ((learning, of_old), (learning, of_new), (changed, of_old), (changed, of_new)):
        assert node.check(token).user == "ann"
    # Once the old key is gone, so is whatever it signed.
    assert after.check(of_new).user == "ann"
    with pytest.raises(UnauthorizedError, match="kid"):
        after.check(of_old)
    kids = [[key["kid"] for key in tokens.jwks()["keys"]] for tokens in (learning, changed)]  # type: ignore[attr-defined]
    assert kids[0] == kids[1][::-1]


def test_mutant_a_key_that_is_changed_without_an_overlap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("eventhub.auth.tokens._pems", lambda _: [])
    with pytest.raises(UnauthorizedError):
        test_keys_change_over_without_refusing_anyone(tmp_path)


def test_the_key_set_never_holds_a_private_key() -> None:
    told = json.dumps(tokens_of(OURS, pem_of(THEIRS)).jwks())
    assert '"d"' not in told and told.count('"kid"') == 2


def test_several_previous_keys_may_stand_in_one_text_and_what_is_none_is_refused_untold(tmp_path: Path) -> None:
    one, two = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    tokens = tokens_of(OURS, pem_of(one) + "\n" + public_pem_of(two))
    assert {tokens.check(tokens_of(key).sign("a", "b", now())).user for key in (one, two)} == {"a"}
    for wrong in (
        "sesame",
        public_pem_of(one) + "sesame",
        "-----BEGIN PUBLIC KEY-----\nsesame\n-----END PUBLIC KEY-----",
    ):
        with pytest.raises(ConfigError, match="previous_keys") as refused:
            tokens_of(OURS, wrong)
        assert "sesame" not in str(refused.value)
    with pytest.raises(ConfigError, match="private"):
        auth.load_tokens(public_pem_of(one), tmp_path)


@pytest.mark.parametrize(
    ("patterns", "yes", "no"),
    [
        (None, ["match:m", "scores"], []),
        (["match:*"], ["match:m", "match:"], ["team:t", "scores", "matches"]),
        (["team:t1", "scores"], ["team:t1", "scores"], ["team:t10", "team:T1", "match:t1", "scores:x"]),
        (["match:cup-*"], ["match:cup-7"], ["match:cup", "match:league-7"]),
        ([], [], ["match:m", "scores"]),
    ],
)
def test_patterns_say_which_channels_may_be_read(patterns: list[str] | None, yes: list[str], no: list[str]) -> None:
    named = TOKENS.check(TOKENS.sign("ann", "gold", now(), channels=patterns))
    assert all(named.may_read(channel) for channel in yes) and not any(named.may_read(channel) for channel in no)
    for channel in no:
        with pytest.raises(ForbiddenError) as refused:
            named.allow(channel)
        assert refused.value.name == "channel_not_allowed"


def test_a_token_of_another_clock_is_taken_within_the_leeway() -> None:
    assert TOKENS.check(TOKENS.sign("ann", "gold", now() - auth.TOKEN_LIFE - timedelta(seconds=2))).user == "ann"
