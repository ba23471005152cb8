"""The records that a step of the path would have written, made by its rule alone: input for the step behind it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from eventhub import record, topics
from eventhub.events import Match, Player, Team
from eventhub.ingest import adapters
from eventhub.ingest.accept import Acceptor, Provider
from eventhub.record import Outgoing
from eventhub.streams.enrich import Consumed, Enriched, Enricher
from eventhub.streams.memory import Memory
from tests.support.feed import RealMatch

VECTOR = record.pack_vector(0, (-1,) * len(topics.RAW), b"\0" * 4 * len(topics.RAW))
"""What stands before the tags on the log; nothing that reads the log alone asks what it says."""


def declared(match: RealMatch, match_id: str, now: datetime) -> Match:
    """The match as the registry has it; it began three hours ago."""
    told = match.feed.declaration
    players = [Player(**p) for p in told["players"]]
    return Match(match_id, Team(**told["home"]), Team(**told["away"]), now - timedelta(hours=3), players)


def named(matches: Sequence[RealMatch], run: str, loops: int) -> list[tuple[str, RealMatch]]:
    """Every match so many times, under ids that begin with `run`."""
    return [(f"{run}{k}-{m.name}", m) for k in range(loops) for m in matches]


def raw(names: Sequence[tuple[str, RealMatch]], registry: dict[str, Match]) -> list[Outgoing]:
    """What ingest would put on `broadcast-events`, match by match; declares the matches in `registry`."""
    now = datetime.now(UTC)
    registry |= {i: declared(m, i, now) for i, m in names}
    accept = Acceptor("broadcast", registry, {}, max_depth=16).accept
    adapter = adapters.load()["wyscout"]
    return [
        accept(item, Provider(adapter, registry[i]), now, {}).record for i, m in names for *_, item in m.feed.records
    ]


def logged(records: Sequence[Outgoing], registry: dict[str, Match]) -> list[Outgoing]:
    """What enrichment would make of raw records."""
    step = Enricher(registry, Memory()).step
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    made = []
    for number, one in enumerate(records):
        result = step(Consumed(topics.BROADCAST, number, one.value, record.head(one.headers), now_ms))
        assert isinstance(result, Enriched), result
        made.append(Outgoing(result.match_id.encode(), result.value, [("h", VECTOR + result.tags)]))
    return made
