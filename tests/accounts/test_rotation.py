"""Somebody has stolen a refresh token: whatever the two do and whenever, not both of them go on.

Random schedules of a client and a thief, on the real tables, against one sentence: once both have come with tokens of a
family and more than 10 s lie between a token's first use and its second, nobody has anything of it.
"""

import random
from typing import Any

import pytest

from eventhub import accounts
from eventhub.accounts.service import Service
from eventhub.errors import UnauthorizedError
from eventhub.storage import accounts as stored
from tests.accounts.conftest import Scene

SCHEDULES, STEPS = 25, 12


class Holder:
    """One who has tokens of the family, and always uses the newest that was given to him."""

    def __init__(self, token: str) -> None:
        self.token, self.thrown_out = token, False

    async def use(self, service: Service, *, lose: bool) -> None:
        try:
            given = await service.refresh(self.token)
        except UnauthorizedError:
            self.thrown_out = True
        else:
            self.token = self.token if lose else given.refresh_token


async def not_both_go_on(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)
    client = Holder((await scene.login()).refresh_token)
    for _ in range(dice.randrange(3)):
        scene.pass_by(minutes=dice.randrange(1, 15))
        await client.use(scene.one.service, lose=False)
    thief = Holder(client.token)
    services = [scene.one.service, scene.two.service]
    for _ in range(STEPS):
        scene.pass_by(seconds=dice.choice((1, 12, 800)))
        who = dice.choice((client, thief))
        await who.use(dice.choice(services), lose=dice.random() < 0.2)
    for who in (client, thief):
        scene.pass_by(seconds=12)
        await who.use(scene.one.service, lose=False)
    for who in (client, thief, client, thief):
        scene.pass_by(seconds=12)
        await who.use(scene.two.service, lose=False)
    assert client.thrown_out and thief.thrown_out, f"seed {seed}"


async def one_alone_always_goes_on(scene: Scene, seed: int) -> None:
    """With answers that are lost, as long as he asks again at once."""
    dice = random.Random(seed)
    client = Holder((await scene.login()).refresh_token)
    for _ in range(STEPS):
        scene.pass_by(minutes=dice.randrange(1, 15))
        for _ in range(dice.randrange(3)):
            await client.use(dice.choice((scene.one, scene.two)).service, lose=True)
            scene.pass_by(seconds=dice.randrange(1, 4))
        await client.use(dice.choice((scene.one, scene.two)).service, lose=False)
    assert not client.thrown_out, f"seed {seed}"


@pytest.fixture(autouse=True)
def many_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts.Attempts, "take", lambda *_: None)


async def test_a_thief_and_his_victim_never_both_go_on(scene: Scene) -> None:
    for seed in range(SCHEDULES):
        await not_both_go_on(scene, seed)


async def test_whoever_is_alone_goes_on_whatever_answers_are_lost(scene: Scene) -> None:
    for seed in range(SCHEDULES):
        await one_alone_always_goes_on(scene, seed)


async def test_mutant_a_successor_is_given_again_for_ever(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def again_for_ever(connection: Any, family: Any, offer: Any) -> stored.Turn:
        found = await connection.execute(
            "select t.used_at, t.salt from refresh_tokens t where t.sha256 = %s", (offer.sha256,)
        )
        used_at, salt = await found.fetchone()
        return await turn(connection, family, offer) if used_at is None else stored.Turn("rotated", family, bytes(salt))

    turn = stored._turn
    monkeypatch.setattr(stored, "_turn", again_for_ever)
    with pytest.raises(AssertionError, match="seed"):
        await test_a_thief_and_his_victim_never_both_go_on(scene)


async def test_mutant_no_answer_is_given_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "AGAIN", -stored.AGAIN)
    with pytest.raises(AssertionError, match="seed"):
        await test_whoever_is_alone_goes_on_whatever_answers_are_lost(scene)
