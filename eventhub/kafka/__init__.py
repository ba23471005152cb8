"""The one door to Kafka: clients, the fenced writer, reading ranges, folding compacted topics, declaring topics."""

from eventhub.kafka.clients import Kafka, Partitioner
from eventhub.kafka.control import change_control, read_control
from eventhub.kafka.declare import Declared, begin_anew, declare
from eventhub.kafka.fence import FencedError, FencedWriter
from eventhub.kafka.lives import Lives
from eventhub.kafka.log import Log
from eventhub.kafka.read import Bounds, Offsets, read_range
from eventhub.kafka.seeds import Seeds
from eventhub.kafka.table import Fold, Follower, Table, restore
from eventhub.kafka.writer import Group, Writer

__all__ = [
    "Bounds",
    "Declared",
    "FencedError",
    "FencedWriter",
    "Fold",
    "Follower",
    "Group",
    "Kafka",
    "Lives",
    "Log",
    "Offsets",
    "Partitioner",
    "Seeds",
    "Table",
    "Writer",
    "begin_anew",
    "change_control",
    "declare",
    "read_control",
    "read_range",
    "restore",
]
