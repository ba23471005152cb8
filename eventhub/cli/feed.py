"""`feed replay`: a provider's file, in match time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from eventhub.cli.console import ConfigFile, DataDir, data, data_json, is_local, meter, say, settings
from eventhub.errors import NotFoundError, RejectedError, UsageError

if TYPE_CHECKING:
    from eventhub.cli import replay as engine
    from eventhub.config import Settings
    from eventhub.ingest.adapters import Adapter, Feed

FASTEST = 1e9


def replay(
    file: Path,
    *,
    provider: str,
    match_id: str,
    speed: Annotated[str, Parameter(help="Times match time, or max.")] = "1",
    node: str | None = None,
    key: str | None = None,
    admin_key: str | None = None,
    checkpoint: Path | None = None,
    again: bool = False,
    give_up_after: float = 300,
    json: bool = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Declare a match and send a provider's file as its source would. Resumes where it stopped.

    Parameters
    ----------
    file
        The provider's file.
    provider
        Its adapter: wyscout, lastrow, post, or one that is installed.
    match_id
        The match's id here. A file that does not say who plays needs a match that is declared.
    node
        The node's address; the local one by default.
    key
        A key of the provider's source; made for this run when the node is local.
    admin_key
        An admin key, to declare the match; made for this run when no key is given.
    checkpoint
        Where progress is noted; FILE.MATCH.checkpoint here by default.
    again
        Send all of it, whatever the checkpoint says.
    give_up_after
        Seconds without any answer after which to stop.
    json
        Print the summary as JSON.
    """
    from eventhub.cli import replay as engine
    from eventhub.ingest.adapters import load

    chosen = settings(data_dir, config)
    times = _speed(speed)
    known = load()
    if provider not in known:
        raise NotFoundError(f"there is no provider {provider!r}; known: {', '.join(known)}")
    adapter = known[provider]
    feed = adapter.read(file)
    engine.check_speed(feed, adapter.source, times)
    note = checkpoint or Path(f"{file.name}.{match_id}.checkpoint")
    if again:
        note.unlink(missing_ok=True)
    target = _target(chosen, node, adapter, match_id, key, admin_key)
    try:
        summary = asyncio.run(_run(feed, target, times, give_up_after, engine.Checkpoint(note, feed)))
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        raise
    for refusal in summary.refusals:
        say(f"refused: {refusal['code']} at {refusal['pointer'] or '/'}: {refusal['detail']}")
    result = {"match_id": match_id, "accepted": summary.accepted, "rejected": summary.rejected}
    if json:
        data_json(result)
    else:
        data(f"{match_id}: {summary.accepted} accepted, {summary.rejected} rejected")
    if summary.rejected:
        raise RejectedError(f"{summary.rejected} records were refused; everything else is sent")


def _speed(text: str) -> float:
    try:
        times = FASTEST if text == "max" else float(text)
    except ValueError:
        times = 0.0
    if times < 1:
        raise UsageError(f"--speed {text}: expected a number of at least 1, or max")
    return times


def _target(
    chosen: Settings, node: str | None, adapter: Adapter, match_id: str, key: str | None, admin_key: str | None
) -> engine.Target:
    from eventhub.cli import replay as engine

    if key is None:
        if node is not None and not is_local(node):
            raise UsageError(f"--key is needed for {node}: `eventhub keys create {adapter.source}` there")
        from eventhub import operations

        key = operations.create_key(chosen, adapter.source, say=say)
        admin_key = admin_key or operations.create_key(chosen, "admin", say=say)
    url = node or f"http://127.0.0.1:{chosen.http.port}"
    return engine.Target(url, adapter.provider, adapter.source, match_id, key, admin_key)


async def _run(
    feed: Feed, target: engine.Target, speed: float, give_up_after_s: float, checkpoint: engine.Checkpoint
) -> engine.Summary:
    import httpx2

    from eventhub.cli import replay as engine
    from eventhub.events import minute

    with meter() as bar:

        def progress(done: int, total: int, at: engine.Step) -> None:
            bar(target.match_id, done, total, f"minute {minute(at.period, at.clock_s) or ''}")

        async with httpx2.AsyncClient(timeout=engine.REQUEST_TIMEOUT_S) as http:
            sender = engine.Replay(
                http, target, speed=speed, give_up_after_s=give_up_after_s, progress=progress, say=say
            )
            start = await sender.declare(feed, datetime.now(UTC))
            plan = engine.steps(feed, target, start)
            done = checkpoint.read()[0]
            if done >= len(plan):
                say("this feed was sent to its end before; --again sends it once more")
            if target.admin_key is not None and not feed.dated:
                engine.check_start(plan, done, target, start, datetime.now(UTC), speed)
            return await sender.send(plan, checkpoint, dated=feed.dated)
