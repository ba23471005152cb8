"""State events and match sheets, though aggregation's owner is killed; docs/drills.md has the full form."""

import pytest

from tests.drills import suites
from tests.system.conftest import Platform

FOUND_OUT = (AssertionError, pytest.fail.Exception)


@pytest.mark.timeout(600)
async def test_six_kills_change_no_state_event_and_no_sheet(platform: Platform) -> None:
    account = await suites.aggregation_kills(platform, kills=6, size=10_000)
    assert account.submissions > 1_000


@pytest.mark.timeout(300)
async def test_it_finds_out_a_node_that_stores_its_folds_before_the_states(platform: Platform) -> None:
    with pytest.raises(FOUND_OUT, match=r"state events of .* are missing"):
        await suites.mutant(platform, "folds-first", point="aggregation.after_states")
