"""Records into batches, as few as they fit in."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from eventhub.errors import TooLargeError
from eventhub.record import Outgoing


class Filled(NamedTuple):
    """A closed batch of aiokafka's, and how many records it holds."""

    batch: Any
    records: int


def fill(producer: Any, records: Sequence[Outgoing]) -> Iterator[Filled]:
    """Yield batches of these records in order; each is made when the one before it was taken.

    Raises TooLargeError at a record that no batch can hold.
    """
    index = 0
    while index < len(records):
        batch = producer.create_batch()
        start = index
        while index < len(records):
            key, value, headers = records[index]
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                break
            index += 1
        if index == start:
            size = len(records[index].value or b"")
            raise TooLargeError(f"a record of {size} bytes (key {records[index].key!r}) is larger than a batch may be")
        batch.close()
        yield Filled(batch, index - start)
