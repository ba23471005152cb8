"""kill -9 of the node at random points with a backlog; docs/drills.md has the full form."""

import pytest

from tests.drills import kills
from tests.support.feed import RealMatch
from tests.system.conftest import Platform


@pytest.mark.timeout(420)
async def test_eight_kills_lose_nothing_and_double_nothing(platform: Platform, matches: list[RealMatch]) -> None:
    await kills.killed(platform, matches, 8)
