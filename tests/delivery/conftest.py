import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from eventhub.delivery import Limits
from tests.delivery.world import SMALL, World

MakeWorld = Callable[..., World]


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    """Makes worlds that end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        def make(limits: Limits = SMALL) -> World:
            world = World(limits)
            stack.push_async_callback(world.stop)
            return world

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A node's delivery, not started yet."""
    return make_world()
