"""`trace`: where one event has been, hop by hop."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import Parameter

from eventhub.cli.cluster import on_cluster
from eventhub.cli.console import ConfigFile, DataDir, data_json, data_rows, printable, say
from eventhub.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from eventhub.operations import Reached
    from eventhub.trace import Hop, Stored, Trace


def trace(
    event_id: str,
    *,
    match: Annotated[
        str | None, Parameter(help="The event's match, where it is known: only its partition is read.")
    ] = None,
    json: bool = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Show every place of an event. Works while Postgres is down.

    Parameters
    ----------
    event_id
        The event's id, as ingest answered it.
    json
        Print it as JSON.
    """
    try:
        wanted = UUID(event_id)
    except ValueError as error:
        raise UsageError(f"{event_id!r} is no event id; ingest answers it, such as 1f0e…-…") from error

    async def work(at: "Reached") -> "Trace":
        from eventhub import dead_letters, kafka
        from eventhub import trace as tracing

        history = await _ask(at.postgres, wanted)
        letters = await dead_letters.read(at.kafka, at.partitions)
        offsets = kafka.Offsets(at.kafka)
        await offsets.open()
        try:
            scope = tracing.Scope(at.kafka, offsets, kafka.Partitioner(at.partitions), at.declared.epoch, match)
            return await tracing.follow(scope, wanted, history=history, letters=letters)
        finally:
            await offsets.close()

    found = on_cluster(data_dir, config, work)
    if json:
        import msgspec

        data_json(msgspec.to_builtins(found))
        return
    data_rows(_rows(found.hops))
    head = " ".join(filter(None, (found.event_id, found.type, found.match_id and f"of {found.match_id}")))
    since = "" if found.accepted_at is None else f"accepted {_time(found.accepted_at)}, "
    say(printable(f"{head}: {since}{found.verdict}; duplicates dropped: {found.duplicates}"))


async def _ask(dsn: str, event_id: UUID) -> "Stored | UnavailableError | None":
    """What history says, or why it says nothing."""
    import logging

    from eventhub import storage, trace

    # The pool tells of each failed connection; we tell once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    pool = storage.Pool(dsn, "trace", size=1, statement_timeout_s=10)
    await pool.open()
    try:
        return await trace.look_up(pool, event_id)
    except UnavailableError as error:
        return error
    finally:
        await pool.close()


def _rows(hops: Sequence["Hop"]) -> Iterator[Sequence[str]]:
    yield ("HOP", "PLACE", "TIME", "STEP MS", "TOTAL MS", "")
    for hop in hops:
        where = f"[{hop.partition}]@{hop.offset}" if hop.partition is not None else ""
        time = "-" if hop.at is None else _time(hop.at)
        yield (hop.hop, hop.place + where, time, _ms(hop.step_ms), _ms(hop.total_ms), hop.note)


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"
