"""A revision passes a view if it or what it revises would, wherever a reader gets it from."""

from collections.abc import Callable

import pytest

from eventhub.delivery.view import View, view_of
from tests.delivery.world import World, until


def test_a_view_wants_what_it_has_shown_before() -> None:
    goals = view_of([], ["goal"])
    critical = view_of(["critical"], [])
    assert [view.passes("n:shot", "c:goal") for view in (goals, critical)] == [True, True]
    assert not goals.passes("n:shot", "n:pass,n:duel")
    assert not view_of(["normal"], ["goal"]).passes("n:shot", "c:goal")


def live(world: World) -> None:
    """Nothing: what comes is sent as it comes."""


def in_history(world: World) -> None:
    """History has all of it, and the ring nothing."""
    world.history.store()
    world.delivery._feed.ring._limit_bytes = 0
    world.delivery._feed.ring._base = {p: len(r) for p, r in world.log.records.items()}


def on_the_log(world: World) -> None:
    """Only the log has it."""
    ring = world.delivery._feed.ring
    ring._base = ring._start = {p: len(r) for p, r in world.log.records.items()}


async def shown(world: World, hide: Callable[[World], None], channel: str = "match:m0") -> list[str]:
    """Of a goal that is a shot in the end, and a pass that becomes a duel: what a viewer of goals gets."""
    await world.start()
    client = world.client()
    if hide is live:
        client.subscribe(channel, types=["goal"])
    world.log.append("m0", "c:goal")
    world.log.append("m0", "n:shot", revises="c:goal", of="0-0")
    world.log.append("m0", "n:duel", revises="n:pass")
    world.log.append("m0", "c:goal")
    await world.tailed()
    if hide is not live:
        hide(world)
        client.subscribe(channel, types=["goal"], from_="start")
    await until(lambda: "0-3" in client.ids, "the last goal")
    return client.ids


@pytest.mark.parametrize("hide", [live, in_history, on_the_log])
async def test_who_was_shown_a_goal_is_told_that_it_was_none(world: World, hide: Callable[[World], None]) -> None:
    assert await shown(world, hide) == ["0-0", "0-1", "0-3"]


async def test_so_is_who_follows_a_team(world: World) -> None:
    assert await shown(world, live, "team:t1") == ["0-0", "0-1", "0-3"]


@pytest.mark.parametrize("hide", [live, in_history, on_the_log])
async def test_mutant_a_view_that_looks_only_at_the_revision(
    world: World, hide: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = View.passes
    monkeypatch.setattr(View, "passes", lambda self, kind, _revises="": passes(self, kind))
    assert await shown(world, hide) == ["0-0", "0-3"]
