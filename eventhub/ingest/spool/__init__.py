"""The spool of ingest: what Kafka does not take at once, on this node's disk, in order."""

from eventhub.ingest.spool.segments import Spooled, Survey, claim, folders, survey
from eventhub.ingest.spool.spool import Spool, drain

__all__ = ["Spool", "Spooled", "Survey", "claim", "drain", "folders", "survey"]
