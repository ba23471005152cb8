"""What every connection of a node shares: the parts of delivery, and its limits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from eventhub.delivery.beats import Beats
from eventhub.delivery.channels import Channels
from eventhub.delivery.doors import Doors
from eventhub.delivery.hub import Hub
from eventhub.delivery.notices import Notices
from eventhub.delivery.outbox import Backlog
from eventhub.delivery.past import Past
from eventhub.delivery.ports import CatchUp, Check, Log
from eventhub.delivery.ring import Ring
from eventhub.delivery.sheets import Sheets


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds and times of delivery; names carry their units."""

    tail_back_s: float = 600
    ring_bytes: int = 268_435_456
    window_s: float = 0.02
    queue_bytes: int = 262_144
    """How much may wait for one client."""
    backlog_bytes: int = 67_108_864
    """How much may wait for all of them."""
    stuck_s: float = 10
    """A client that takes nothing for so long is sent away."""
    conflate_after_s: float = 3
    """A client that is so far behind gets of bulk the latest of each thing."""
    snapshot_after_s: float = 30
    """A client that is so far behind gets the state of a match in place of what led to it."""
    message_bytes: int = 65_536
    page_events: int = 500
    ping_s: float = 25
    auth_deadline_s: float = 10
    close_timeout_s: float = 5
    retry_after_s: float = 2
    token_grace_s: float = 86_400
    """How long past its end the token of an open connection is honoured."""
    teams: int = 10
    matches: int = 1000
    changes_per_minute: float = 5
    """Subscribe commands, with `changes_burst` at once; a command with many channels is one, unsubscribing is free."""
    changes_burst: int = 10
    commands_per_s: float = 10
    commands_burst: int = 100
    connections: int = 20_000
    connections_per_address: int = 200
    connections_per_user: int = 100
    connections_per_address_total: int = 1_000
    connections_per_user_total: int = 100
    handshakes_per_s: float = 20
    """Of one address, with `handshakes_burst` at once."""
    handshakes_burst: int = 200
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    """Of web pages that may open the stream, beside the node's own."""


TOLD = (
    "teams",
    "matches",
    "message_bytes",
    "changes_per_minute",
    "changes_burst",
    "commands_per_s",
    "commands_burst",
    "connections_per_address",
    "connections_per_user",
    "connections_per_address_total",
    "connections_per_user_total",
)
"""The limits that `connected` names."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The parts that serve subscribers. `jitter` gives numbers in [0, 1)."""

    node: str
    source: Log
    channels: Channels
    ring: Ring
    sheets: Sheets
    hub: Hub
    past: Past
    check: Check
    backlog: Backlog
    beats: Beats
    doors: Doors
    limits: Limits
    notices: Notices
    catch_up_registry: CatchUp
    jitter: Callable[[], float]
    slow: Counter[str] = field(default_factory=Counter)
    """What was done about slow clients, by step: `conflated`, `stood_in`, `sent_away`."""
