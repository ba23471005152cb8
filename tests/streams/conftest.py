"""What several tests of enrichment work on."""

from collections.abc import AsyncIterator

import pytest

from eventhub.kafka import Declared, Kafka, Offsets, Writer
from tests.streams.bench import Bench


@pytest.fixture
async def bench(own_cluster: Kafka, own_declared: Declared, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    offsets, writer = Offsets(own_cluster), Writer(own_cluster)
    await offsets.open()
    await writer.open()
    made = Bench(own_cluster, offsets, writer, own_declared, request.node.name)
    await made.begin()
    yield made
    await writer.close()
    await offsets.close()
