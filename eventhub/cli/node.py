"""`serve`, `migrate`, `keys create`, `token create`, `version`."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NoReturn

from eventhub import __version__
from eventhub.cli.console import ConfigFile, DataDir, data, data_json, meter, reachable, say, settings
from eventhub.errors import UnavailableError

if TYPE_CHECKING:
    from eventhub.config import Settings
    from eventhub.embedded import Part, Services

ENDED_BY_SIGTERM = 143


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    admin_port: int | None = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    demo: bool = False,
) -> None:
    """Run a node until Ctrl-C. A second one on the same data folder joins the services that run there.

    Parameters
    ----------
    host
        Address of the external port.
    port
        External port; the next free one from 8000 when it is not given.
    admin_port
        Internal port for probes; the next free one from 9000 when it is not given.
    demo
        Play a generated match.
    """
    flags = {"http.host": host, "http.port": port, "admin.port": admin_port}
    chosen = settings(data_dir, config, flags)
    services = _join(chosen)
    from eventhub import process

    def greet(node: str, external: str, admin: str) -> None:
        for line in greeting(chosen, node, external, admin):
            say(line)

    process.serve(chosen, services, demo=demo, say=say, greet=greet)
    for line in farewell(chosen, still_running(services)):
        say(line)
    # Everything is closed. Threads of native clients may still be ending, and to take the interpreter apart under them
    # has ended a node with SIGSEGV.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _join(chosen: "Settings") -> "Services":
    """A share in the services; whoever is stopped while they start leaves none behind that nobody uses."""
    from eventhub import embedded

    given_up = threading.Event()
    shares: list[Services] = []
    told: list[int] = []

    def stop(number: int, _frame: object) -> None:
        # Raises nothing: that would be lost where it comes amid a callback of the interpreter, as imports have them.
        told.append(number)
        given_up.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with meter() as progress, ThreadPoolExecutor(1) as pool:

        def join() -> None:
            shares.append(embedded.join(chosen, say=say, progress=progress, given_up=given_up.is_set))

        try:
            joining = pool.submit(join)
            # Loading the node takes as long as starting the services, so both at once.
            from eventhub import process  # noqa: F401

            joining.result()
            # From here on to the node's own handlers there is nothing to give up, so they raise again.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, _raise_ended)
            if told:
                raise _ended(told[0])
            return shares[0]
        except BaseException:
            given_up.set()
            if told:
                say("stopping: services that are starting are stopped first")
            pool.shutdown()
            for share in shares:
                share.leave()
            if told:
                raise _ended(told[0]) from None
            raise


def _raise_ended(number: int, _frame: object) -> NoReturn:
    raise _ended(number)


def _ended(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(ENDED_BY_SIGTERM)


def greeting(chosen: "Settings", node: str, external: str, admin: str) -> list[str]:
    """What a node says once it serves: `node` is its name, `external` and `admin` the URLs of its ports."""
    page, probes = reachable(external), reachable(admin)
    return [
        f"eventhub {__version__}, node {node}, profile {chosen.profile}",
        f"  live page  {page}/",
        f"  API        {page}/v1/…" + ("" if page == external else "   on every address of this machine"),
        f"  admin      {probes}/status   health, metrics, mode; never public",
        f"Ctrl-C stops this node: its clients are told to reconnect. {_afterwards(chosen)}",
    ]


def farewell(chosen: "Settings", running: list[str]) -> list[str]:
    """What a node says when it has ended; `running` names the embedded services that other nodes go on using."""
    folder = chosen.data_dir.absolute()
    if running:
        return [f"stopped; {_together(running)} run on for the other nodes of {folder}"]
    if _embedded(chosen):
        return [f"stopped; everything is kept in {folder}, and `eventhub serve` goes on from there"]
    return ["stopped"]


def _afterwards(chosen: "Settings") -> str:
    embedded = _together(_embedded(chosen))
    if not embedded:
        return "Kafka and PostgreSQL are not its own and stay as they are."
    return f"The last node of {chosen.data_dir.absolute()} also stops {embedded}; all data stays there."


def _embedded(chosen: "Settings") -> list[str]:
    parts = {"Kafka": chosen.kafka.bootstrap_servers, "PostgreSQL": chosen.postgres.dsn}
    names = [name for name, given in parts.items() if given is None]
    counting = chosen.redis.url is None and chosen.profile == "development"
    return [*names, "Valkey"] if names and counting else names


def _together(names: list[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def still_running(services: "Services") -> list[str]:
    """The embedded services that run now."""
    running = []
    parts: dict[Part, str] = {"kafka": "Kafka", "postgres": "PostgreSQL", "valkey": "Valkey"}
    for part, name in parts.items():
        try:
            services.pid(part)
        except UnavailableError:
            continue
        running.append(name)
    return running


def migrate(*, data_dir: DataDir = None, config: ConfigFile = None, json: bool = False) -> None:
    """Bring the database's schema to this version."""
    from eventhub import operations

    applied = operations.migrate(settings(data_dir, config), say=say)
    if json:
        data_json({"applied": applied})
    else:
        say(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


def create_key(
    source: Literal["sensors", "broadcast", "social", "admin"], *, data_dir: DataDir = None, config: ConfigFile = None
) -> None:
    """Make an ingest key and print it, once: only its hash is kept.

    Parameters
    ----------
    source
        What the key may send; `admin` declares matches.
    """
    from eventhub import operations

    data(operations.create_key(settings(data_dir, config), source, say=say))


def create_token(
    *, user: str = "local", plan: str = "free", data_dir: DataDir = None, config: ConfigFile = None
) -> None:
    """Print an access token of 15 minutes.

    Parameters
    ----------
    user
        Whom it names.
    plan
        The plan that it carries.
    """
    from eventhub import operations

    data(operations.create_token(settings(data_dir, config), user=user, plan=plan))


def version(*, json: bool = False) -> None:
    """Print the version."""
    if json:
        data_json({"version": __version__})
    else:
        data(__version__)
