"""Where an accepted record goes: to its raw topic, or to the spool when Kafka does not take it (path: end of step 1).

Once a match has a record in the spool, all its records of this node go behind it until the spool is drained. What a
producer had in hand when it failed is handed over in its order, and before anything that comes later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from eventhub.errors import UnavailableError
from eventhub.ingest.spool import Spool, Spooled
from eventhub.kafka import Group, Partitioner, Writer
from eventhub.record import Outgoing

Durable = Literal["log", "spool"]
SPOOL_TIMEOUT_S = 15
"""For what waits behind a batch that fails, the end of its producer, and the disk."""


class Carried(NamedTuple):
    """Where records are durable, `spool` if any of them is only there; and of those on the topic, by partition, an
    offset at or behind the last."""

    durable: Durable
    places: dict[int, int]


class Carrier:
    """Carries records to durability. `lost` says that Kafka is known not to answer; the writer's deadline finds it.

    Takes the writer over: nothing else may write with it, for what it fails to write is spooled.
    """

    def __init__(
        self,
        writer: Writer,
        partitioner: Partitioner,
        spool: Spool | None,
        *,
        lost: Callable[[], bool],
        timeout_s: float,
    ) -> None:
        self._writer, self._partitioner, self._spool = writer, partitioner, spool
        self._lost, self._timeout_s = lost, timeout_s
        if spool is not None:
            writer.spill(self._hand_over, after_s=timeout_s)

    async def append(self, topic: str, by_match: Mapping[str, Sequence[Outgoing]]) -> Carried:
        """Return once every record is durable.

        Raises UnavailableError; some of the records may be durable then, and sending them again changes nothing.
        """
        by_offer = {self._offer(topic, match_id, records): match_id for match_id, records in by_match.items()}
        if not by_offer:
            return Carried("log", {})
        # With a spool, the writer's deadline comes first, and then the disk's turn.
        timeout_s = self._timeout_s + (SPOOL_TIMEOUT_S if self._spool is not None else 0)
        _, late = await asyncio.wait(by_offer, timeout=timeout_s)
        for wait in late:
            wait.cancel()
        if late:
            raise UnavailableError(
                f"Kafka did not acknowledge all records for {topic} within {timeout_s:g} s; send them again,"
                " duplicates are dropped",
                retry_after_s=2,
            )
        for refusal in [wait.exception() for wait in by_offer]:
            if refusal is not None:
                raise refusal
        places: dict[int, int] = {}
        spooled = False
        for wait, match_id in by_offer.items():
            last, partition = wait.result(), self._partitioner(match_id)
            spooled |= last is None
            if last is not None:
                places[partition] = max(last, places.get(partition, last))
        return Carried("spool" if spooled else "log", places)

    def _offer(self, topic: str, match_id: str, records: Sequence[Outgoing]) -> asyncio.Future[int | None]:
        spool, partition = self._spool, self._partitioner(match_id)
        if spool is not None:
            lost = spool.down or self._lost()
            # Behind what the match has in the spool; ahead of nothing that the producer still has in hand.
            if spool.holds(topic, match_id) or (lost and not self._writer.busy(topic, partition)):
                return spool.put(topic, match_id, records)
        return self._writer.offer(topic, partition, match_id, records)

    def _hand_over(self, groups: Sequence[Group]) -> None:
        assert self._spool is not None
        self._spool.down = True
        for group in groups:
            spooled = self._spool.put(group.topic, group.key, group.records)
            spooled.add_done_callback(partial(_settle, group.done))


def sender(
    writer: Writer, partitioner: Partitioner, *, timeout_s: float
) -> Callable[[Sequence[Spooled]], Awaitable[None]]:
    """How the drain puts spooled records on their topics: by a producer of its own, in order for each partition."""

    async def send(records: Sequence[Spooled]) -> None:
        by_partition: dict[tuple[str, int], list[Outgoing]] = {}
        for one in records:
            outgoing = Outgoing(one.match_id.encode(), one.value, [("h", one.tags)])
            by_partition.setdefault((one.topic, partitioner(one.match_id)), []).append(outgoing)
        await asyncio.gather(
            *(
                writer.append(topic, partition, outgoing, timeout_s=timeout_s)
                for (topic, partition), outgoing in by_partition.items()
            )
        )

    return send


def _settle(group: asyncio.Future[int | None], spooled: asyncio.Future[int | None]) -> None:
    if group.done():
        return
    refusal = spooled.exception()
    if refusal is not None:
        group.set_exception(refusal)
    else:
        group.set_result(None)
