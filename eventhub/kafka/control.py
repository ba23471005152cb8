"""Changing one key of `control-events`: compare and set, decided by the fence.

The topic is compacted, so a lost race must never leave its record there: whoever fences last reads what holds, and the
record of an older writer is refused by the broker.
"""

import asyncio
import random
from collections.abc import Callable

from aiokafka.errors import KafkaError

from eventhub import topics
from eventhub.errors import UnavailableError
from eventhub.kafka.clients import Kafka
from eventhub.kafka.fence import FencedError, FencedWriter
from eventhub.kafka.read import read_range
from eventhub.record import Outgoing

WRITER = "eventhub-control"


async def read_control(kafka: Kafka, key: str, end: int | None = None) -> bytes | None:
    """The newest value of a key below offset `end` (None: of all that is there now). Raises UnavailableError."""
    newest: bytes | None = None
    async for records in read_range(kafka, topics.CONTROL, 0, 0, end):
        for record in records:
            if record.key == key.encode():
                newest = record.value
    return newest


async def change_control(
    kafka: Kafka, key: str, decide: Callable[[bytes | None], bytes], *, node: str, timeout_s: float = 15
) -> bytes:
    """Replace a key's value by what `decide` makes of the newest one; returns it once every in-sync replica has it.

    `decide` may be asked again, when somebody else was faster; what it raises goes to the caller, and nothing is
    written. Raises UnavailableError after `timeout_s`; whether it was written is unknown then.
    """
    writer = FencedWriter(kafka, WRITER, topics.CONTROL, 0)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    writer.last = None
                    fence = await writer.fence(node)
                    value = decide(await read_control(kafka, key, fence))
                    await writer.write([Outgoing(key.encode(), value, [])])
                except (FencedError, KafkaError):
                    await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311
                else:
                    return value
    except TimeoutError as error:
        raise UnavailableError(f"Kafka did not take the change of {key} within {timeout_s:g} s: is it up?") from error
    finally:
        writer.drop()
