"""`mode get` and `mode set`: the operators' switch. Works without a running node: the mode is a record on Kafka."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from cyclopts import Parameter

from eventhub.cli import cluster
from eventhub.cli.console import ConfigFile, DataDir, data, data_json, printable, say, settings
from eventhub.errors import UsageError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def get(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Print the platform's mode, with who set it and why.

    Parameters
    ----------
    json
        Print it as JSON.
    """
    from eventhub import operations

    _show(operations.read_mode(settings(data_dir, config), say=say), as_json=json)


def set_mode(
    mode: Literal["read-only", "normal"],
    *,
    reason: str = "",
    lasting: Annotated[str | None, Parameter(name="--for")] = None,
    actor: str | None = None,
    json: bool = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Set the mode of the whole platform; every node has it within a second.

    Read-only refuses what would write PostgreSQL, with 503 and Retry-After. Ingest and the live feed go on, and history
    catches up after.

    Parameters
    ----------
    mode
        read-only or normal.
    reason
        Why; clients are told it. Needed for read-only.
    lasting
        For how long, such as 30m, 2h, 90s; without it until it is set to normal.
    actor
        Who does it; you on this machine by default.
    json
        Print the new setting as JSON.
    """
    from eventhub import operations
    from eventhub.mode import Wanted

    if mode == "read-only" and not reason.strip():
        raise UsageError("--reason is needed for read-only; clients are told it")
    wanted = Wanted(
        mode="read_only" if mode == "read-only" else "normal",
        reason=reason,
        actor=actor or cluster.actor(),
        until=None if lasting is None else datetime.now(UTC) + _duration(lasting),
    )
    _show(operations.set_mode(settings(data_dir, config), wanted, say=say), as_json=json)


def _duration(text: str) -> timedelta:
    """30m, 2h, 90s, 1d. Raises UsageError."""
    shape = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if shape is None or int(shape[1]) == 0:
        raise UsageError(f"--for {text}: expected a number and s, m, h or d, such as 30m")
    return timedelta(seconds=int(shape[1]) * UNITS_S[shape[2]])


def _show(setting: object, *, as_json: bool) -> None:
    import msgspec

    shown = msgspec.to_builtins(setting)
    if as_json:
        data_json(shown)
        return
    data(shown["mode"])
    since = f" since {shown['since']}" if shown["since"] else ""
    until = f", until {shown['until']}" if shown["until"] else ""
    by = f", by {shown['actor']}" if shown["actor"] else ""
    why = f": {shown['reason']}" if shown["reason"] else ""
    say(printable(f"revision {shown['revision']}{since}{until}{by}{why}"))
