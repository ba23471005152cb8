"""The match sheets that aggregation has stored, read once when a node starts."""

import asyncio

import msgspec

from eventhub import topics
from eventhub.kafka.clients import Kafka
from eventhub.kafka.read import read_range
from eventhub.record import PROGRESS_KEY, MatchState, Progress, Seed


class Seeds:
    """Reads `match-state`; positions count only for this life of the log."""

    def __init__(self, kafka: Kafka, partitions: int, epoch: str) -> None:
        self._kafka, self._partitions, self._epoch = kafka, partitions, epoch

    async def read(self) -> tuple[dict[str, Seed], dict[int, int]]:
        """Sheets by match, and per partition the last offset that aggregation had applied (-1: none)."""
        sheets: dict[str, Seed] = {}
        applied = dict.fromkeys(range(self._partitions), -1)
        await asyncio.gather(*(self._read(p, sheets, applied) for p in range(self._partitions)))
        return sheets, applied

    async def _read(self, partition: int, sheets: dict[str, Seed], applied: dict[int, int]) -> None:
        async for records in read_range(self._kafka, topics.MATCH_STATE, partition, 0):
            for consumed in records:
                if consumed.value is None:
                    continue
                if consumed.key == PROGRESS_KEY:
                    progress = msgspec.json.decode(consumed.value, type=Progress)
                    applied[partition] = progress.next - 1 if progress.epoch == self._epoch else -1
                else:
                    state = msgspec.json.decode(consumed.value, type=MatchState)
                    # Of another life of the log the sheet stays, and where it stood does not.
                    applied_here = state.next - 1 if state.epoch == self._epoch else -1
                    sheets[consumed.key.decode()] = Seed(bytes(state.sheet), applied_here)
