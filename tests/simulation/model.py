"""What must hold once a schedule has come to rest: a simple model of the platform, and of an undisturbed run."""

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgspec

from eventhub import record, topics
from eventhub.kafka import Kafka
from eventhub.record import Outgoing
from eventhub.streams import aggregation, sheet
from eventhub.streams.aggregation import Aggregation
from eventhub.streams.enrich import DERIVED, Consumed, Enriched, Enricher
from eventhub.streams.memory import Memory
from tests.simulation.broker import Record
from tests.simulation.clients import SimKafka

if TYPE_CHECKING:
    from tests.simulation.world import World


class Raw:
    """What follows from the raw topics of one partition by the rule alone: who stands, who loses."""

    def __init__(self, world: "World", p: int) -> None:
        self.standing: dict[str, list[Record]] = {topic: [] for topic in topics.RAW}
        self.losers: set[bytes] = set()
        self.by_id: dict[tuple[str, bytes], Record] = {}
        known: dict[tuple[str, str, bytes], bytes] = {}
        causes: dict[str, int] = {}
        for topic in topics.RAW:
            for one in world.broker.partition(topic, p).present():
                tags = record.raw_tags(record.head(one.headers))
                match_id = (one.key or b"").decode()
                place = (topic, match_id if topic == topics.BROADCAST else "", tags.event_id)
                if place in known:
                    if known[place] != tags.fingerprint and topic not in DERIVED:
                        self.losers.add(f"{topic}.{p}.{one.offset}".encode())
                    continue
                if topic == topics.STATS:
                    if tags.cause <= causes.get(match_id, -1):
                        continue
                    causes[match_id] = tags.cause
                known[place] = tags.fingerprint
                self.standing[topic].append(one)
                self.by_id[topic, tags.event_id] = one


def check(world: "World") -> None:
    """Raise AssertionError at the first thing that does not hold."""
    assert not world.loop.failures, "; ".join(world.loop.failures[:3])
    for p in range(world.settings.partitions):
        raw = Raw(world, p)
        log = world.broker.partition(topics.LOG, p).present()
        _vectors(log)
        _log_is_what_stands(raw, log)
        _enriched_as_undisturbed(world, raw, log)
        _losers_are_dead_letters(world, raw, p)
        _history_is_the_log(world, log, p)
        _states_as_undisturbed(world, log, p)
    assert not world.postgres.gaps, f"history has gaps: {world.postgres.gaps}"
    _nothing_acknowledged_is_lost(world)
    _order_of_each_source(world)


def events_of(world: "World", match_id: str) -> list[Record]:
    """The events of a match on the log."""
    log = world.broker.partition(topics.LOG, world.partitioner(match_id)).present()
    return [one for one in log if one.value is not None and one.key == match_id.encode()]


def id_of(one: Record) -> bytes:
    """The event id in the tags of a log record."""
    return record.log_tags(record.head(one.headers)).event_id


def _vectors(log: list[Record]) -> None:
    last: tuple[int, ...] = ()
    for one in log:
        head = record.head(one.headers)
        if head:
            vector = record.applied(head)
            assert not any(a < b for a, b in zip(vector, last, strict=False)), (
                f"the vector goes backwards at offset {one.offset}: {vector} after {last}"
            )
            last = vector


def _log_is_what_stands(raw: Raw, log: list[Record]) -> None:
    counts = Counter(id_of(one) for one in log if one.value is not None)
    twice = [event_id.hex() for event_id, count in counts.items() if count > 1]
    assert not twice, f"{len(twice)} events are on the log twice: {twice[:3]}"
    for index, topic in enumerate(topics.RAW):
        found = [id_of(one) for one in log if one.value is not None and record.head(one.headers)[0] == index]
        wanted = [record.raw_tags(record.head(one.headers)).event_id for one in raw.standing[topic]]
        missing = [event_id.hex() for event_id in wanted if event_id not in set(found)]
        assert not missing, f"{len(missing)} events of {topic} are missing: {missing[:3]}"
        assert found == wanted, f"events of {topic} are in another order on the log"


def _enriched_as_undisturbed(world: "World", raw: Raw, log: list[Record]) -> None:
    enricher = Enricher(world.registry, Memory())
    for one in log:
        if one.value is None:
            continue
        head = record.head(one.headers)
        topic = topics.RAW[head[0]]
        source = raw.by_id[topic, id_of(one)]
        made = enricher.step(
            Consumed(topic, source.offset, source.value, record.head(source.headers), source.timestamp)
        )
        assert isinstance(made, Enriched), f"offset {one.offset} would be {made} in an undisturbed run"
        assert made.value == one.value, f"offset {one.offset} is enriched otherwise than in an undisturbed run"


def _losers_are_dead_letters(world: "World", raw: Raw, p: int) -> None:
    letters = {one.key: dict(one.headers)["code"] for one in world.broker.partition(topics.DEAD, p).present()}
    assert set(letters) == raw.losers, f"dead letters {set(letters) ^ raw.losers} are too many or missing"
    assert set(letters.values()) <= {b"id_conflict"}, f"dead letters for other reasons: {letters}"


