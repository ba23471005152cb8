"""What is folded decides: plans, closed accounts, logins that are over; and the grace while no new token can be had.

Each guarantee is a function that a mutant fails.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventhub import auth
from eventhub.auth import accounts as folded
from eventhub.errors import UnauthorizedError
from eventhub.kafka.table import _write, restore
from tests.auth.scene import now, tokens_of

TOKENS = tokens_of(Ed25519PrivateKey.generate())
MINUTE = timedelta(minutes=1)


class Scene:
    """A node's access with a clock that a test moves, and a database that a test takes away."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.accounts = auth.Accounts(self.changed.append)
        self.lost, self.at = False, now()
        self.access = auth.Access(TOKENS, self.accounts, refresh_is_impossible=lambda: self.lost, now=lambda: self.at)

    def fold(self, record: tuple[str, bytes | None]) -> None:
        self.accounts.fold(*record)

    def token(self, *, at: datetime | None = None, session: str = "s") -> str:
        return TOKENS.sign("ann", "silver", at or self.at, session=session)


def the_plan_is_the_one_of_now() -> None:
    scene = Scene()
    token = scene.token()
    assert scene.access.check(token).plan == "silver"
    scene.fold(auth.record_plan("ann", "gold"))
    assert scene.access.check(token).plan == "gold"
    connected = scene.access.check(token)
    scene.fold(auth.record_plan("ann", "platinum"))
    assert scene.access.still(connected).plan == "platinum"
    scene.fold(auth.record_plan("ann", "gold"))
    scene.fold(auth.record_plan("bob", "bronze"))
    assert scene.access.check(token).plan == "gold"


def a_closed_account_is_closed_and_may_be_opened() -> None:
    scene = Scene()
    token = scene.token()
    scene.fold(auth.record_disabled("ann", True))
    with pytest.raises(UnauthorizedError, match="disabled"):
        scene.access.check(token)
    scene.fold(auth.record_plan("ann", "gold"))
    with pytest.raises(UnauthorizedError, match="disabled"):
        scene.access.check(token)
    scene.fold(auth.record_disabled("ann", False))
    assert scene.access.check(token).user == "ann"


def what_was_issued_before_is_void_and_what_comes_after_is_not() -> None:
    scene = Scene()
    # Amid a second: where one begins just then, times without fractions would do as well.
    scene.at = scene.at.replace(microsecond=500_000)
    before = scene.token(at=scene.at - timedelta(milliseconds=20))
    scene.fold(auth.record_not_before("ann", scene.at))
    after = scene.token(at=scene.at + timedelta(milliseconds=20))
    with pytest.raises(UnauthorizedError, match="revoked"):
        scene.access.check(before)
    assert scene.access.check(after).user == "ann"


def a_login_that_is_over_is_over_and_others_are_not() -> None:
    scene = Scene()
    one, two = scene.token(session="one"), scene.token(session="two")
    principal = scene.access.check(one)
    scene.fold(auth.record_family("one", "ann", scene.at))
    with pytest.raises(UnauthorizedError, match="ended"):
        scene.access.check(one)
    with pytest.raises(UnauthorizedError, match="ended"):
        scene.access.still(principal)
    assert scene.access.check(two).session == "two"


def while_refresh_is_impossible_a_token_is_honoured_for_24_h() -> None:
    scene = Scene()
    token = scene.token()
    scene.at += auth.TOKEN_LIFE + MINUTE
    with pytest.raises(UnauthorizedError, match="has ended"):
        scene.access.check(token)
    scene.lost = True
    assert scene.access.check(token).user == "ann"
    scene.at += timedelta(hours=23, minutes=58)
    assert scene.access.check(token).user == "ann"
    scene.at += 2 * MINUTE
    with pytest.raises(UnauthorizedError, match="has ended"):
        scene.access.check(token)
    scene.at -= 10 * MINUTE
    scene.lost = False
    with pytest.raises(UnauthorizedError, match="has ended"):
        scene.access.check(token)


