"""`/metrics` of the admin port: what this node knows of itself, as Prometheus reads it (text format 0.0.4).

Nothing is counted here: a scrape reads what the node's parts keep anyway, and asks no dependency. An operator is called
for stalls and dead letters: `eventhub_partition_stalled_seconds`, `eventhub_dead_letters_open`.
"""

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


class Sources(NamedTuple):
    """Where a scrape looks. `letters` returns None until their topic was read; `spool` is None where there is none."""

    version: str
    families: Sequence[Family]
    ready: Callable[[], bool]
    causes: Callable[[], Collection[str]]
    letters: Callable[[], Letters | None]
    spool: Spool | None


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


def routes(sources: Sources) -> list[BaseRoute]:
    """`/metrics`, with the process's own CPU, memory and file descriptors."""
    registry = CollectorRegistry()
    registry.register(Collector(sources))
    ProcessCollector(registry=registry)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/metrics", metrics)]
