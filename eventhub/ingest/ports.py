"""What ingest is given by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from eventhub.auth import Keys
from eventhub.events import Match
from eventhub.ingest.adapters import Adapter
from eventhub.kafka import Partitioner, Writer


class Limits(NamedTuple):
    """Bounds of one request, and how long Kafka may take to acknowledge it."""

    max_body_bytes: int
    max_items: int
    max_depth: int
    ack_timeout_s: float
    max_pending_bytes: int = 64 << 20


class Node(NamedTuple):
    """This node as the routes see it."""

    keys: Keys
    registry: Mapping[str, Match]
    registry_caught_up: Callable[[], Awaitable[None]]
    writer: Writer
    partitioner: Partitioner
    adapters: Mapping[str, Adapter]
    limits: Limits
    now: Callable[[], datetime]
