"""Silence of the log is told from quiet: by answered fetches, of every partition."""

import asyncio
import os
import signal

import pytest

from eventhub import kafka
from eventhub.embedded import Services
from eventhub.tasks import end
from tests.support.wait import until

pytestmark = pytest.mark.own_services


async def test_a_quiet_log_is_not_silent_and_a_frozen_broker_is(
    own_cluster: kafka.Kafka, own_declared: kafka.Declared, own_services: Services
) -> None:
    offsets = kafka.Offsets(own_cluster)
    await offsets.open()
    log = kafka.Log(own_cluster, offsets, epoch=own_declared.epoch, partitioner=kafka.Partitioner(8))
    batches = 0

    async def follow() -> None:
        nonlocal batches
        async for batch in log.tail(await log.ends()):
            assert not batch
            batches += 1

    following = asyncio.create_task(follow())
    await until(lambda: batches > 0, "the first look")
    loop = asyncio.get_running_loop()
    started = loop.time()
    loudest = 0.0
    # Nothing is written; every fetch is answered with nothing.
    while loop.time() < started + 3:
        loudest = max(loudest, log.silent_s())
        await asyncio.sleep(0.05)
    assert loudest < 2
    pid = own_services.pid("kafka")
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: log.silent_s() > 2, "silence of a frozen broker", timeout_s=10)
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: log.silent_s() < 1, "answers of a broker that goes on", timeout_s=30)
    await end(following)
    await offsets.close()
