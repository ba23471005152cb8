"""What every connection of a node shares: the parts of delivery, and its limits."""

from collections.abc import Callable
from dataclasses import dataclass

from eventhub.delivery.beats import Beats
from eventhub.delivery.channels import Channels
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
    limits: Limits
    notices: Notices
    catch_up_registry: CatchUp
    jitter: Callable[[], float]
