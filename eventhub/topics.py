"""Every topic of eventhub: its key, its writers and readers, its cleanup. Nothing else names a topic by hand.

Raw topics, the log, registry, states and dead letters have the same number of partitions and the same partitioner,
so raw partition p feeds only log partition p. Topics are declared explicitly, never auto-created.
"""

from typing import Literal, NamedTuple

DAY_MS = 86_400_000
SMALL_SEGMENT_BYTES = 1 << 20


class Topic(NamedTuple):
    """One topic. `partitioned`: has the cluster's partition count, else one partition."""

    name: str
    key: str
    written_by: str
    read_by: str
    cleanup: Literal["delete", "compact"]
    retention_days: int | None = None
    partitioned: bool = True


BROADCAST = "broadcast-events"
SENSORS = "sensor-events"
SOCIAL = "social-events"
TRANSLATION = "translation-events"
STATS = "stats-events"
LOG = "match-events"
REGISTRY = "match-registry"
MATCH_STATE = "match-state"
ENRICH_STATE = "enrich-state"
DEAD = "dlq-events"
BILLING = "billing-events"
ACCOUNTS = "account-events"
CONTROL = "control-events"

RAW: tuple[str, ...] = (BROADCAST, TRANSLATION, STATS, SOCIAL, SENSORS)
"""The raw topics in the order in which enrichment prefers them; the position is the index in a log record's vector."""

SOURCE_TOPIC: dict[str, str] = {"broadcast": BROADCAST, "sensors": SENSORS, "social": SOCIAL}

TOPICS: dict[str, Topic] = {
    t.name: t
    for t in (
        Topic(BROADCAST, "match_id", "ingest", "enrichment", "delete", 7),
        Topic(SENSORS, "match_id", "ingest", "enrichment", "delete", 7),
        Topic(SOCIAL, "match_id", "ingest", "enrichment", "delete", 7),
        Topic(TRANSLATION, "match_id", "translation", "enrichment", "delete", 1),
        Topic(STATS, "match_id", "aggregation", "enrichment", "delete", 1),
        Topic(LOG, "match_id", "enrichment", "every projection", "delete", 8),
        Topic(REGISTRY, "match_id", "ingest", "every node", "compact"),
        Topic(MATCH_STATE, "match_id", "aggregation", "its next owner", "compact"),
        Topic(ENRICH_STATE, "partition", "enrichment", "its next owner", "compact"),
        Topic(DEAD, "topic.partition.offset", "ingest, every agent", "operators, replay", "delete", 30),
        Topic(BILLING, "Stripe customer", "the Stripe webhook", "billing", "delete", 30),
        Topic(ACCOUNTS, "key or user id", "keys, plans, revocations", "every node", "compact", None, False),
        Topic(CONTROL, "setting, node", "operators, nodes", "every node", "compact", None, False),
    )
}


def configs(topic: Topic, *, min_insync_replicas: int) -> dict[str, str]:
    """The topic's configuration as Kafka spells it."""
    settings = {
        "cleanup.policy": topic.cleanup,
        "min.insync.replicas": str(min_insync_replicas),
        "unclean.leader.election.enable": "false",
        # A producer that stamps the event's own time makes retention delete old matches at once.
        "message.timestamp.type": "LogAppendTime",
    }
    if not topic.partitioned:
        # Read from its first record on at every start and change; the part that is written to is never compacted, and
        # nodes write to one of these every 2 s.
        settings |= {"segment.bytes": str(SMALL_SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.1"}
    if topic.retention_days is not None:
        settings["retention.ms"] = str(topic.retention_days * DAY_MS)
    return settings