def not_even_then_when_it_was_revoked() -> None:
    scene = Scene()
    token = scene.token()
    scene.lost = True
    scene.at += auth.TOKEN_LIFE + MINUTE
    for record in (auth.record_family("s", "ann", scene.at), auth.record_disabled("ann", True)):
        alone = Scene()
        alone.lost, alone.at = True, scene.at
        assert alone.access.check(token).user == "ann"
        alone.fold(record)
        with pytest.raises(UnauthorizedError):
            alone.access.check(token)


def whoever_changes_is_named() -> None:
    scene = Scene()
    records = [
        auth.record_plan("ann", "gold"),
        auth.record_disabled("bob", True),
        auth.record_not_before("cid", scene.at),
        auth.record_family("f", "dan", scene.at),
    ]
    for record in records:
        scene.fold(record)
    assert scene.changed == ["ann", "bob", "cid", "dan"]
    for record in records:
        scene.fold(record)
    assert scene.changed == ["ann", "bob", "cid", "dan"], "what says nothing new changes nothing"


SCENARIOS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        the_plan_is_the_one_of_now,
        a_closed_account_is_closed_and_may_be_opened,
        what_was_issued_before_is_void_and_what_comes_after_is_not,
        a_login_that_is_over_is_over_and_others_are_not,
        while_refresh_is_impossible_a_token_is_honoured_for_24_h,
        not_even_then_when_it_was_revoked,
        whoever_changes_is_named,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_access(name: str) -> None:
    SCENARIOS[name]()


def sign_without_fractions(original: Any) -> Any:
    def sign(self: auth.Tokens, user: str, plan: str, at: datetime, **more: Any) -> str:
        return str(original(self, user, plan, at.replace(microsecond=0), **more))

    return sign


@pytest.mark.parametrize(
    ("scenario", "place", "name", "mutant"),
    [
        (the_plan_is_the_one_of_now, auth.Accounts, "plan", lambda *_: None),
        (a_closed_account_is_closed_and_may_be_opened, auth.Accounts, "disabled", lambda *_: False),
        (what_was_issued_before_is_void_and_what_comes_after_is_not, auth.Accounts, "still", lambda *_: None),
        (
            what_was_issued_before_is_void_and_what_comes_after_is_not,
            auth.Tokens,
            "sign",
            sign_without_fractions(auth.Tokens.sign),
        ),
        (a_login_that_is_over_is_over_and_others_are_not, auth.Accounts, "still", lambda *_: None),
        (while_refresh_is_impossible_a_token_is_honoured_for_24_h, auth.access, "GRACE", timedelta(days=2)),
        (while_refresh_is_impossible_a_token_is_honoured_for_24_h, auth.access, "LEEWAY", timedelta(days=1)),
        (not_even_then_when_it_was_revoked, auth.Accounts, "still", lambda *_: None),
        (whoever_changes_is_named, folded, "_put", lambda table, of, value, kind: of),
    ],
)
def test_mutants_of_access(
    scenario: Callable[[], None], place: Any, name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, mutant)
    with pytest.raises((AssertionError, UnauthorizedError, KeyError, pytest.fail.Exception)):
        scenario()


def test_the_local_copy_alone_is_enough_to_refuse_what_was_revoked(tmp_path: Path) -> None:
    scene = Scene()
    records = [auth.record_family("s", "ann", scene.at), auth.record_plan("bob", "gold")]
    _write(tmp_path / "copy", {name: value for name, value in records})
    assert restore(tmp_path / "copy", scene.accounts.fold)
    with pytest.raises(UnauthorizedError):
        scene.access.check(scene.token())
    assert scene.accounts.plan("bob") == "gold"


def test_an_end_is_forgotten_once_nothing_could_be_honoured_any_more() -> None:
    scene = Scene()
    scene.fold(auth.record_family("f", "ann", scene.at))
    last = scene.at + auth.REFRESH_LIFE + auth.GRACE
    assert scene.accounts.forgettable(last) == []
    assert scene.accounts.forgettable(last + timedelta(hours=2)) == ["f"]
    scene.fold(("family:f", None))
    assert not scene.accounts.is_over("f")


def test_records_of_other_kinds_are_left_alone() -> None:
    scene = Scene()
    scene.fold(("key:x", b"not an account"))
    scene.fold(("unheard-of", b"x"))
    assert scene.changed == []
