"""Live delivery under faults and crowds; docs/drills.md has the full forms."""

import pytest

from tests.drills import roaming
from tests.system.conftest import Platform

FOUND_OUT = (AssertionError, pytest.fail.Exception)


@pytest.mark.timeout(240)
async def test_subscribers_that_come_and_go_while_nodes_do_have_whole_streams(platform: Platform) -> None:
    found = await roaming.roam(platform, subscribers=20, reconnects=200, kills=1, ends=1, per_s=50, cuts_per_s=40)
    assert found.reconnects >= 200
    assert found.by_program > 0


@pytest.mark.timeout(240)
async def test_it_finds_out_a_node_that_joins_without_the_rest(platform: Platform) -> None:
    with pytest.raises(FOUND_OUT, match="are missing"):
        await roaming.roam(
            platform,
            subscribers=5,
            reconnects=20,
            kills=0,
            ends=0,
            per_s=50,
            cuts_per_s=25,
            nodes=1,
            settle_s=5,
            program=("tests.drills.mutants", "joins-without-the-rest"),
        )