def _history_is_the_log(world: "World", log: list[Record], p: int) -> None:
    wanted = {id_of(one).hex(): (one.offset, one.value) for one in log if one.value is not None}
    mine = [row for row in world.postgres.events.values() if world.partitioner(row[1]) == p]
    found = {row[0]: (row[5], row[6].encode()) for row in mine}
    assert found == wanted, f"history differs from the log: {len(found)} rows, {len(wanted)} events"


def _aggregation(world: "World", p: int) -> Aggregation:
    async def known() -> None:
        return

    kafka = cast(Kafka, SimKafka(world.broker, world.loop.world))
    around = aggregation.Surroundings(kafka, world.declared, world.registry, known, "model")
    return Aggregation(p, around, refresh_s=0)


def _states_as_undisturbed(world: "World", log: list[Record], p: int) -> None:
    undisturbed, states = _aggregation(world, p), list[Outgoing]()
    stored = _stored(world, p)
    for one in log:
        for match_id, state in stored.items():
            if state.next == one.offset:
                _fold_is(undisturbed, match_id, state)
        if one.value is not None and record.kind(record.head(one.headers)) not in aggregation.IGNORED:
            undisturbed._fold(one, states)
    found = [one for one in log if one.value is not None and record.kind(record.head(one.headers)).endswith(b":state")]
    assert [id_of(one) for one in found] == [record.raw_tags(s.headers[0][1]).event_id for s in states], (
        f"{len(found)} state events, an undisturbed run has {len(states)}"
    )
    for one, emitted in zip(found, states, strict=True):
        assert _payload(one.value) == _payload(emitted.value), f"the state at offset {one.offset} differs"
    for match_id, held in undisturbed._held.items():
        _stands(world, match_id, held.fold)


def _stored(world: "World", p: int) -> dict[str, record.MatchState]:
    found = {}
    for one in world.broker.partition(topics.MATCH_STATE, p).present():
        if one.value is not None and one.key != record.PROGRESS_KEY:
            found[(one.key or b"").decode()] = msgspec.json.decode(one.value, type=record.MatchState)
    return found


def _fold_is(undisturbed: Aggregation, match_id: str, state: record.MatchState) -> None:
    held = undisturbed._held.get(match_id)
    wanted = None if held is None else held.fold
    found = msgspec.json.decode(state.fold, type=sheet.Fold)
    assert found == wanted, f"the stored fold of {match_id} at {state.next} differs from an undisturbed run's"


def _payload(value: bytes | None) -> Any:
    return msgspec.json.decode(value or b"")["payload"]


def _stands(world: "World", match_id: str, fold: sheet.Fold) -> None:
    """Goals and cards counted by hand: of each incident the highest revision counts, the first of it on the log."""
    incidents: dict[str, dict[str, Any]] = {}
    for one in events_of(world, match_id):
        event = msgspec.json.decode(one.value or b"")
        root = event.get("of", event["event_id"])
        if root not in incidents or event.get("revision", 0) > incidents[root].get("revision", 0):
            incidents[root] = event
    standing = [e for e in incidents.values() if e.get("action") != "delete"]
    match = world.registry[match_id]
    shown = sheet.sheet(fold, match)
    for side, other in ((shown.home, shown.away), (shown.away, shown.home)):
        goals = sum(e["type"] == "goal" and e.get("team_id") == side.id for e in standing)
        goals += sum(e["type"] == "own_goal" and e.get("team_id") == other.id for e in standing)
        reds = sum(e["type"] in ("red_card", "second_yellow_card") and e.get("team_id") == side.id for e in standing)
        assert (side.score, side.red_cards) == (goals, reds), (
            f"{match_id}: {side.id} has {side.score} goals and {side.red_cards} red cards, standing are {goals}, {reds}"
        )
    assert len(shown.incidents) == sum(e["type"] in sheet.SHOWN for e in standing)


def _nothing_acknowledged_is_lost(world: "World") -> None:
    there = {
        (topic, tags.event_id, tags.fingerprint)
        for (topic, _), partition in world.broker.partitions.items()
        if topic in topics.RAW
        for one in partition.present()
        for tags in [record.raw_tags(record.head(one.headers))]
    }
    for sent in world.sent:
        if sent.number in world.acknowledged:
            assert (sent.topic, sent.event_id, sent.fingerprint) in there, f"sending {sent.number} is lost"


def _order_of_each_source(world: "World") -> None:
    """Of what one node took at the first try, and nobody else ever sent, the order per match is kept."""
    sendings = Counter((sent.topic, sent.event_id) for sent in world.sent)
    first: dict[tuple[str, bytes], int] = {}
    for (topic, _), partition in world.broker.partitions.items():
        for one in partition.present() if topic in topics.RAW else ():
            first.setdefault((topic, record.raw_tags(record.head(one.headers)).event_id), one.offset)
    for node in world.lives:
        last: dict[tuple[str, str], tuple[int, int]] = {}
        for sent in node.arrivals:
            simple = world.tries[sent.number] == 1 and sendings[sent.topic, sent.event_id] == 1
            if simple and sent.number in world.acknowledged:
                here, place = first[sent.topic, sent.event_id], (sent.topic, sent.match_id)
                number, before = last.get(place, (-1, -1))
                assert before < here, f"sending {sent.number} overtook sending {number} on {sent.topic} of {node.name}"
                last[place] = (sent.number, here)
