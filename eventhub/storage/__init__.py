"""The one door to PostgreSQL: pools, migrations, writing history, reading history."""

from eventhub.storage.accounts import AccountStore, Family, Offer, Turn, User
from eventhub.storage.history import HistoryWriter, Row, Stand, is_data_error
from eventhub.storage.migrations import migrate
from eventhub.storage.pools import Pool
from eventhub.storage.probe import Probe
from eventhub.storage.reads import HistoryReader, Stored

__all__ = [
    "AccountStore",
    "Family",
    "HistoryReader",
    "HistoryWriter",
    "Offer",
    "Pool",
    "Probe",
    "Row",
    "Stand",
    "Stored",
    "Turn",
    "User",
    "is_data_error",
    "migrate",
]
