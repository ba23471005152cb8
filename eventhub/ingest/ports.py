"""What ingest is given by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from eventhub.auth import Keys
from eventhub.events import Match
from eventhub.ingest.adapters import Adapter
from eventhub.ingest.carrier import Carrier
from eventhub.ingest.gate import Gate
from eventhub.ingest.known import Known
from eventhub.ingest.limits import Limits
from eventhub.ingest.window import Window
from eventhub.kafka import Partitioner, Writer
from eventhub.mode import Mode


class Node(NamedTuple):
    """This node as the routes see it."""

    name: str
    keys: Keys
    mode: Mode
    registry: Mapping[str, Match]
    known: Known
    registry_caught_up: Callable[[], Awaitable[None]]
    writer: Writer
    carriers: Mapping[str, Carrier]
    partitioner: Partitioner
    adapters: Mapping[str, Adapter]
    limits: Limits
    gate: Gate
    window: Window
    now: Callable[[], datetime]
