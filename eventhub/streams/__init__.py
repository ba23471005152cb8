"""Steps 2, 4 and 5 of the path: the stream families, each a Faust App with a consumer group of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from eventhub import topics
from eventhub.events import Match
from eventhub.kafka import Declared, Kafka, Offsets, Writer
from eventhub.record import TellCut
from eventhub.storage import HistoryWriter
from eventhub.streams import aggregation, enrichment
from eventhub.streams.history import History
from eventhub.streams.progress import Report
from eventhub.streams.slot import Slot
from eventhub.streams.stage import Family, Stage

__all__ = ["FAMILIES", "Node", "Report", "Slot", "Stage", "stages"]

FAMILIES = ("enrichment", "history", "aggregation")


class Node(NamedTuple):
    """What the families are given by the composition root; times in seconds."""

    kafka: Kafka
    offsets: Offsets
    declared: Declared
    registry: Mapping[str, Match]
    catch_up_registry: Callable[[], Awaitable[None]]
    dead_letters: Writer
    history: HistoryWriter
    writable: Callable[[], Awaitable[None]]
    name: str
    session_timeout_s: float
    fence_refresh_s: float
    snapshot_s: float
    data_dir: Path
    log_was_cut: TellCut


def stages(node: Node, families: list[str]) -> list[Stage]:
    """The named families in path order, not yet running."""
    enrich = enrichment.Surroundings(
        node.kafka,
        node.offsets,
        node.declared,
        node.registry,
        node.catch_up_registry,
        node.dead_letters,
        node.name,
        node.fence_refresh_s,
        node.snapshot_s,
        asyncio.Lock(),
        node.log_was_cut,
    )
    aggregate = aggregation.Surroundings(node.kafka, node.declared, node.registry, node.catch_up_registry, node.name)
    known = {
        "enrichment": Family("enrichment", topics.RAW, lambda p: enrichment.Enrichment(p, enrich)),
        "history": Family(
            "history",
            (topics.LOG,),
            lambda p: History(p, node.history, node.offsets, node.writable, node.log_was_cut),
            0.1,
            needs=("kafka", "postgres", "mode"),
        ),
        "aggregation": Family(
            "aggregation",
            (topics.LOG,),
            lambda p: aggregation.Aggregation(p, aggregate, refresh_s=node.fence_refresh_s),
            0.02,
        ),
    }
    return [
        Stage(
            known[name],
            kafka=node.kafka,
            offsets=node.offsets,
            session_timeout_s=node.session_timeout_s,
            data_dir=node.data_dir,
        )
        for name in known
        if name in families
    ]
