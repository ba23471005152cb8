"""How a command works on the cluster without a running node, and who it says did it."""

import getpass
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eventhub.cli.console import say, settings

if TYPE_CHECKING:  # at run time they are loaded where they are used, so that help does not wait for them
    from eventhub.operations import Reached

T = TypeVar("T")


def on_cluster(data_dir: Path | None, config: Path | None, work: "Callable[[Reached], Awaitable[T]]") -> T:
    """The work of a command on the cluster of its settings; see `operations.on_cluster`."""
    from eventhub import operations

    return operations.on_cluster(settings(data_dir, config), say, work)


def actor() -> str:
    """Who runs this command, and where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{platform.node()}"
