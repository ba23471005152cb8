"""Topics of a real cluster, made otherwise than they should be, and put right again."""

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from eventhub import topics
from eventhub.kafka import Kafka
from eventhub.kafka.describe import connected
from tests.support.wait import until


async def alter(cluster: Kafka, name: str, changes: dict[str, str]) -> None:
    """The topic's settings as they should be, but for these changes."""
    right = topics.configs(topics.TOPICS[name], min_insync_replicas=2)
    async with connected(cluster) as admin:
        for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, right | changes)]):
            assert all(error == 0 for error, *_ in answer.resources), answer


async def delete(cluster: Kafka, *names: str) -> None:
    async with connected(cluster) as admin:
        await admin.delete_topics(list(names))

        async def gone() -> bool:
            return not set(names) & set(await admin.list_topics())

        await until(gone, f"{', '.join(names)} to be gone")


async def wipe(cluster: Kafka) -> None:
    """Delete every topic. Groups and their offsets stay, which must not matter to anybody."""
    async with connected(cluster) as admin:
        names = [name for name in await admin.list_topics() if not name.startswith("__")]
    if names:
        await delete(cluster, *names)


async def make(cluster: Kafka, name: str, *, partitions: int, replication: int) -> None:
    """Made anew, and otherwise as it should be."""
    await delete(cluster, name)
    async with connected(cluster) as admin:
        answer = await admin.create_topics([NewTopic(name, partitions, replication)])
        assert all(error == 0 for _, error, *_ in answer.topic_errors), answer
        await alter(cluster, name, {})
