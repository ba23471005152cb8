"""What eventhub needs of a cluster, as a table of rules; each that does not hold is a finding with the next step.

Judging is pure: a snapshot and what is wanted in, findings out. Codes never change: operators filter by them.
The reasons are Kafka's own guarantees (https://kafka.apache.org/documentation, "Replication", "Broker Configs").
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import structlog

from eventhub import topics
from eventhub.config import Settings
from eventhub.errors import ConfigError
from eventhub.kafka.clients import MAX_BATCH_BYTES, Kafka
from eventhub.kafka.describe import INTERNAL, SKEW_S, Snapshot, TopicState, describe

Severity = Literal["error", "warning", "note"]
STATES = frozenset({"unwritable", "clock_ahead"})
"""Errors of the moment, which pass: they keep no node from starting."""
BATCH_OVERHEAD_BYTES = 10_000
PRODUCTION_REPLICATION = 3
log = structlog.get_logger(__name__)


class Wanted(NamedTuple):
    """What the settings ask of the cluster. `production`: fewer than three replicas are an error, not a note."""

    partitions: int
    replication: int
    session_timeout_s: float
    fence_refresh_s: float
    production: bool

    @property
    def copies(self) -> int:
        """Replicas that every topic must have."""
        return max(self.replication, PRODUCTION_REPLICATION) if self.production else self.replication

    @property
    def min_insync_replicas(self) -> int:
        """Replicas that must have a record before it is acknowledged."""
        return min(2, self.copies)


def needs(settings: Settings) -> Wanted:
    """What these settings ask; an embedded broker is one broker, and one replica."""
    return Wanted(
        settings.kafka.partitions,
        1 if settings.kafka.bootstrap_servers is None else settings.kafka.replication,
        settings.streams.session_timeout_s,
        settings.streams.fence_refresh_s,
        settings.profile == "production",
    )


class Finding(NamedTuple):
    """One thing that is not as it should be. `place` is "cluster", "broker ID" or "topic NAME"."""

    code: str
    severity: Severity
    place: str
    found: str
    wanted: str
    advice: str


Rule = Callable[[Snapshot, Wanted], Iterator[Finding]]


def judge(snapshot: Snapshot, wanted: Wanted, rules: Mapping[str, Rule] | None = None) -> list[Finding]:
    """Every finding, in the order of the rules; empty when the cluster is good."""
    return [finding for rule in (RULES if rules is None else rules).values() for finding in rule(snapshot, wanted)]


async def audit(kafka: Kafka, wanted: Wanted) -> list[Finding]:
    """Describe the cluster and judge it. Raises what `describe` raises."""
    return judge(await describe(kafka), wanted)


async def gate(kafka: Kafka, wanted: Wanted) -> list[Finding]:
    """What a node asks after it has declared: may it work on this cluster? Returns what it found, and logs it.

    In production it raises ConfigError, with every code, for what would lose or double events. What only holds now,
    such as a broker that is down, keeps no node from starting.
    """
    findings = await audit(kafka, wanted)
    refused = sorted({f.code for f in findings if f.severity == "error" and f.code not in STATES})
    for code in sorted({f.code for f in findings}):
        some = [f for f in findings if f.code == code]
        level = log.info if some[0].severity == "note" else log.warning
        places = [f.place for f in some]
        level("cluster", code=code, places=places, found=some[0].found, wanted=some[0].wanted, advice=some[0].advice)
    if wanted.production and refused:
        raise ConfigError(
            f"this Kafka is too weak for production: {', '.join(refused)}; `eventhub doctor` says what to change"
        )
    return findings


def _ours(snapshot: Snapshot) -> Iterator[tuple[topics.Topic, TopicState]]:
    return ((topic, snapshot.topics[name]) for name, topic in topics.TOPICS.items() if name in snapshot.topics)


def _alter(setting: str, value: str) -> str:
    return f"set {setting}={value} on the topic; `eventhub topics plan` prints the command"


def _is(code: str, setting: str, value: Callable[[topics.Topic], str]) -> Rule:
    """A rule: the setting of each of our topics has exactly this value."""

    def rule(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
        for topic, state in _ours(snapshot):
            found, right = state.configs.get(setting, "unset"), value(topic)
            if set(found.replace(" ", "").split(",")) != set(right.split(",")):
                place, text = f"topic {topic.name}", f"{setting}={right}"
                yield Finding(code, "error", place, f"{setting}={found}", text, _alter(setting, right))

    return rule


def _at_least(code: str, setting: str, least_ms: Callable[[Wanted], float], why: str) -> Rule:
    """A rule: each broker's setting is at least this many milliseconds."""

    def rule(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
        least = int(least_ms(wanted))
        for broker, configs in snapshot.brokers.items():
            if (found := _number(configs, setting)) is not None and found < least:
                advice = f"set {setting} to {least} or more in server.properties: {why}"
                yield Finding(code, "error", f"broker {broker}", f"{setting}={found}", f"at least {least}", advice)

    return rule


def _number(configs: Mapping[str, str], setting: str) -> int | None:
    return int(configs[setting]) if setting in configs else None


def _missing(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    for name in topics.TOPICS:
        if name not in snapshot.topics:
            advice = "`eventhub serve` makes it; where others own the topics, see `eventhub topics plan`"
            yield Finding("missing", "warning", f"topic {name}", "no such topic", "the topic", advice)


def _partitions(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    for topic, state in _ours(snapshot):
        right, found = wanted.partitions if topic.partitioned else 1, len(state.partitions)
        if found != right:
            advice = "the count is fixed at creation: set EVENTHUB_KAFKA__PARTITIONS to what the log has"
            yield Finding("partitions", "error", f"topic {topic.name}", str(found), str(right), advice)


def _replication(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    for topic, state in _ours(snapshot):
        found = min((len(p.replicas) for p in state.partitions.values()), default=0)
        if found < wanted.copies:
            advice = "give it more replicas: kafka-reassign-partitions.sh, on as many brokers"
            place = f"topic {topic.name}"
            yield Finding("replication", "error", place, f"{found} replicas", f"{wanted.copies} replicas", advice)
    if not wanted.production and wanted.copies < PRODUCTION_REPLICATION:
        replicas = f"{wanted.copies} replica" + "s" * (wanted.copies > 1)
        advice = "fit for development: production wants 3 brokers and refuses less"
        yield Finding("replication", "note", "cluster", replicas, f"{PRODUCTION_REPLICATION} replicas", advice)


def _min_isr(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    setting = "min.insync.replicas"
    for topic, state in _ours(snapshot):
        found = int(state.configs.get(setting, "1"))
        replicas = min((len(p.replicas) for p in state.partitions.values()), default=0)
        # As many as there are replicas would mean that no broker may ever be down.
        if not wanted.min_insync_replicas <= found < max(replicas, wanted.min_insync_replicas + 1):
            right = str(wanted.min_insync_replicas)
            advice = _alter(setting, right)
            yield Finding("min_isr", "error", f"topic {topic.name}", f"{setting}={found}", f"{setting}={right}", advice)


def _retention(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    for topic, state in _ours(snapshot):
        least = (topic.retention_days or 0) * topics.DAY_MS
        found = _number(state.configs, "retention.ms")
        if topic.cleanup == "delete" and found is not None and 0 <= found < least:
            advice = _alter("retention.ms", str(least))
            place, right = f"topic {topic.name}", f"retention.ms={least} or more"
            yield Finding("retention", "error", place, f"retention.ms={found}", right, advice)


def _retention_order(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    """The log outlives what it is made of: else its vectors, which are the checkpoint, go before the raw records."""
    if topics.LOG not in snapshot.topics:
        return
    kept = _forever(_number(snapshot.topics[topics.LOG].configs, "retention.ms"))
    for name in topics.RAW:
        raw = snapshot.topics.get(name)
        if raw is not None and _forever(_number(raw.configs, "retention.ms")) > max(kept, 0):
            right = str(topics.configs(topics.TOPICS[name], min_insync_replicas=1)["retention.ms"])
            found = f"retention.ms={raw.configs['retention.ms']}, longer than {topics.LOG}"
            advice = _alter("retention.ms", right)
            yield Finding("retention_order", "error", f"topic {name}", found, f"retention.ms={right}", advice)


def _forever(retention_ms: int | None) -> float:
    return float("inf") if retention_ms is None or retention_ms < 0 else retention_ms


def _retention_bytes(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    for topic, state in _ours(snapshot):
        found = _number(state.configs, "retention.bytes")
        if topic.cleanup == "delete" and found is not None and found >= 0:
            place, advice = f"topic {topic.name}", _alter("retention.bytes", "-1")
            text = f"retention.bytes={found}"
            yield Finding("retention_bytes", "error", place, text, "retention.bytes=-1", advice)


def _message_bytes(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    least = MAX_BATCH_BYTES + BATCH_OVERHEAD_BYTES
    for topic, state in _ours(snapshot):
        found = _number(state.configs, "max.message.bytes")
        if found is not None and found < least:
            advice = "unset max.message.bytes on the topic, or message.max.bytes on the brokers"
            place = f"topic {topic.name}"
            text = f"max.message.bytes={found}"
            yield Finding("message_bytes", "error", place, text, f"at least {least}", advice)


def _auto_create(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    setting = "auto.create.topics.enable"
    for broker, configs in snapshot.brokers.items():
        if configs.get(setting) == "true":
            advice = f"set {setting}=false in server.properties: a topic must not come back empty under its old name"
            yield Finding("auto_create", "error", f"broker {broker}", f"{setting}=true", f"{setting}=false", advice)


def _internal(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """Kafka's own topics: without them no group meets and nobody fences, however many copies ours have."""
    for name, setting in zip(INTERNAL, ("offsets.topic", "transaction.state.log"), strict=True):
        state = snapshot.topics.get(name)
        if state is not None:
            found = {f"topic {name}": min((len(p.replicas) for p in state.partitions.values()), default=0)}
        else:
            setting = f"{setting}.replication.factor"
            found = {f"broker {i}": int(c.get(setting, "3")) for i, c in snapshot.brokers.items()}
        for place, replicas in found.items():
            if replicas < wanted.copies:
                text, right = f"{replicas} replicas", f"{wanted.copies} replicas"
                advice = f"set {setting}.replication.factor for new clusters, and kafka-reassign-partitions.sh for this"
                yield Finding("internal_replication", "error", place, text, right, advice)


def _internal_safety(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """The transactions' topic keeps the epochs of the fences; committed offsets are hints, and may be lost."""
    name, least = INTERNAL[1], wanted.min_insync_replicas
    state, setting = snapshot.topics.get(name), "transaction.state.log.min.isr"
    if state is not None:
        found = {f"topic {name}": int(state.configs.get("min.insync.replicas", "1"))}
        if state.configs.get("unclean.leader.election.enable") == "true":
            text, right = "unclean.leader.election.enable=true", "unclean.leader.election.enable=false"
            advice = f"set {right} on the topic"
            yield Finding("internal_min_isr", "error", f"topic {name}", text, right, advice)
    else:
        found = {f"broker {i}": int(c.get(setting, "2")) for i, c in snapshot.brokers.items()}
    for place, count in found.items():
        if count < least:
            advice = f"set {setting}={least} for new clusters, and min.insync.replicas={least} on topic {name}"
            yield Finding("internal_min_isr", "error", place, f"{setting}={count}", f"{setting}={least}", advice)


def _hidden(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    for broker, configs in snapshot.brokers.items():
        if not configs:
            advice = "allow this user DescribeConfigs on the cluster, or ask its owner for what the reference lists"
            yield Finding("hidden", "warning", f"broker {broker}", "settings not shown", "settings to judge", advice)


def _brokers(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    if len(snapshot.brokers) < wanted.copies:
        text = f"{len(snapshot.brokers)} brokers ({', '.join(map(str, sorted(snapshot.brokers)))})"
        advice = "start the missing ones; until then no topic can be made"
        yield Finding("brokers", "warning", "cluster", text, f"at least {wanted.copies}", advice)


def _in_sync(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    """A partition with fewer replicas in sync than it has, or than it needs to be written."""
    for topic, state in _ours(snapshot):
        needed = int(state.configs.get("min.insync.replicas", "1"))
        behind = {p: one for p, one in state.partitions.items() if len(one.isr) < len(one.replicas)}
        stuck = {p: one for p, one in state.partitions.items() if one.leader < 0 or len(one.isr) < needed}
        for code, severity, some in (("under_replicated", "warning", behind), ("unwritable", "error", stuck)):
            if some:
                yield _lag(code, severity, topic.name, some)


def _lag(code: str, severity: str, name: str, some: Mapping[int, object]) -> Finding:
    numbers = ", ".join(map(str, sorted(some)))
    told: Severity = "error" if severity == "error" else "warning"
    right = "every replica in sync" if code == "under_replicated" else "a leader, and min.insync.replicas in sync"
    return Finding(code, told, f"topic {name}", f"not so in partitions {numbers}", right, "see which brokers are down")


def _clock(snapshot: Snapshot, _: Wanted) -> Iterator[Finding]:
    if snapshot.ahead_s:
        name, most = max(snapshot.ahead_s.items(), key=lambda item: item[1])
        text, right = f"an append time {most:.0f} s ahead of this clock", f"at most {SKEW_S:g} s"
        advice = "keep brokers and nodes on one time by NTP; measured without writing, so a clock behind is not seen"
        yield Finding("clock_ahead", "error", f"topic {name}", text, right, advice)


def _session(snapshot: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    asked = int(wanted.session_timeout_s * 1000)
    for broker, configs in snapshot.brokers.items():
        low = _number(configs, "group.min.session.timeout.ms") or 0
        high = _number(configs, "group.max.session.timeout.ms") or asked
        if not low <= asked <= high:
            text, right = f"sessions of {low} to {high} ms", f"a range with {asked} ms"
            advice = "set EVENTHUB_STREAMS__SESSION_TIMEOUT_S within the range, or group.min/max.session.timeout.ms"
            yield Finding("session_timeout", "error", f"broker {broker}", text, right, advice)


def _two_fences_ms(wanted: Wanted) -> float:
    """Twice the time between two fences: one may fail."""
    return 2000 * wanted.fence_refresh_s


FORGOTTEN = "Kafka forgets what fences old owners before it is renewed"
RULES: dict[str, Rule] = {
    "missing": _missing,
    "partitions": _partitions,
    "replication": _replication,
    "min_isr": _min_isr,
    "unclean": _is("unclean", "unclean.leader.election.enable", lambda _: "false"),
    "cleanup": _is("cleanup", "cleanup.policy", lambda topic: topic.cleanup),
    "retention": _retention,
    "retention_order": _retention_order,
    "retention_bytes": _retention_bytes,
    "timestamps": _is("timestamps", "message.timestamp.type", lambda _: "LogAppendTime"),
    "message_bytes": _message_bytes,
    "transactional_id": _at_least("transactional_id", "transactional.id.expiration.ms", _two_fences_ms, FORGOTTEN),
    "producer_id": _at_least("producer_id", "producer.id.expiration.ms", _two_fences_ms, FORGOTTEN),
    "auto_create": _auto_create,
    "internal_replication": _internal,
    "internal_min_isr": _internal_safety,
    "session_timeout": _session,
    "hidden": _hidden,
    "brokers": _brokers,
    "in_sync": _in_sync,
    "clock_ahead": _clock,
}
"""Each rule by its code; `in_sync` gives two: under_replicated and unwritable."""
