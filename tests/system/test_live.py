"""Live delivery under faults and crowds; docs/drills.md has the full forms."""

from typing import Any

import pytest

from tests.drills import herd, joins, roaming, rolling
from tests.system.conftest import Platform

FOUND_OUT = (AssertionError, pytest.fail.Exception)
ROLLING: dict[str, Any] = {"clients": 200, "reconnects_per_s": 100, "per_s": 20, "drain_s": 1}
PAGES_MOST = 50
HERD: dict[str, Any] = {"resumers": 100, "past": 1_500, "live": 10, "per_s": 200, "calm_s": 1, "pairs": 1}


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


@pytest.mark.timeout(240)
async def test_a_rolling_restart_brings_clients_back_at_a_bounded_rate_and_without_a_gap(platform: Platform) -> None:
    found = await rolling.roll(platform, **ROLLING)
    assert [left.clients for left in found.restarts] == [100, 200]


@pytest.mark.timeout(240)
async def test_it_finds_out_a_node_that_tells_nobody_to_wait(platform: Platform) -> None:
    with pytest.raises(FOUND_OUT, match="knocked within a second"):
        await rolling.roll(platform, **ROLLING, program=("tests.drills.mutants", "all-at-once"))


@pytest.mark.timeout(240)
async def test_whoever_joins_by_state_under_load_gets_each_later_event_once(platform: Platform) -> None:
    found = await joins.join(platform, joins=300, connections=30, per_s=1_000)
    assert found.joins == 300
    assert found.delivered > 300


@pytest.mark.timeout(240)
async def test_it_finds_out_a_node_whose_states_hold_less_than_they_say(platform: Platform) -> None:
    program = ("tests.drills.mutants", "states-are-where-they-stand")
    with pytest.raises(FOUND_OUT, match="holds just what is"):
        await joins.join(platform, joins=300, connections=30, per_s=1_000, program=program)


@pytest.mark.timeout(240)
async def test_those_who_resume_at_once_from_long_ago_have_whole_streams_and_share_their_pages(
    platform: Platform,
) -> None:
    found = await herd.herd(platform, **HERD, pages_most=PAGES_MOST)
    assert found.delivered > 100


@pytest.mark.timeout(240)
async def test_it_finds_out_a_node_that_fetches_for_each_alone(platform: Platform) -> None:
    with pytest.raises(FOUND_OUT, match="pages were asked for"):
        await herd.herd(platform, **HERD, pages_most=PAGES_MOST, mutant="each-for-himself")
