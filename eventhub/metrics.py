"""`/metrics` of the admin port: what this node knows of itself, as Prometheus reads it (text format 0.0.4).

Nothing is counted here: a scrape reads what the node's parts keep anyway, and asks no dependency. An operator is called
for stalls and dead letters: `eventhub_partition_stalled_seconds`, `eventhub_dead_letters_open`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub.streams import Report

FIGURES: tuple[tuple[str, str, Callable[[Report], float]], ...] = (
    ("partition_lag_seconds", "For how long the oldest of them has been there", lambda r: r.lag_s),
    ("partition_progress_age_seconds", "Since something was applied last", lambda r: r.progressed_s_ago),
    ("partition_stalled_seconds", "With work, no progress, nothing to blame: a restart helps", lambda r: r.stalled_s),
    ("partition_blocked_seconds", "Waiting for what is away: /livez names it", lambda r: r.blocked_s),
)


REFUSED = ("address", "draining", "full", "origin", "rate", "token", "user")
LIMITED = ("changes", "commands")
SLOW = ("conflated", "stood_in", "sent_away")
SOURCES, CAUSES = ("sensors", "social", "broadcast"), ("key_rate", "late", "pending", "turn")
"""Told as 0 before they first happen: a rate is known only of what was there before."""


class Family(Protocol):
    """What is asked of a stream family on this node."""

    rebuilt: int
    reports: dict[int, Report]

    @property
    def name(self) -> str:
        """Its name."""


class Letters(Protocol):
    """Dead letters that are open."""

    @property
    def oldest_age_s(self) -> float | None:
        """For how long the oldest has been; None where none is."""

    @property
    def by_code(self) -> Mapping[str, int]:
        """How many of each code."""


class Spool(Protocol):
    """What waits on this node's disk."""

    @property
    def records(self) -> int:
        """How many."""

    size_bytes: int


class Doors(Protocol):
    """Who was refused."""

    refused: Counter[str]
    limited: Counter[str]


class Clients(Protocol):
    """Who watches here."""

    @property
    def connections(self) -> int:
        """How many."""

    @property
    def doors(self) -> Doors:
        """Clients that were refused, by cause, and what those that are in were."""

    @property
    def waiting_bytes(self) -> int:
        """How much waits for them."""

    @property
    def slow(self) -> Mapping[str, int]:
        """What was done about slow ones, by step."""


class Gate(Protocol):
    """What ingest has in hand, and whom it refused, by source and cause."""

    refused: Counter[tuple[str, str]]
    pending_bytes: int


class Window(Protocol):
    """What sensors may have under way on the path, and have."""

    @property
    def size(self) -> float:
        """Weight: bytes and a bit for each item."""

    @property
    def under_way(self) -> int:
        """Of the same."""


class Sources(NamedTuple):
    """Where a scrape looks. `letters` returns None until their topic was read; `spool` is None where there is none.

    `late_s` is how late the event loop is, in seconds.
    """

    version: str
    families: Sequence[Family]
    ready: Callable[[], bool]
    causes: Callable[[], Collection[str]]
    letters: Callable[[], Letters | None]
    spool: Spool | None
    clients: Clients
    gate: Gate
    window: Window
    late_s: Callable[[], float]


