"""A scene for the tests of ingest."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventhub import kafka
from tests.ingest.scene import LIMITS, Scene, scene_with


@pytest.fixture
async def scene(own_cluster: kafka.Kafka, own_declared: kafka.Declared, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_with(LIMITS, own_cluster, tmp_path) as made:
        yield made
