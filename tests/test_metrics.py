"""What a scrape shows: every figure that the node keeps, under names that do not change."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx2
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from eventhub import dead_letters, metrics
from eventhub.streams.progress import Report

NOW = datetime(2026, 6, 1, tzinfo=UTC)
REPORT = Report(
    state="working",
    next={"match-events": 7},
    lag=5,
    lag_s=1.5,
    progressed_s_ago=2.5,
    stalled_s=61.0,
    blocked_by=[],
    blocked_s=0.5,
)
CLIENTS = SimpleNamespace(
    connections=41,
    waiting_bytes=1234,
    doors=SimpleNamespace(refused=Counter(address=2, rate=5), limited=Counter(changes=4)),
    slow={"sent_away": 6},
)
FRESH = Report("acquiring", {}, None, 0.0, 0.0, 0.0, [], 0.0)


def sources(*, letters: dead_letters.Depth | None = None, spool: bool = True) -> metrics.Sources:
    """A node with one family that has one partition at work, and one that is new."""
    return metrics.Sources(
        version="1.2.3",
        families=[SimpleNamespace(name="history", rebuilt=2, reports={3: REPORT, 4: FRESH})],
        ready=lambda: True,
        causes=lambda: ["postgres", "kafka"],
        letters=lambda: letters,
        spool=SimpleNamespace(records=12, size_bytes=3456) if spool else None,
        clients=CLIENTS,
        gate=SimpleNamespace(refused=Counter({("sensors", "pending"): 3}), pending_bytes=77),
        window=SimpleNamespace(size=4096.0, under_way=700),
        late_s=lambda: 0.25,
    )


async def scrape(known: metrics.Sources) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, as a Prometheus would read them."""
    transport = httpx2.ASGITransport(app=Starlette(routes=metrics.routes(known)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://node") as http:
        answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


async def test_every_figure_of_a_partition_is_there_and_of_a_new_one_no_lag() -> None:
    found = await scrape(sources())
    of_3 = {key[0]: value for key, value in found.items() if key[1:] == ("history", "3")}
    assert of_3 == {
        "eventhub_partition_lag_events": 5,
        "eventhub_partition_lag_seconds": 1.5,
        "eventhub_partition_progress_age_seconds": 2.5,
        "eventhub_partition_stalled_seconds": 61,
        "eventhub_partition_blocked_seconds": 0.5,
    }
    assert ("eventhub_partition_lag_events", "history", "4") not in found
    assert found["eventhub_partition_lag_seconds", "history", "4"] == 0


async def test_the_node_itself_is_there() -> None:
    found = await scrape(sources())
    assert found["eventhub_build_info", "1.2.3"] == 1
    assert found["eventhub_ready",] == 1
    assert {key[1] for key in found if key[0] == "eventhub_degraded"} == {"postgres", "kafka"}
    assert found["eventhub_stage_rebuilt_total", "history"] == 2
    assert (found["eventhub_spool_records",], found["eventhub_spool_bytes",]) == (12, 3456)
    assert found["process_open_fds",] > 0


async def test_who_watches_and_who_was_refused_is_there_and_what_never_happened_is_zero() -> None:
    found = await scrape(sources())
    assert (found["eventhub_clients",], found["eventhub_clients_waiting_bytes",]) == (41, 1234)
    refused = {key[1]: value for key, value in found.items() if key[0] == "eventhub_clients_refused_total"}
    assert refused == dict.fromkeys(metrics.REFUSED, 0) | {"address": 2, "rate": 5}
    assert found["eventhub_clients_limited_total", "changes"] == 4
    assert found["eventhub_clients_limited_total", "commands"] == 0
    steps = {key[1]: value for key, value in found.items() if key[0] == "eventhub_clients_slow_total"}
    assert steps == {"conflated": 0, "stood_in": 0, "sent_away": 6}
    assert found["eventhub_ingest_refused_total", "pending", "sensors"] == 3
    assert found["eventhub_ingest_refused_total", "key_rate", "broadcast"] == 0
    assert (found["eventhub_ingest_pending_bytes",], found["eventhub_loop_late_seconds",]) == (77, 0.25)
    assert (found["eventhub_ingest_window_bytes",], found["eventhub_ingest_under_way_bytes",]) == (4096, 700)


async def test_dead_letters_are_told_once_their_topic_was_read() -> None:
    unread = await scrape(sources(spool=False))
    assert not [key for key in unread if "dead_letters" in key[0] or "spool" in key[0]]
    found = await scrape(sources(letters=dead_letters.Depth(3, 90.0, {"malformed": 2, "id_conflict": 1})))
    assert found["eventhub_dead_letters_open", "malformed"] == 2
    assert found["eventhub_dead_letters_open", "id_conflict"] == 1
    assert found["eventhub_dead_letters_oldest_age_seconds",] == 90


async def test_no_dead_letter_is_an_age_of_zero_and_not_no_age() -> None:
    found = await scrape(sources(letters=dead_letters.Depth(0, None, {})))
    assert found["eventhub_dead_letters_oldest_age_seconds",] == 0


def record(key: int, said: tuple[str, int], offset: int) -> SimpleNamespace:
    """A try of a letter, an end, or a try that came of an earlier letter, at its offset's second."""
    what, attempts = said
    name = f"broadcast-events.0.{key}".encode()
    number = str(attempts).encode()
    if what in dead_letters.ENDS:
        headers = [("state", what.encode()), ("attempts", number)]
    elif what == "again":
        headers = [("code", b"too_late"), ("h", b""), ("of", b"broadcast-events.0.0"), ("attempts", number)]
    else:
        headers = [("stage", b"enrichment"), ("code", what.encode()), ("attempts", number)]
    at_ms = int((NOW + timedelta(seconds=offset)).timestamp() * 1000)
    return SimpleNamespace(key=name, value=b"{}", headers=headers, partition=0, offset=offset, timestamp=at_ms)


WHATS = ("malformed", "unknown_match", "again", "replayed", "discarded", "nonsense")


@given(st.lists(st.tuples(st.integers(0, 3), st.tuples(st.sampled_from(WHATS), st.integers(1, 3))), max_size=12))
def test_a_node_knows_the_same_depth_as_an_operator_who_lists_the_letters(
    said: Iterable[tuple[int, tuple[str, int]]],
) -> None:
    fold, standing = dead_letters.Fold(), dead_letters.Standing()
    for offset, (key, what) in enumerate(said):
        one = record(key, what, offset)
        fold.take(one)
        standing.take(one)
    later = NOW + timedelta(hours=1)
    assert standing.depth(later) == dead_letters.depth(fold.letters.values(), later)
