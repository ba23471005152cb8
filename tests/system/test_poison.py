"""Events that fail or end their node hold nobody else up, and are stored once after a fix; docs/drills.md has more."""

import pytest

from tests.drills import poison
from tests.system.conftest import Platform

FOUND_OUT = (AssertionError, pytest.fail.Exception)


@pytest.mark.timeout(500)
async def test_of_a_thousand_events_twenty_fail_of_ten_kinds_and_all_are_stored_once_after_a_fix(
    platform: Platform,
) -> None:
    figures = await poison.raising(platform, [20], size=1_000)
    assert (figures.stored, figures.mended) == (980, 1_000)


@pytest.mark.timeout(500)
async def test_an_event_that_kills_its_node_is_parked_and_the_nodes_stay_up(platform: Platform) -> None:
    figures = await poison.crashing(platform, ["kill"], parked_s=300)
    assert 3 <= figures.deaths["kill"] <= poison.DEATHS_MOST


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        ("failures-forgotten", "events that failed are no dead letters"),
        ("one-fails-all", "for the log to apply everything"),
        ("failures-seen", "accepted events are missing in history"),
    ],
)
async def test_it_finds_out_nodes_of_which(platform: Platform, mutant: str, told: str) -> None:
    with pytest.raises(FOUND_OUT, match=told):
        await poison.raising(platform, [10], size=300, mutant=mutant, applied_s=20)
