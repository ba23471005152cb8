"""Every setting, and the one way to load them."""

from eventhub.config.load import Effective, Entry, explain, fields, load
from eventhub.config.template import template
from eventhub.config.tree import Admin, Delivery, Http, Ingest, Issuer, Kafka, Postgres, Redis, Settings, Spool, Streams

__all__ = [
    "Admin",
    "Delivery",
    "Effective",
    "Entry",
    "Http",
    "Ingest",
    "Issuer",
    "Kafka",
    "Postgres",
    "Redis",
    "Settings",
    "Spool",
    "Streams",
    "explain",
    "fields",
    "load",
    "template",
]
