"""Client of eventhub: `Client` follows channels over WebSocket, `Producer` sends events and loses none.

A client connects again by itself and goes on behind what it handed out last: each event of a channel comes once, in
the order of the log, over any number of connections.
"""

from eventhub_client.checkpoint import CheckpointFile
from eventhub_client.client import Client
from eventhub_client.errors import (
    CheckpointError,
    ClientError,
    ClosedError,
    GaveUpError,
    IngestError,
    LostError,
    RefusedError,
    RejectedError,
)
from eventhub_client.messages import Event, Message, Notice, Reset, Skipped, State
from eventhub_client.producer import Producer, Rejected
from eventhub_client.tokens import TokenProvider

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "CheckpointFile",
    "Client",
    "ClientError",
    "ClosedError",
    "Event",
    "GaveUpError",
    "IngestError",
    "LostError",
    "Message",
    "Notice",
    "Producer",
    "RefusedError",
    "Rejected",
    "RejectedError",
    "Reset",
    "Skipped",
    "State",
    "TokenProvider",
]
