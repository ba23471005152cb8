"""How far a producer has come, in a file: what a program that starts again goes on from."""

import json
import os
from pathlib import Path

from eventhub_client.errors import CheckpointError


class CheckpointFile:
    """How many items, from the first on, the node has answered for. The file is replaced in one piece."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def read(self) -> int:
        """The number that was noted last; 0 when there is no file. Raises CheckpointError for another file."""
        try:
            done = json.loads(self._path.read_text())["done"]
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint {self._path} is broken; remove it to send all again") from error
        if not isinstance(done, int) or done < 0:
            raise CheckpointError(f"the checkpoint {self._path} says {done!r}; remove it to send all again")
        return done

    def write(self, done: int) -> None:
        """Note progress; it is on the disk when this returns. Raises OSError."""
        draft = self._path.with_name(self._path.name + ".new")
        with draft.open("w") as file:
            json.dump({"done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
