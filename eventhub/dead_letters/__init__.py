"""Dead letters: what no step could process, read back from `dlq-events`, sent again at the failed step, or put away.

A letter is written by the step that failed, with the raw bytes, under the key of its origin (topic.partition.offset),
and again whenever that step redoes its batch; here it counts once. Its end is a record under the same key without a
value: headers `state`, `attempts`, `by`, `at`, `reason`. A record that is sent again carries the first origin's key
(`of`) and the number of the try (`attempts`) behind its own headers, so that all its tries are one letter.
"""

from eventhub.dead_letters.again import discard, read, replay, value
from eventhub.dead_letters.letters import ENDS, Depth, Fold, Letter, Standing, State, Wanted, depth, find, select

__all__ = [
    "ENDS",
    "Depth",
    "Fold",
    "Letter",
    "Standing",
    "State",
    "Wanted",
    "depth",
    "discard",
    "find",
    "read",
    "replay",
    "select",
    "value",
]
