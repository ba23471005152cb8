"""`spool status` and `spool drain`: what waits on this machine's disk for Kafka, and sending it."""

from eventhub.cli.console import ConfigFile, DataDir, data, data_json, data_rows, meter, say, settings


def status(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Show the spool folders of the data folder: who holds them, and what waits in them.

    Parameters
    ----------
    json
        Print them as JSON.
    """
    from eventhub import operations

    found = operations.spooled(settings(data_dir, config))
    if json:
        data_json([one._asdict() for one in found])
        return
    if not found:
        say("nothing is spooled")
        return
    rows = [["folder", "held by", "records", "bytes", "oldest"]]
    for one in found:
        held = "a living node" if one.held else "nobody: the next node drains it, or `eventhub spool drain`"
        rows.append([one.name, held, str(one.records), str(one.size_bytes), one.oldest or ""])
    data_rows(rows)


def drain(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Send what dead nodes left in their spool folders to Kafka, and remove the folders.

    A living node drains by itself. What was sent before is dropped as a duplicate.

    Parameters
    ----------
    json
        Print the count as JSON.
    """
    from eventhub import operations

    with meter() as bar:
        count = operations.drain_spool(settings(data_dir, config), say=say, progress=bar)
    if json:
        data_json({"drained": count})
    else:
        data(f"{count} records drained")
