"""Step 1 of the path: sources in over HTTP, raw topics out."""

from functools import partial

from starlette.routing import BaseRoute, Route

from eventhub.ingest import adapters
from eventhub.ingest.carrier import Carrier, sender
from eventhub.ingest.gate import Gate
from eventhub.ingest.known import Known
from eventhub.ingest.limits import Limits
from eventhub.ingest.matches import Registry, put_match
from eventhub.ingest.ports import Node
from eventhub.ingest.pressure import Lateness
from eventhub.ingest.routes import IngestRoutes
from eventhub.ingest.spool import Spool
from eventhub.ingest.window import Window

__all__ = [
    "Carrier",
    "Gate",
    "Known",
    "Lateness",
    "Limits",
    "Node",
    "Registry",
    "Spool",
    "Window",
    "adapters",
    "routes",
    "sender",
]


def routes(node: Node) -> list[BaseRoute]:
    """The routes of ingest on this node."""
    ingest = IngestRoutes(node)
    return [
        Route("/v1/ingest/status", ingest.status, methods=["GET"]),
        Route("/v1/ingest/{source}", ingest.post, methods=["POST"]),
        Route("/v1/ingest/{source}/{provider}", ingest.post, methods=["POST"]),
        Route("/v1/matches/{match_id}", partial(put_match, node), methods=["PUT"]),
    ]
