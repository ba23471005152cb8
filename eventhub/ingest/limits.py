"""The bounds of ingest (path: step 1)."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Bounds of one request, of one key and of all that is in hand; how long Kafka may take to acknowledge it."""

    max_body_bytes: int
    max_items: int
    max_depth: int
    ack_timeout_s: float
    max_pending_bytes: int = 64 << 20
    items_per_s: int = 50_000
    items_burst: int = 100_000
    bytes_per_s: int = 64 << 20
    match_delays_s: tuple[float, ...] = ()
    """The delays that a match may be declared with."""
