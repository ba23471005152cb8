"""Records that end their worker, counted on the log itself: no worker that dies can count them anywhere else.

An owner tells the log that it begins its first batch. Two owners that began and got nowhere put the third in single
step: it tells the log each record before it tries it. A record that was tried twice like that is a dead letter. Pure.
"""

from collections import Counter

from eventhub import record

PATIENCE = 2
Place = tuple[int, int]
"""Index of a raw topic, and an offset."""


class Tries:
    """What the end of the log says, folded record by record; progress clears it."""

    def __init__(self) -> None:
        self._begun = 0
        self._tried: Counter[Place] = Counter()
        self._vector = b""

    def careful(self, survived: int) -> bool:
        """Whether to try one record at a time; `survived` beginnings only failed, and their owner tells so itself."""
        return self._begun - survived >= PATIENCE or bool(self._tried)

    def poisonous(self, source: int, offset: int) -> bool:
        """Whether this record has ended its owner twice."""
        return self._tried[source, offset] >= PATIENCE

    def see(self, head: bytes, *, is_event: bool) -> None:
        """Take a record of the log that has a vector, in log order."""
        found = None if is_event else record.unpack_try(head)
        vector = record.vector_bytes(head)
        if is_event or (found is None and vector != self._vector):
            self.clear()
        elif found is not None and found[1] == record.BATCH:
            self._begun += 1
        elif found is not None:
            self._tried[found] += 1
        self._vector = vector

    def clear(self) -> None:
        """There was progress."""
        self._begun = 0
        self._tried.clear()
