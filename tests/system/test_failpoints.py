"""A node dies at every named point of the path, and nodes freeze and wake; docs/drills.md has the full form."""

import pytest

from tests.drills import suites
from tests.system.conftest import Platform

FOUND_OUT = (AssertionError, pytest.fail.Exception)


@pytest.mark.timeout(600)
async def test_a_death_at_any_point_of_the_path_loses_nothing_and_doubles_nothing(platform: Platform) -> None:
    account = await suites.failpoints(platform, times=1, size=15_000)
    assert account.unanswered > 0


@pytest.mark.timeout(600)
async def test_a_node_that_wakes_after_its_successor_has_begun_changes_nothing(platform: Platform) -> None:
    account = await suites.zombies(platform, times=2, frozen_s=12, size=10_000)
    assert account.submissions > 1_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "point", "nodes", "told"),
    [
        ("no-rebuild", "enrichment.after_write", 1, "on the log twice|a raw offset went backwards"),
        ("no-fence", "pause", 2, "on the log twice|a raw offset went backwards"),
        # What is lost may also be an event that the platform made itself, which nobody was promised but the log.
        ("progress-first", "history.before_commit", 1, "accepted events are missing in history|in history alone"),
    ],
)
async def test_it_finds_out_a_node_with(platform: Platform, name: str, point: str, nodes: int, told: str) -> None:
    with pytest.raises(FOUND_OUT, match=told):
        await suites.mutant(platform, name, point=point, nodes=nodes)
