"""Real services for a node that was given none: PostgreSQL, Apache Kafka, Valkey, beside the nodes of one data folder.

The first node starts them, later ones join, the last one stops them. They outlive a node that is killed; the next
`join` finds them, or starts again what died. Step 0 of a node's start: `app` joins before its event loop runs.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals
from typing import Any, Literal, NamedTuple

from eventhub.config import Settings
from eventhub.embedded import jars, kafka, postgres, valkey
from eventhub.embedded.lease import Lease, Process, Record, never, stop
from eventhub.errors import ConfigError, UnavailableError

__all__ = ["Addresses", "Part", "Services", "join"]

Part = Literal["kafka", "postgres", "valkey"]
Steps = Sequence[tuple[Signals, float]]


class Addresses(NamedTuple):
    """Where to reach what: Kafka's bootstrap servers, PostgreSQL's DSN, Redis's URL (both may hold a password).

    No URL: each node counts alone.
    """

    kafka: str
    postgres: str
    redis: str | None = None


class _Homes(NamedTuple):
    kafka: kafka.Home
    postgres: postgres.Home
    valkey: valkey.Home


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
        here = _running(self._homes, part)
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
    redis = settings.redis.url.get_secret_value() if settings.redis.url else None
    given = _given(given_kafka, given_postgres, redis)
    if given_kafka and given_postgres:
        alone = [] if redis else ["No Redis, for redis.url is not set: this node counts its clients alone."]
        return Services(None, homes, Addresses(given_kafka, given_postgres, redis), given + alone)
    with_valkey = redis is None and settings.profile == "development"
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
            with ThreadPoolExecutor(3) as pool:
                ways: dict[str, Any] = {"say": say, "given_up": given_up}
                counting = pool.submit(_count, homes.valkey, **ways) if with_valkey else None
                broker = None if given_kafka else pool.submit(kafka.ensure, homes.kafka, progress=fetched, **ways)
                server = None if given_postgres else pool.submit(postgres.ensure, homes.postgres, **ways)
            started = given
            if broker:
                given_kafka = f"127.0.0.1:{broker.result().ports['broker']}"
                started.append(_sentence(f"Apache Kafka {jars.KAFKA_VERSION}", broker.result(), homes.kafka.folder))
            if server:
                given_postgres = postgres.dsn(homes.postgres, server.result().ports["server"])
                started.append(_sentence("PostgreSQL", server.result(), homes.postgres.folder))
            if counting and (beside := counting.result()):
                redis = valkey.url(homes.valkey, beside.ports["server"])
                started.append(_sentence("Valkey", beside, homes.valkey.folder))
        except BaseException:
            _leave(lease, homes)
            raise
    return Services(lease, homes, Addresses(given_kafka or "", given_postgres or "", redis), started)


def _homes(folder: Path, cache: Path | None) -> _Homes:
    run = folder / "run"
    return _Homes(
        kafka.Home(folder / "kafka", run / "kafka.json", cache or jars.default_cache()),
        postgres.Home(folder / "postgres", run / "postgres.json", run / "postgres.password"),
        valkey.Home(folder / "valkey", run / "valkey.json"),
    )


def _count(home: valkey.Home, *, say: Callable[[str], None], given_up: Callable[[], bool]) -> Record | None:
    """Valkey, or None: without it a node does everything, but that it counts its clients alone."""
    try:
        return valkey.ensure(home, say=say, given_up=given_up)
    except (ConfigError, UnavailableError, OSError) as error:
        say(f"Each node counts its clients alone, for {error}; look there, or set EVENTHUB_REDIS__URL.")
        return None


def _running(homes: _Homes, part: Part) -> Process | None:
    match part:
        case "kafka":
            return kafka.running(homes.kafka)
        case "postgres":
            return postgres.running(homes.postgres)
        case "valkey":
            return valkey.running(homes.valkey)


def _leave(lease: Lease, homes: _Homes) -> None:
    if not lease.drop():
        return
    steps: dict[Part, Steps] = {
        "kafka": kafka.STOP_STEPS,
        "postgres": postgres.STOP_STEPS,
        "valkey": valkey.STOP_STEPS,
    }
    with ThreadPoolExecutor(len(steps)) as pool:
        stops = [pool.submit(stop, here, steps[part]) for part in steps if (here := _running(homes, part))]
    for ended in stops:
        ended.result()


def _given(given_kafka: str | None, given_postgres: str | None, given_redis: str | None) -> list[str]:
    sentences = [f"Kafka at {given_kafka}, given by kafka.bootstrap_servers."] if given_kafka else []
    sentences += ["PostgreSQL, given by postgres.dsn."] if given_postgres else []
    return sentences + (["Redis, given by redis.url."] if given_redis else [])


def _sentence(name: str, record: Record, folder: Path) -> str:
    pid = record.process.pid if record.process else 0
    return f"{name} at 127.0.0.1:{next(iter(record.ports.values()))} (pid {pid}), its data in {folder}."


def _silent(_sentence: str) -> None:
    pass
