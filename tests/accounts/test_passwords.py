"""The parameters that production hashes with, which the other tests take down."""

import pytest

from eventhub.auth import passwords


@pytest.fixture(autouse=True)
def cheap_passwords() -> None:
    """Not here."""


def test_passwords_are_hashed_with_the_stated_parameters() -> None:
    made = passwords.Passwords()
    stored = made.hash("correct horse battery")
    assert stored.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert made.verify(stored, "correct horse battery")
    assert not made.verify(stored, "correct horse batterz")
    assert not made.verify(None, "correct horse battery")
    assert not made.verify("no hash at all", "correct horse battery")
    assert not made.is_outdated(stored)
    assert made.is_outdated(stored.replace("t=1", "t=2"))
