"""`events tail`: a channel, live; reconnects with its cursor."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from eventhub.cli.console import ConfigFile, DataDir, is_local, quiet_stdout, say, settings
from eventhub.errors import UsageError


def tail(
    channel: str,
    *,
    start: Annotated[str | None, Parameter(name="--from", help="start, or a cursor.")] = None,
    count: int | None = None,
    json: bool = False,
    node: str | None = None,
    token: str | None = None,
    give_up_after: float = 60,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Follow a channel such as match:ID or team:ID. Without --from: its state, then what follows.

    Parameters
    ----------
    channel
        The channel's name.
    count
        Stop after this many events.
    json
        Print each event message as it came, one a line.
    node
        The node's address; the local one by default.
    token
        An access token; made here when the node is local.
    give_up_after
        Seconds without a connection after which to stop.
    """
    chosen = settings(data_dir, config)
    address = node or f"http://127.0.0.1:{chosen.http.port}"
    if token is None and not is_local(address):
        raise UsageError(f"--token is needed for {address}: `eventhub token create` there")

    def fresh_token() -> str:
        if token is not None:
            return token
        from eventhub import operations

        return operations.create_token(chosen, user="local", plan="free")

    from eventhub.cli.follow import Follower

    follower = Follower(address, channel, start, count, as_json=json)
    try:
        asyncio.run(follower.run(fresh_token, give_up_after_s=give_up_after))
    except BrokenPipeError:
        quiet_stdout()
    except KeyboardInterrupt:
        if follower.cursor is not None:
            say(f"stopped; --from {follower.cursor} goes on from here")
        raise
