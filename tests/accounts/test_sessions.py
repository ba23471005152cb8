"""Logging in, renewing, logging out, on real Postgres and Kafka; each guarantee is a function that a mutant fails."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from eventhub import accounts, auth
from eventhub.accounts import service as services_of
from eventhub.errors import LimitError, UnauthorizedError, UnavailableError
from eventhub.storage import AccountStore, Turn
from eventhub.storage import accounts as stored
from tests.accounts.conftest import PASSWORD, Scene
from tests.support.wait import until


async def refused(work: Awaitable[Any]) -> str:
    with pytest.raises(UnauthorizedError) as error:
        await work
    return error.value.detail


async def a_login_gives_tokens_and_the_database_has_only_hashes(scene: Scene) -> None:
    given = await scene.login()
    named = scene.one.access.check(given.access_token)
    assert (named.user, named.plan) == (scene.user, "gold")
    assert given.expires_at - scene.at == auth.TOKEN_LIFE
    assert given.refresh_expires_at - scene.at == timedelta(days=7)
    kept = repr([await scene.rows(table) for table in ("users", "refresh_families", "refresh_tokens")])
    secret = given.refresh_token.removeprefix("ehr_")
    assert PASSWORD not in kept and secret not in kept and given.access_token not in kept
    tokens = await scene.rows("refresh_tokens")
    assert [bytes(row[0]) for row in tokens] == [hashlib.sha256(given.refresh_token.encode()).digest()]
    assert (await scene.rows("users"))[0][1].startswith("$argon2id$")


async def a_refresh_token_is_used_once_and_replaced(scene: Scene) -> None:
    tokens = [(await scene.login()).refresh_token]
    for _ in range(3):
        scene.pass_by(minutes=14)
        given = await scene.two.service.refresh(tokens[-1])
        assert given.refresh_expires_at - scene.at == timedelta(days=7)
        assert scene.one.access.check(given.access_token).user == scene.user
        tokens.append(given.refresh_token)
    assert len(set(tokens)) == 4


async def reuse_ends_the_family_on_every_node(scene: Scene) -> None:
    """Somebody has stolen a token, and either of the two comes second."""
    given, other = await scene.login(), await scene.login()
    stolen = given.refresh_token
    newer = await scene.one.service.refresh(stolen)
    scene.pass_by(seconds=11)
    assert "used before" in await refused(scene.two.service.refresh(stolen))
    # Whoever has the newer token has no more of it; nor of any access token, on any node; other logins go on.
    await refused(scene.one.service.refresh(newer.refresh_token))
    for node in (scene.one, scene.two):
        await until(lambda node=node: scene.user in node.changed, "the word", 10)  # type: ignore[misc]
        for token in (given.access_token, newer.access_token):
            with pytest.raises(UnauthorizedError, match="ended"):
                node.access.check(token)
        assert node.access.check(other.access_token).user == scene.user
    assert (await scene.one.service.refresh(other.refresh_token)).refresh_token


async def an_answer_that_was_lost_is_given_again(scene: Scene) -> None:
    given = await scene.login()
    first, again = [await node.service.refresh(given.refresh_token) for node in (scene.one, scene.two)]
    assert first.refresh_token == again.refresh_token
    assert first.refresh_expires_at == again.refresh_expires_at
    scene.pass_by(seconds=9)
    assert (await scene.one.service.refresh(given.refresh_token)).refresh_token == first.refresh_token


async def but_not_once_the_successor_was_used(scene: Scene) -> None:
    given = await scene.login()
    first = await scene.one.service.refresh(given.refresh_token)
    second = await scene.one.service.refresh(first.refresh_token)
    scene.pass_by(seconds=1)
    await refused(scene.one.service.refresh(given.refresh_token))
    await refused(scene.one.service.refresh(second.refresh_token))


async def many_at_once_get_one_successor(scene: Scene) -> None:
    given = await scene.login()
    nodes = [scene.one, scene.two] * 4
    all_given = await asyncio.gather(*(node.service.refresh(given.refresh_token) for node in nodes))
    assert len({one.refresh_token for one in all_given}) == 1
    assert len(await scene.rows("refresh_tokens")) == 2


async def a_logout_is_known_to_every_node_before_it_is_answered(scene: Scene) -> None:
    given = await scene.login()
    await scene.one.service.logout(given.refresh_token)
    with pytest.raises(UnauthorizedError):
        scene.one.access.check(given.access_token)
    await scene.two.table.catch_up(10)
    with pytest.raises(UnauthorizedError):
        scene.two.access.check(given.access_token)
    await refused(scene.two.service.refresh(given.refresh_token))
    assert await scene.rows("refresh_families") == []
    await scene.one.service.logout(given.refresh_token)
    await scene.one.service.logout("ehr_unheard-of")


async def a_logout_holds_in_read_only_mode_too_and_after_it(scene: Scene) -> None:
    given = await scene.login()
    scene.read_only = True
    await scene.one.service.logout(given.refresh_token)
    await scene.two.table.catch_up(10)
    scene.read_only = False
    assert len(await scene.rows("refresh_families")) == 1, "nothing was written to Postgres"
    for node in (scene.one, scene.two):
        with pytest.raises(UnauthorizedError):
            node.access.check(given.access_token)
    await refused(scene.two.service.refresh(given.refresh_token))


async def a_refresh_token_ends_after_7_days(scene: Scene) -> None:
    given = await scene.login()
    scene.pass_by(days=7, seconds=1)
    assert "has ended" in await refused(scene.one.service.refresh(given.refresh_token))
    await scene.one.service._sweep_once()
    assert await scene.rows("refresh_families") == [] == await scene.rows("refresh_tokens")


async def what_a_crash_left_untold_is_told(scene: Scene) -> None:
    """The node ends after the family was ended in Postgres, and before Kafka was told."""
    given = await scene.login()
    assert await AccountStore(scene.pool).end(auth.digest(given.refresh_token), scene.at) is not None
    assert scene.two.access.check(given.access_token).user == scene.user
    await scene.one.service._sweep_once()
    await scene.two.table.catch_up(10)
    with pytest.raises(UnauthorizedError):
        scene.two.access.check(given.access_token)
    assert await scene.rows("refresh_families") == []


async def an_end_that_kafka_does_not_take_is_no_end_that_is_answered(scene: Scene) -> None:
    given = await scene.login()

    async def refuses(*_: Any, **__: Any) -> None:
        raise UnavailableError("Kafka does not answer")

    taken, scene.one.writer.append = scene.one.writer.append, refuses  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        await scene.one.service.logout(given.refresh_token)
    scene.one.writer.append = taken  # type: ignore[method-assign]
    assert await refused(scene.two.service.refresh(given.refresh_token))
    await scene.one.table.catch_up(10)
    with pytest.raises(UnauthorizedError):
        scene.one.access.check(given.access_token)


async def a_closed_account_gets_nothing(scene: Scene) -> None:
    given = await scene.login()
    scene.pass_by(seconds=1)
    await scene.two.desk.disable(scene.user, scene.at)
    await scene.one.table.catch_up(10)
    await refused(scene.login())
    await refused(scene.one.service.refresh(given.refresh_token))
    with pytest.raises(UnauthorizedError):
        scene.one.access.check(given.access_token)
    await scene.two.desk.enable(scene.user, scene.at)
    await scene.one.table.catch_up(10)
    # It may log in again, but what it had is void: also the refresh token.
    await refused(scene.one.service.refresh(given.refresh_token))
    with pytest.raises(UnauthorizedError):
        scene.one.access.check(given.access_token)
    assert scene.one.access.check((await scene.login()).access_token).user == scene.user


async def a_new_password_ends_every_login(scene: Scene) -> None:
    given = await scene.login()
    scene.pass_by(seconds=1)
    await scene.two.desk.set_password(scene.user, "another horse battery", scene.at)
    await scene.one.table.catch_up(10)
    with pytest.raises(UnauthorizedError):
        scene.one.access.check(given.access_token)
    await refused(scene.login())
    await refused(scene.one.service.refresh(given.refresh_token))
    fresh = await scene.one.service.login(scene.user, "another horse battery", "here")
    assert scene.two.access.check(fresh.access_token).user == scene.user


async def a_plan_is_the_operators_word_at_once(scene: Scene) -> None:
    given = await scene.login()
    await scene.one.desk.set_plan(scene.user, "platinum")
    await scene.two.table.catch_up(10)
    assert scene.two.access.check(given.access_token).plan == "platinum"
    assert [(u.name, u.plan, u.disabled) for u in await scene.two.desk.users()] == [(scene.user, "platinum", False)]


async def guessing_is_slowed_down_by_user_and_by_address(scene: Scene) -> None:
    login = scene.one.service.login
    for _ in range(5):
        assert "wrong" in await refused(login(scene.user, "wrong password", "there"))
    with pytest.raises(LimitError) as limited:
        await login(scene.user, PASSWORD, "there")
    assert 0 < (limited.value.retry_after_s or 0) <= 60

    async def many() -> None:
        for number in range(100):
            await refused(login(f"bob-{number}", "wrong password", "there"))

    with pytest.raises(LimitError, match="address"):
        await many()
    await refused(login("cid", "wrong password", "elsewhere"))


async def good_logins_do_not_use_up_the_users_attempts(scene: Scene) -> None:
    for _ in range(12):
        await scene.login()


async def who_is_not_there_costs_as_much_as_who_is(scene: Scene) -> None:
    verified: list[str | None] = []
    passwords = await scene.one.verifier._run(scene.one.verifier._ready)
    hasher = passwords._hasher
    original: Any = type(hasher).verify

    def noted(self: Any, stored_hash: str, password: str) -> Any:
        verified.append(stored_hash)
        return original(self, stored_hash, password)

    monkey = pytest.MonkeyPatch()
    monkey.setattr(type(hasher), "verify", noted)
    try:
        for user in (scene.user, "nobody", "no name|of ours", "\x00"):
            await refused(scene.one.service.login(user, "wrong password", "there"))
    finally:
        monkey.undo()
    assert len(verified) == 4 and all(one and one.startswith("$argon2id$") for one in verified)


Scenario = Callable[[Scene], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    one.__name__: one
    for one in (
        a_login_gives_tokens_and_the_database_has_only_hashes,
        a_refresh_token_is_used_once_and_replaced,
        reuse_ends_the_family_on_every_node,
        an_answer_that_was_lost_is_given_again,
        but_not_once_the_successor_was_used,
        many_at_once_get_one_successor,
        a_logout_is_known_to_every_node_before_it_is_answered,
        a_logout_holds_in_read_only_mode_too_and_after_it,
        a_refresh_token_ends_after_7_days,
        what_a_crash_left_untold_is_told,
        an_end_that_kafka_does_not_take_is_no_end_that_is_answered,
        a_closed_account_gets_nothing,
        a_new_password_ends_every_login,
        a_plan_is_the_operators_word_at_once,
        guessing_is_slowed_down_by_user_and_by_address,
        good_logins_do_not_use_up_the_users_attempts,
        who_is_not_there_costs_as_much_as_who_is,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_sessions(scene: Scene, name: str) -> None:
    await SCENARIOS[name](scene)


async def nothing(*_: Any, **__: Any) -> None:
    pass


async def takes_any_token(self: AccountStore, offer: Any) -> Turn:
    """Never looks whether it was used."""
    async with self._connection() as connection:
        found = await connection.execute("select id, user_name from refresh_families limit 1")
        row = await found.fetchone()
        assert row is not None
        return Turn("rotated", stored.Family(*row), offer.salt, offer.ends_at)


async def verify_quickly(self: accounts.Verifier, stored_hash: str | None, password: str) -> bool:
    return stored_hash is not None and await self._run(lambda: self._ready().verify(stored_hash, password))


@pytest.mark.parametrize(
    ("scenario", "place", "name", "mutant"),
    [
        (a_login_gives_tokens_and_the_database_has_only_hashes, auth, "digest", lambda token: token.encode()),
        (reuse_ends_the_family_on_every_node, AccountStore, "rotate", takes_any_token),
        (reuse_ends_the_family_on_every_node, services_of.Service, "_tell", nothing),
        (reuse_ends_the_family_on_every_node, stored, "AGAIN", timedelta(days=1)),
        (an_answer_that_was_lost_is_given_again, stored, "AGAIN", timedelta(0)),
        (an_answer_that_was_lost_is_given_again, auth, "following", lambda *_: auth.new_refresh_token()),
        (but_not_once_the_successor_was_used, AccountStore, "rotate", takes_any_token),
        (a_logout_is_known_to_every_node_before_it_is_answered, accounts.Word, "give", nothing),
        (a_logout_holds_in_read_only_mode_too_and_after_it, auth.Accounts, "is_over", lambda *_: False),
        (what_a_crash_left_untold_is_told, AccountStore, "untold", lambda *_: asyncio.sleep(0, [])),
        (an_end_that_kafka_does_not_take_is_no_end_that_is_answered, services_of.Service, "_tell", nothing),
        (a_closed_account_gets_nothing, AccountStore, "end_all", nothing),
        (a_closed_account_gets_nothing, auth.Accounts, "disabled", lambda *_: False),
        (a_new_password_ends_every_login, AccountStore, "end_all", nothing),
        (a_new_password_ends_every_login, auth, "record_not_before", lambda user, now: ("nothing:", None)),
        (guessing_is_slowed_down_by_user_and_by_address, accounts.Attempts, "take", lambda *_: None),
        (good_logins_do_not_use_up_the_users_attempts, accounts.Attempts, "give_back", lambda *_: None),
        (who_is_not_there_costs_as_much_as_who_is, accounts.Verifier, "verify", verify_quickly),
    ],
)
async def test_mutants_of_sessions(
    scene: Scene, scenario: Scenario, place: Any, name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, mutant)
    with pytest.raises((AssertionError, UnauthorizedError, LimitError, pytest.fail.Exception)):
        await scenario(scene)


async def test_mutant_a_rotation_without_the_lock(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """All look before any writes: each finds the token unused."""
    waiting = asyncio.Barrier(8)
    turn = stored._turn

    async def unlocked(connection: Any, family: Any, offer: Any) -> Turn:
        await asyncio.wait_for(waiting.wait(), 2)
        return await turn(connection, family, offer)

    monkeypatch.setattr(stored, "_turn", unlocked)
    # Behind the lock they cannot all come this far at once; that is the lock, seen from the other side.
    with pytest.raises(TimeoutError):
        await many_at_once_get_one_successor(scene)
