"""`doctor`: whether Kafka, PostgreSQL and Redis are what eventhub needs; findings with next steps. Changes nothing."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from eventhub.cli.console import ConfigFile, DataDir, data, data_json, printable, say, settings
from eventhub.errors import ConfigError, EventhubError, UnavailableError

if TYPE_CHECKING:
    from eventhub.config import Settings
    from eventhub.embedded import Addresses
    from eventhub.kafka.audit import Finding

CONNECTIONS = {"history": 4, "api": 8, "accounts": 2, "probe": 1, "migration": 1}
"""What a node may have open to PostgreSQL; the pools are made in `app`."""
LEAST_VERSION = 140_000
REDIS_TIMEOUT_S = 2.0
ORDER = ("error", "warning", "note")
UNREACHABLE = ("kafka_unreachable", "postgres_unreachable")


def doctor(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Check Kafka, PostgreSQL and Redis; nothing is changed.

    Ends with 0 when nothing is refused (there may be warnings and notes), with 69 when a server does not answer, else
    with 78.

    Parameters
    ----------
    json
        Print {good, kafka, postgres, redis, findings} as JSON.
    """
    from eventhub import embedded

    chosen = settings(data_dir, config)
    services = embedded.join(chosen, say=say, progress=_quiet)
    try:
        about, found = asyncio.run(_examine(chosen, services.addresses))
    finally:
        services.leave()
    found.sort(key=lambda finding: ORDER.index(finding.severity))
    if json:
        good = not any(finding.severity == "error" for finding in found)
        data_json({"good": good, **about, "findings": [finding._asdict() for finding in found]})
    else:
        for line in lines(about, found):
            data(printable(line))
    _judge(found)


def lines(about: dict[str, str], found: Iterable["Finding"]) -> Iterator[str]:
    """What was looked at, then the findings by severity and code, places of the same kind together."""
    width = max(map(len, about))
    for part, text in about.items():
        yield f"{part:<{width}}  {text}"
    for (severity, code, *told), some in groupby(
        found, key=lambda f: (f.severity, f.code, f.found, f.wanted, f.advice)
    ):
        yield ""
        yield f"{severity:<7}  {code}: {', '.join(finding.place for finding in some)}"
        for name, text in zip(("found", "wanted", "next"), told, strict=True):
            yield f"         {name:<6}  {text}"


def _judge(found: list["Finding"]) -> None:
    """Say how many there are. Raises for what is refused, so that the command ends with the code of its kind."""
    counts = [(name, sum(finding.severity == name for finding in found)) for name in ORDER]
    text = ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts if count) or "nothing to say"
    refused = sorted({finding.code for finding in found if finding.severity == "error"})
    if set(refused) & set(UNREACHABLE):
        raise UnavailableError(f"{text}; not answering: {', '.join(refused)}")
    if refused:
        raise ConfigError(f"{text}; refused: {', '.join(refused)}")
    say(f"good: {text}")


async def _examine(chosen: "Settings", addresses: "Addresses") -> tuple[dict[str, str], list["Finding"]]:
    about: dict[str, str] = {}
    kafka, postgres = await _kafka(chosen, addresses, about), await _postgres(addresses.postgres, about)
    return about, [*kafka, *postgres, *await _redis(addresses.redis, about)]


async def _kafka(chosen: "Settings", addresses: "Addresses", about: dict[str, str]) -> list["Finding"]:
    from eventhub import operations
    from eventhub.kafka import audit, describe

    about["kafka"] = f"at {addresses.kafka}"
    try:
        there = await describe.describe(operations.reach(chosen, addresses))
    except EventhubError as error:
        return [_unreached("kafka", error)]
    brokers = f"{len(there.brokers)} broker{'s' * (len(there.brokers) > 1)}"
    embedded = ", embedded: one broker, one copy" if chosen.kafka.bootstrap_servers is None else ""
    about["kafka"] = f"at {addresses.kafka}, {brokers}{embedded}"
    return audit.judge(there, audit.needs(chosen))


async def _postgres(dsn: str, about: dict[str, str]) -> list["Finding"]:
    from eventhub.kafka.audit import Finding
    from eventhub.storage.survey import survey

    about["postgres"] = "given by postgres.dsn or embedded"
    try:
        server = await survey(dsn)
    except EventhubError as error:
        return [_unreached("postgres", error)]
    version = f"{server.version // 10000}.{server.version % 10000}"
    about["postgres"] = f"{version}, {server.connections} connections"
    found: list[Finding] = []
    if server.version < LEAST_VERSION:
        wanted = f"{LEAST_VERSION // 10000} or newer"
        found.append(Finding("postgres_version", "error", "postgres", version, wanted, "upgrade the server"))
    needed = sum(CONNECTIONS.values())
    if server.connections < needed:
        wanted = f"{needed} for each node ({', '.join(f'{name} {size}' for name, size in CONNECTIONS.items())})"
        text = f"{server.connections} connections"
        found.append(Finding("postgres_connections", "error", "postgres", text, wanted, "raise max_connections"))
    if server.pending:
        text, advice = f"not applied: {', '.join(server.pending)}", "`eventhub migrate`; `eventhub serve` does it too"
        found.append(Finding("postgres_schema", "warning", "postgres", text, "the schema of this version", advice))
    if server.unknown:
        text, advice = f"not known here: {', '.join(server.unknown)}", "run a newer eventhub"
        found.append(Finding("postgres_schema", "error", "postgres", text, "the schema of this version", advice))
    return found


async def _redis(url: str | None, about: dict[str, str]) -> list["Finding"]:
    from eventhub.storage import redis

    if url is None:
        about["redis"] = "not given: each node counts its clients alone"
        return []
    about["redis"] = "given by redis.url or embedded"
    try:
        await redis.probe(url, timeout_s=REDIS_TIMEOUT_S)
    except EventhubError as error:
        # Without it a node goes on, and counts its clients alone.
        return [_unreached("redis", error)._replace(severity="warning")]
    return []


def _unreached(part: str, error: EventhubError) -> "Finding":
    from eventhub.kafka.audit import Finding

    code = f"{part}_unreachable" if isinstance(error, UnavailableError) else f"{part}_refused"
    return Finding(code, "error", part, error.detail, "an answer", "see what was found")


def _quiet(_label: str, _done: int, _total: int) -> None:
    """No progress bar: this command prints data."""
