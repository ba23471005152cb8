"""What a careless source sends has its effect once, though nodes are killed; docs/drills.md has the full form."""

import pytest

from tests.drills import suites
from tests.system.conftest import Platform

FOUND_OUT = (AssertionError, pytest.fail.Exception)


@pytest.mark.timeout(600)
async def test_ten_thousand_submissions_and_five_kills_store_each_event_once(platform: Platform) -> None:
    account = await suites.submissions(platform, size=10_000, kills=5)
    assert account.submissions == 10_000
    # Kills met requests on their way, and conflicts were told (nearly all at ingest, which learns the ids of the log).
    assert account.unanswered > 0
    assert account.refused > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "point", "told"),
    [
        ("repeats-pass", None, "on the log twice"),
        ("conflicts-are-repeats", None, "a conflict that nobody told of"),
        ("accepted-before-durable", "kill", "accepted events are missing in history"),
    ],
)
async def test_it_finds_out_a_node_that(platform: Platform, name: str, point: str | None, told: str) -> None:
    with pytest.raises(FOUND_OUT, match=told):
        await suites.mutant(platform, name, point=point)


@pytest.mark.timeout(300)
async def test_it_finds_nothing_wrong_with_the_same_short_run_of_an_intact_node(platform: Platform) -> None:
    account = await suites.mutant(platform, "intact", point="kill")
    assert account.submissions == 1_000
