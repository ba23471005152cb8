"""`python -m eventhub.documents DIR` writes the pages of the reference into a folder."""

import sys
from pathlib import Path

from eventhub.documents.reference import pages


def write(folder: Path) -> None:
    """Write every page; what is there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m eventhub.documents DIR")
    write(Path(sys.argv[1]))
