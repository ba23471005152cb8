"""`serve`, `migrate`, `keys create`, `token create`, `version`."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from eventhub import __version__, embedded
from eventhub.cli.console import ConfigFile, DataDir, data, data_json, meter, say, settings


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
    with meter() as progress, ThreadPoolExecutor(1) as pool:
        joining = pool.submit(embedded.join, chosen, say=say, progress=progress)
        # Loading the node takes as long as starting the services, so both at once.
        from eventhub import app

        services = joining.result()
    app.serve(chosen, services, demo=demo, say=say)


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