class Collector:
    """Makes the metrics anew at each scrape."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are checked by a test, not at the start of a node."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Every metric of eventhub's own."""
        known = self._from
        yield _gauge("build_info", "1, with the version", ("version",), [((known.version,), 1)])
        yield _gauge("ready", "1 while clients may be sent here", (), [((), known.ready())])
        lost = [((cause,), 1.0) for cause in sorted(known.causes())]
        yield _gauge("degraded", "1 for each cause that holds; /status says since when and why", ("cause",), lost)
        yield from self._families()
        yield from self._letters()
        yield from self._clients()
        yield from self._ingest()
        if known.spool is not None:
            yield _gauge("spool_records", "Records on this node's disk that wait", (), [((), known.spool.records)])
            yield _gauge("spool_bytes", "Size of what waits on this node's disk", (), [((), known.spool.size_bytes)])

    def _families(self) -> Iterator[Metric]:
        rebuilt = CounterMetricFamily("eventhub_stage_rebuilt", "Rebuilds after a crash", labels=("family",))
        for family in self._from.families:
            rebuilt.add_metric((family.name,), family.rebuilt)
        yield rebuilt
        reports = [((f.name, str(p)), report) for f in self._from.families for p, report in f.reports.items()]
        by = ("family", "partition")
        lags = [(labels, report.lag) for labels, report in reports if report.lag is not None]
        yield _gauge("partition_lag_events", "Records that are not applied yet", by, lags)
        for name, what, of in FIGURES:
            yield _gauge(name, what, by, [(labels, of(report)) for labels, report in reports])

    def _clients(self) -> Iterator[Metric]:
        clients = self._from.clients
        yield _gauge("clients", "Connections of the stream", (), [((), clients.connections)])
        waits = "Waits for clients; counted for each of them"
        yield _gauge("clients_waiting_bytes", waits, (), [((), clients.waiting_bytes)])
        by_cause = dict.fromkeys(REFUSED, 0) | clients.doors.refused
        yield _counter("clients_refused", "Connections that were refused", ("cause",), _rows(by_cause))
        limited = dict.fromkeys(LIMITED, 0) | clients.doors.limited
        yield _counter("clients_limited", "What clients asked for too often", ("what",), _rows(limited))
        steps = dict.fromkeys(SLOW, 0) | dict(clients.slow)
        yield _counter("clients_slow", "What slow clients got in place of everything", ("step",), _rows(steps))

    def _ingest(self) -> Iterator[Metric]:
        gate = self._from.gate
        yield _gauge(
            "loop_late_seconds", "How late every timer of the last second was", (), [((), self._from.late_s())]
        )
        yield _gauge("ingest_pending_bytes", "Bodies that wait for Kafka", (), [((), gate.pending_bytes)])
        size, under_way = self._from.window.size, self._from.window.under_way
        yield _gauge("ingest_window_bytes", "What sensors may have on the path, 655 more an item", (), [((), size)])
        yield _gauge("ingest_under_way_bytes", "What sensors have there, 655 more an item", (), [((), under_way)])
        refused = {(source, cause): 0 for source in SOURCES for cause in CAUSES} | gate.refused
        rows = [(labels, float(count)) for labels, count in sorted(refused.items())]
        yield _counter("ingest_refused", "Requests that were refused whole", ("source", "cause"), rows)

    def _letters(self) -> Iterator[Metric]:
        letters = self._from.letters()
        if letters is None:
            return
        by_code = [((code,), float(count)) for code, count in sorted(letters.by_code.items())]
        yield _gauge("dead_letters_open", "Open dead letters: eventhub dlq list", ("code",), by_code)
        age_s = letters.oldest_age_s or 0.0
        yield _gauge(
            "dead_letters_oldest_age_seconds", "Since the oldest open one was first written", (), [((), age_s)]
        )


def _gauge(name: str, what: str, labels: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> Metric:
    gauge = GaugeMetricFamily(f"eventhub_{name}", what, labels=labels)
    for values, value in rows:
        gauge.add_metric(values, value)
    return gauge


def _counter(name: str, what: str, labels: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> Metric:
    counter = CounterMetricFamily(f"eventhub_{name}", what, labels=labels)
    for values, value in rows:
        counter.add_metric(values, value)
    return counter


def _rows(by_name: Mapping[str, int]) -> list[tuple[Sequence[str], float]]:
    return [((name,), float(count)) for name, count in sorted(by_name.items())]


def routes(sources: Sources) -> list[BaseRoute]:
    """`/metrics`, with the process's own CPU, memory and file descriptors."""
    registry = CollectorRegistry()
    registry.register(Collector(sources))
    ProcessCollector(registry=registry)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/metrics", metrics)]
