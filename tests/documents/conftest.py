"""A node as a process, on services of this module's own, and the keys that open it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.nodes import NodeProcess, running
from tests.system.conftest import Platform, platform

__all__ = ["platform"]


@pytest.fixture
async def node(platform: Platform) -> AsyncIterator[NodeProcess]:
    """A node that serves."""
    one = platform.node("one")
    async with running(one):
        yield one
