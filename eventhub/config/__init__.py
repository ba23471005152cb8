"""Every setting, and the one way to load them."""

from eventhub.config.load import Entry, fields, load
from eventhub.config.tree import Admin, Delivery, Http, Ingest, Kafka, Postgres, Settings, Spool, Streams

__all__ = [
    "Admin",
    "Delivery",
    "Entry",
    "Http",
    "Ingest",
    "Kafka",
    "Postgres",
    "Settings",
    "Spool",
    "Streams",
    "fields",
    "load",
]
