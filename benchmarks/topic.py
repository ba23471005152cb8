"""Topics of the benchmarks' own: configured as the log is, read and written by bare clients only."""

from typing import Any

from aiokafka.admin import NewTopic

from eventhub import topics
from eventhub.kafka import Kafka, Offsets

IN, OUT = "bench-in", "bench-out"


async def make(cluster: Kafka, *, partitions: int, replication: int) -> None:
    """Make both, and return once every partition has a leader."""
    config = topics.configs(topics.TOPICS[topics.LOG], min_insync_replicas=min(2, replication))
    admin: Any = cluster.admin()
    await admin.start()
    try:
        await admin.create_topics([NewTopic(n, partitions, replication, topic_configs=config) for n in (IN, OUT)])
    finally:
        await admin.close()
    offsets = Offsets(cluster)
    await offsets.open()
    for name in (IN, OUT):
        await offsets.ends(name, partitions)
    await offsets.close()
