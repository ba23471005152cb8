"""`topics plan`: what must exist on a cluster whose topics others own, what differs, and commands. Changes nothing."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from eventhub.cli.console import ConfigFile, DataDir, data, data_json, data_rows, say, settings
from eventhub.errors import ConfigError

if TYPE_CHECKING:
    from eventhub.config import Settings
    from eventhub.kafka.plan import Planned

HEAD = ("topic", "is", "partitions", "replicas", "settings")


def plan(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Print every topic as it must be, what differs, and the commands that would make it so; nothing is changed.

    Ends with 0 when there is nothing to do, with 69 when Kafka does not answer, else with 78.

    Parameters
    ----------
    json
        Print a JSON array of {topic, partitions, replication, configs, state, differences, commands}.
    """
    planned = _read(settings(data_dir, config))
    if json:
        data_json([one._asdict() for one in planned])
    else:
        data_rows(rows(planned))
        for command in (command for one in planned for command in one.commands):
            data(command)
    if changed := [one.topic for one in planned if one.state != "good"]:
        raise ConfigError(f"{len(changed)} of {len(planned)} topics are to be made or changed: {', '.join(changed)}")
    say("nothing to do")


def rows(planned: Sequence["Planned"]) -> Iterator[tuple[str, ...]]:
    """The table of all topics, then what differs, then an empty row where commands follow."""
    yield HEAD
    for one in planned:
        wanted = " ".join(f"{name}={value}" for name, value in one.configs.items())
        yield one.topic, one.state, str(one.partitions), str(one.replication), wanted
    different = [(one.topic, name, *pair) for one in planned for name, pair in one.differences.items()]
    if different:
        yield ()
        yield from ((topic, name, f"found {found}", f"wanted {wanted}") for topic, name, found, wanted in different)
    if any(one.commands for one in planned):
        yield ()


def _read(chosen: "Settings") -> list["Planned"]:
    from eventhub import embedded, operations
    from eventhub.kafka import audit, describe
    from eventhub.kafka import plan as planning

    services = embedded.join(chosen, say=say, progress=_quiet)
    try:
        there = asyncio.run(describe.describe(operations.reach(chosen, services.addresses)))
    finally:
        services.leave()
    return planning.plan(there, audit.needs(chosen))


def _quiet(_label: str, _done: int, _total: int) -> None:
    """No progress bar: this command prints data."""
