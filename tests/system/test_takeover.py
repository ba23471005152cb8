"""Nodes are killed and ended under load, and others take over; docs/drills.md has the full form, which measures it."""

import pytest

from tests.drills import suites
from tests.drills.checks import no_fence_loop
from tests.drills.scene import scene, todays_plan
from tests.support import oracle
from tests.support.wait import until
from tests.system.conftest import Platform


@pytest.mark.timeout(600)
async def test_others_take_over_after_a_kill_and_in_a_rolling_restart(platform: Platform) -> None:
    account, times = await suites.takeovers(platform, nodes=2, kills=1, rounds=1, per_s=200, size=60_000)
    assert account.submissions > 1_000
    assert (len(times.killed_s), len(times.ended_s)) == (1, 2)


@pytest.mark.timeout(300)
async def test_it_finds_out_an_owner_that_fences_again_and_again(platform: Platform) -> None:
    for_ever = {"EVENTHUB_STREAMS__FENCE_REFRESH_S": "1.5"}
    async with scene(platform, todays_plan(500), nodes=1, clients=1, environ=for_ever) as on:
        await on.send(400)

        async def are_many() -> bool:
            return len((await oracle.read_log(platform.cluster, platform.partitions)).fences) > 6 * platform.partitions

        await until(are_many, "many fences")
        log = await oracle.read_log(platform.cluster, platform.partitions)
        with pytest.raises(AssertionError, match="a fence loop"):
            no_fence_loop(log, faults=0)
