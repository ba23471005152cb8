"""Many hostile clients, and a few who watch and are served on; `make drill ONLY=attack` is the full form."""

import pytest

from tests.drills import attack
from tests.drills.attack import Size
from tests.drills.outage import mutated
from tests.support.feed import RealMatch
from tests.system.conftest import Platform

SMALL = Size(each=20, crowd=60, fans=4, window_s=2)


async def test_an_attack_is_held_and_who_watches_stays(platform: Platform, matches: list[RealMatch]) -> None:
    figures = await attack.attacked(platform, matches[0], SMALL, pairs=1)
    assert figures.pairs[0][1].deliveries > 0


async def test_it_finds_out_a_node_without_limits(platform: Platform, matches: list[RealMatch]) -> None:
    size = SMALL._replace(wait_s=4)
    with pytest.raises(AssertionError, match="60 connections of one address at once"):
        await attack.attacked(platform, matches[0], size, pairs=1, program=mutated("no-limits"))
