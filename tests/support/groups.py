"""The consumer groups' committed offsets, set at will: they are hints, so nothing may change."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DeleteGroupsRequest

from eventhub import topics
from eventhub.kafka import Kafka

GROUP_NOT_FOUND = 69
GROUPS = {
    "eventhub-enrichment": topics.RAW,
    "eventhub-history": (topics.LOG,),
    "eventhub-aggregation": (topics.LOG,),
}


WAYS = ("zero", "end", "deleted")
"""To 0, to the end, or the groups are deleted."""


async def scramble(cluster: Kafka, partitions: int, how: str) -> None:
    """Set the committed offsets of every group as one of `WAYS` says.

    Waits until the groups are empty: Kafka refuses it before.
    """
    async with asyncio.timeout(60):
        while True:
            try:
                if how == "deleted":
                    await _delete(cluster)
                else:
                    for group, names in GROUPS.items():
                        await _commit(cluster, group, names, partitions, how)
            except (KafkaError, TimeoutError):
                await asyncio.sleep(0.2)
            else:
                return


async def _delete(cluster: Kafka) -> None:
    admin = cluster.admin()
    await admin.start()
    try:
        for group in GROUPS:
            node = await admin.find_coordinator(group)
            answer = await admin._send_request(DeleteGroupsRequest([group]), node)
            if (code := answer.results[0][1]) not in (0, GROUP_NOT_FOUND):
                raise KafkaError(f"{group} cannot be deleted yet: {code}")
    finally:
        await admin.close()


async def _commit(cluster: Kafka, group: str, names: tuple[str, ...], partitions: int, how: str) -> None:
    consumer = cluster.consumer(group_id=group)
    await consumer.start()
    try:
        tps = [TopicPartition(name, p) for name in names for p in range(partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        # A refused commit is tried for ever by the client, so it is cut short and made anew.
        await asyncio.wait_for(consumer.commit({tp: ends[tp] if how == "end" else 0 for tp in tps}), 1)
    finally:
        await consumer.stop()
