"""`users`: accounts, for operators. Works without a running node; a password comes from stdin or a prompt only."""

import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eventhub.cli.cluster import on_cluster
from eventhub.cli.console import ConfigFile, DataDir, data_json, data_rows, printable, say
from eventhub.errors import UsageError

if TYPE_CHECKING:  # at run time they are loaded where they are used, so that help does not wait for them
    from eventhub.accounts import Desk
    from eventhub.operations import Reached

T = TypeVar("T")


def create(name: str, *, plan: str = "free", data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Make a user.

    Parameters
    ----------
    name
        What the user logs in as.
    plan
        The plan that tokens carry.
    """
    password = _password()
    _at_desk(data_dir, config, lambda desk: desk.create(name, password, plan))
    say(printable(f"user {name} was made, with the plan {plan}"))


def show_list(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """List users.

    Parameters
    ----------
    json
        Print a JSON array.
    """
    found = _at_desk(data_dir, config, lambda desk: desk.users())
    if json:
        data_json([{**one._asdict(), "created_at": one.created_at.isoformat()} for one in found])
    elif found:
        head = ("name", "plan", "state", "created")
        rows = [
            (one.name, one.plan, "disabled" if one.disabled else "active", f"{one.created_at:%Y-%m-%d}")
            for one in found
        ]
        data_rows([head, *rows])
    say(f"{len(found)} user{'' if len(found) == 1 else 's'}")


def plan(name: str, plan: str, *, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Give a user a plan; tokens of before have it too from now on.

    Parameters
    ----------
    name
        Whose; of an issuer outside ISSUER|SUB.
    plan
        The plan.
    """
    _at_desk(data_dir, config, lambda desk: desk.set_plan(name, plan))
    say(printable(f"{name} has the plan {plan}"))


def disable(name: str, *, unknown: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Close an account, everywhere and at once.

    Parameters
    ----------
    name
        Whose; of an issuer outside ISSUER|SUB.
    unknown
        Also a name that no user has, such as one that `token create` was given.
    """
    found = _at_desk(data_dir, config, lambda desk: desk.disable(name, datetime.now(UTC), unknown=unknown))
    unsure = "" if found else "; PostgreSQL does not answer, so whether there is such a user was not checked"
    say(printable(f"{name} is disabled{unsure}"))


def enable(name: str, *, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Open an account again.

    Parameters
    ----------
    name
        Whose; of an issuer outside ISSUER|SUB.
    """
    _at_desk(data_dir, config, lambda desk: desk.enable(name, datetime.now(UTC)))
    say(printable(f"{name} may log in again"))


def password(name: str, *, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Change a password, and end every login of the user.

    Parameters
    ----------
    name
        Whose.
    """
    fresh = _password()
    _at_desk(data_dir, config, lambda desk: desk.set_password(name, fresh, datetime.now(UTC)))
    say(printable(f"the password of {name} was changed; every login of before is over"))


def _password() -> str:
    """Typed twice at a terminal, else the first line of stdin. Raises UsageError."""
    if sys.stdin.isatty():
        typed = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != typed:
            raise UsageError("the two passwords differ; nothing was changed")
        return typed
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise UsageError("no password came: type it at a terminal, or send it as one line on stdin")
    return given


def _at_desk(data_dir: Path | None, config: Path | None, work: "Callable[[Desk], Awaitable[T]]") -> T:
    """Work on the accounts as `account-events` has them now. Raises what the work raises, and UnavailableError."""
    from eventhub import people

    async def at(reached: "Reached") -> T:
        async with people.desk(reached) as desk:
            return await work(desk)

    return on_cluster(data_dir, config, at)
