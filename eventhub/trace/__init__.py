"""Where one event has been: raw topics, the log, history, dead letters, and what followed from it. Reads only."""

from eventhub.trace.hops import Hop, Stored, Trace
from eventhub.trace.look import Scope, follow, look_up

__all__ = ["Hop", "Scope", "Stored", "Trace", "follow", "look_up"]
