"""Keys and tokens: checked without any server, and never told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from eventhub import auth
from eventhub.errors import ConfigError, ForbiddenError, UnauthorizedError


def now() -> datetime:
    """Asked each time: tokens are over after 15 minutes, and a run of all tests takes longer."""
    return datetime.now(UTC)


def test_a_key_is_known_by_its_hash_alone() -> None:
    secret, key = auth.new_key("broadcast", now())
    name, value = auth.record_key(key)
    keys = auth.Keys()
    keys.fold(name, value)
    assert secret.encode() not in value
    assert keys.check(f"Bearer {secret}", "broadcast") == key
    with pytest.raises(ForbiddenError, match="key for broadcast"):
        keys.check(f"Bearer {secret}", "admin")
    keys.fold(name, None)
    with pytest.raises(UnauthorizedError):
        keys.check(f"Bearer {secret}", "broadcast")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic x", "Bearer ehk_unknown"])
def test_no_key_or_an_unknown_one_is_not_authorized(header: str | None) -> None:
    with pytest.raises(UnauthorizedError):
        auth.Keys().check(header, "broadcast")


def test_records_of_other_kinds_are_left_alone() -> None:
    keys = auth.Keys()
    keys.fold("plan:ann", b"not a key")


def test_a_token_names_its_user_until_it_ends(tmp_path: Path) -> None:
    tokens = auth.load_tokens(None, tmp_path)
    signed_at = now()
    principal = tokens.check(tokens.sign("ann", "gold", signed_at))
    assert (principal.user, principal.plan) == ("ann", "gold")
    assert principal.expires_at - signed_at <= auth.TOKEN_LIFE
    with pytest.raises(UnauthorizedError, match="has ended"):
        tokens.check(tokens.sign("ann", "gold", now() - timedelta(hours=1)))


def test_a_token_of_another_signer_or_algorithm_is_refused(tmp_path: Path) -> None:
    tokens, other = auth.load_tokens(None, tmp_path / "a"), auth.load_tokens(None, tmp_path / "b")
    forged = jwt.encode({"sub": "ann", "iss": "eventhub", "exp": now() + timedelta(hours=1)}, "x" * 32, "HS256")
    unsigned = jwt.encode({"sub": "ann", "iss": "eventhub", "exp": now() + timedelta(hours=1)}, "", "none")
    for token in (other.sign("ann", "gold", now()), forged, unsigned, "a.b.c", ""):
        with pytest.raises(UnauthorizedError):
            tokens.check(token)


def test_nodes_of_one_folder_share_the_kept_key_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    one, two = auth.load_tokens(None, tmp_path), auth.load_tokens(None, tmp_path)
    assert two.check(one.sign("ann", "gold", now())).user == "ann"
    assert (tmp_path / "signing-key.pem").stat().st_mode & 0o077 == 0


def test_a_setting_that_is_no_key_is_refused_without_being_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        auth.load_tokens("open sesame", tmp_path)
    assert "sesame" not in str(caught.value)
