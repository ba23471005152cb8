"""What every connection of a node shares: the parts of delivery, and its limits."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from eventhub.delivery.beats import Beats
from eventhub.delivery.channels import Channels
from eventhub.delivery.doors import Doors
from eventhub.delivery.frame import Frame
from eventhub.delivery.hub import Hub
from eventhub.delivery.notices import Notices
from eventhub.delivery.outbox import Backlog
from eventhub.delivery.past import Past
from eventhub.delivery.ports import CatchUp, Check, Log, Still
from eventhub.delivery.ring import Ring
from eventhub.delivery.shared import Kept
from eventhub.delivery.sheets import Sheets

TOTAL = 5
"""Many people may share an address, and are on several nodes then; a user is one person, wherever."""


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
    shared_pages_bytes: int = 67_108_864
    """How much of what was fetched for some is kept for others who resume."""
    shared_frames_bytes: int = 33_554_432
    fetches: int = 4
    """How many pages are fetched at once, whoever waits for them."""
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
    address_total: int | None = None
    """Over all nodes; None: `TOTAL` times as many as to one."""
    user_total: int | None = None
    """Over all nodes; None: as many as to one."""
    handshakes_per_s: float = 20
    """Of one address, with `handshakes_burst` at once."""
    handshakes_burst: int = 200
    reconnects_per_s: float = 500
    """How fast the clients of a node that drains come to the others."""
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    """Of web pages that may open the stream, beside the node's own."""
    plan_delays_s: Mapping[str, float] = field(default_factory=dict)
    """How much later than others the readers of a plan see what happens."""
    match_delays_s: tuple[float, ...] = ()
    """The delays that a match may be declared with."""

    @property
    def connections_per_address_total(self) -> int:
        """Of one address, to all nodes."""
        return self.address_total or TOTAL * self.connections_per_address

    @property
    def connections_per_user_total(self) -> int:
        """Of one user, to all nodes."""
        return self.user_total or self.connections_per_user


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
    """The parts that serve subscribers, who see everything `delay_s` late. `jitter` gives numbers in [0, 1).

    `tier` answers what readers of a plan may see of matches with a delay of their own (delivery/tiers.py).
    """

    node: str
    source: Log
    channels: Channels
    ring: Ring
    sheets: Sheets
    hub: Hub
    past: Past
    frames: Kept[list[tuple[Frame, int]]]
    """What was sent to some who resumed, for others who resume: frames, each with how many events it has."""
    check: Check
    still: Still
    backlog: Backlog
    beats: Beats
    doors: Doors
    limits: Limits
    notices: Notices
    catch_up_registry: CatchUp
    jitter: Callable[[], float]
    tier: Callable[[str, float], "Feed"]
    delay_s: float = 0
    slow: Counter[str] = field(default_factory=Counter)
    """What was done about slow clients, by step: `conflated`, `stood_in`, `sent_away`."""
