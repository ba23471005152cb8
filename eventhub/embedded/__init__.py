"""Real services for a node that was given none: PostgreSQL and Apache Kafka, beside the nodes of one data folder.

The first node starts them, later ones join, the last one stops them. They outlive a node that is killed; the next
`join` finds them, or starts again what died. Step 0 of a node's start: `app` joins before its event loop runs.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eventhub.config import Settings
from eventhub.embedded import jars, kafka, postgres
from eventhub.embedded.lease import Lease, Record, never, stop
from eventhub.errors import ConfigError, UnavailableError

__all__ = ["Addresses", "Services", "join"]

Part = Literal["kafka", "postgres"]


class Addresses(NamedTuple):
    """Where to reach what: Kafka's bootstrap servers, PostgreSQL's DSN (it holds a password)."""

    kafka: str
    postgres: str


class _Homes(NamedTuple):
    kafka: kafka.Home
    postgres: postgres.Home


class Services:
    """A node's share in the services of one data folder."""

    def __init__(self, lease: Lease | None, homes: _Homes, addresses: Addresses, started: list[str]) -> None:
        self._lease = lease
        self._homes = homes
        self.addresses = addresses
        self.started = started
        """A sentence for each part: what runs where, or by which setting it was given."""

    def pid(self, part: Part) -> int:
        """The pid of a part that runs here, as it is now; after `join` has healed it, the new one.

        Raises UnavailableError when it does not run here.
        """
        here = kafka.running(self._homes.kafka) if part == "kafka" else postgres.running(self._homes.postgres)
        if here is None:
            raise UnavailableError(
                f"{part} does not run in {self._homes.kafka.folder.parent}; it was given, or it died"
            )
        return here.pid

    def leave(self) -> None:
        """Gives the share back; the last holder stops the services. Blocks until they ended; idempotent."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        with lease.exclusive(_silent):
            _leave(lease, self._homes)


def join(
    settings: Settings,
    *,
    say: Callable[[str], None],
    progress: Callable[[str, int, int], None],
    given_up: Callable[[], bool] = never,
) -> Services:
    """A share in the services of `settings.data_dir`, started where they do not run. Blocks until they answer.

    A part whose address is set is not started; its address is handed through. `say` gets sentences for people,
    `progress(label, done, total)` bytes of what is fetched; both may be called from threads. Once `given_up` says so,
    nothing is waited for any more. Raises ConfigError or UnavailableError; then nothing is held, and what had been
    started is stopped, unless others use it.
    """
    folder = settings.data_dir.absolute()
    homes = _homes(folder, settings.cache_dir)
    given_kafka, secret = settings.kafka.bootstrap_servers, settings.postgres.dsn
    given_postgres = secret.get_secret_value() if secret else None
    if given_kafka and given_postgres:
        return Services(None, homes, Addresses(given_kafka, given_postgres), _given(given_kafka, given_postgres))
    try:
        lease = Lease(folder / "run")
    except OSError as error:
        raise ConfigError(
            f"the data folder {folder} cannot be used: {error.strerror}; set EVENTHUB_DATA_DIR"
        ) from error

    def fetched(label: str, done: int, total: int) -> None:
        if given_up():
            raise UnavailableError(f"fetching {label} was given up at {done} of {total} bytes")
        progress(label, done, total)

    with lease.exclusive(say, given_up=given_up):
        lease.hold()
        try:
            with ThreadPoolExecutor(2) as pool:
                ways: dict[str, Any] = {"say": say, "given_up": given_up}
                broker = None if given_kafka else pool.submit(kafka.ensure, homes.kafka, progress=fetched, **ways)
                server = None if given_postgres else pool.submit(postgres.ensure, homes.postgres, **ways)
            started = _given(given_kafka, given_postgres)
            if broker:
                given_kafka = f"127.0.0.1:{broker.result().ports['broker']}"
                started.append(_sentence(f"Apache Kafka {jars.KAFKA_VERSION}", broker.result(), homes.kafka.folder))
            if server:
                given_postgres = postgres.dsn(homes.postgres, server.result().ports["server"])
                started.append(_sentence("PostgreSQL", server.result(), homes.postgres.folder))
        except BaseException:
            _leave(lease, homes)
            raise
    return Services(lease, homes, Addresses(given_kafka or "", given_postgres or ""), started)


def _homes(folder: Path, cache: Path | None) -> _Homes:
    run = folder / "run"
    return _Homes(
        kafka.Home(folder / "kafka", run / "kafka.json", cache or jars.default_cache()),
        postgres.Home(folder / "postgres", run / "postgres.json", run / "postgres.password"),
    )


def _leave(lease: Lease, homes: _Homes) -> None:
    if not lease.drop():
        return
    broker, server = kafka.running(homes.kafka), postgres.running(homes.postgres)
    with ThreadPoolExecutor(2) as pool:
        stops = [pool.submit(stop, broker, kafka.STOP_STEPS)] if broker else []
        stops += [pool.submit(stop, server, postgres.STOP_STEPS)] if server else []
    for ended in stops:
        ended.result()


def _given(given_kafka: str | None, given_postgres: str | None) -> list[str]:
    sentences = [f"Kafka at {given_kafka}, given by kafka.bootstrap_servers."] if given_kafka else []
    return sentences + (["PostgreSQL, given by postgres.dsn."] if given_postgres else [])


def _sentence(name: str, record: Record, folder: Path) -> str:
    pid = record.process.pid if record.process else 0
    return f"{name} at 127.0.0.1:{next(iter(record.ports.values()))} (pid {pid}), its data in {folder}."


def _silent(_sentence: str) -> None:
    pass
