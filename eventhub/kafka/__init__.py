"""The one door to Kafka: clients, the fenced writer, reading ranges, folding compacted topics, declaring topics."""

from eventhub.kafka.clients import Kafka, Partitioner
from eventhub.kafka.declare import Declared, declare
from eventhub.kafka.fence import FencedError, FencedWriter
from eventhub.kafka.log import Log
from eventhub.kafka.read import Bounds, Offsets, read_range
from eventhub.kafka.seeds import Seeds
from eventhub.kafka.table import Table
from eventhub.kafka.writer import Writer

__all__ = [
    "Bounds",
    "Declared",
    "FencedError",
    "FencedWriter",
    "Kafka",
    "Log",
    "Offsets",
    "Partitioner",
    "Seeds",
    "Table",
    "Writer",
    "declare",
    "read_range",
]
