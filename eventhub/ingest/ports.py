"""What ingest is given by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from eventhub.auth import Keys
from eventhub.events import Match
from eventhub.ingest.adapters import Adapter
from eventhub.ingest.carrier import Carrier
from eventhub.ingest.known import Known
from eventhub.kafka import Partitioner, Writer
from eventhub.mode import Mode


class Limits(NamedTuple):
    """Bounds of one request, and how long Kafka may take to acknowledge it."""

    max_body_bytes: int
    max_items: int
    max_depth: int
    ack_timeout_s: float
    max_pending_bytes: int = 64 << 20
    match_delays_s: tuple[float, ...] = ()
    """The delays that a match may be declared with."""


class Node(NamedTuple):
    """This node as the routes see it."""

    name: str
    keys: Keys
    mode: Mode
    registry: Mapping[str, Match]
    known: Known
    registry_caught_up: Callable[[], Awaitable[None]]
    writer: Writer
    carrier: Carrier
    partitioner: Partitioner
    adapters: Mapping[str, Adapter]
    limits: Limits
    now: Callable[[], datetime]
