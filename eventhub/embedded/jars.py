"""Kafka's jars: fetched once by jgo into a cache that data folders share, and checked against the lock file every time.

The lock file has a line for each jar: `group:artifact:version sha256 bytes`. A folder of the cache is named after the
lock, so jars of another lock never replace those under a running broker.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from eventhub.errors import ConfigError, UnavailableError

KAFKA_VERSION = "4.3.1"
LOCK = Path(__file__).with_name("kafka-jars.lock")
ATTEMPTS = 3
AT_ONCE = 6

Progress = Callable[[str, int, int], None]


class Jar(NamedTuple):
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def locked(text: str) -> list[Jar]:
    """The jars of a lock file, in its order, which is the order of the class path."""
    jars = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256, size = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, sha256, int(size)))
    return jars


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """eventhub's folder in the user's cache folder (XDG base directories)."""
    shared = environ.get("XDG_CACHE_HOME") or ""
    return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "eventhub"


def ensure(cache: Path, progress: Progress, *, lock_text: str | None = None) -> list[Path]:
    """The class path: every jar of the lock, there and unaltered. Fetches them the first time (44 MB), blocking.

    `progress(label, done, total)` counts bytes while they come. Raises UnavailableError when they cannot be fetched,
    ConfigError when a jar is not what the lock says.
    """
    text = LOCK.read_text() if lock_text is None else lock_text
    jars = locked(text)
    folder = cache / f"kafka-{KAFKA_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if not folder.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the cache folder {cache} cannot be made: {error.strerror}; set EVENTHUB_CACHE_DIR to one that can"
            ) from error
        with (cache / "fetch.lock").open("wb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not folder.is_dir():
                _fetch(jars, folder, progress)
    for jar in jars:
        check(folder / jar.file, jar)
    return [folder / jar.file for jar in jars]


def check(path: Path, jar: Jar) -> None:
    """Raises ConfigError unless the file is exactly the jar that the lock names."""
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{jar.file} is missing in {path.parent}; delete that folder and start again") from error
    if actual != jar.sha256:
        raise ConfigError(
            f"{jar.file} is not the jar that was locked: expected sha256 {jar.sha256}, found {actual}; "
            f"delete {path.parent} and start again"
        )


def _fetch(jars: list[Jar], folder: Path, progress: Progress) -> None:
    for left in folder.parent.glob(".fetch-*"):  # of a fetch that was interrupted; nobody else fetches now
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as name:
        fresh = Path(name) / "jars"
        fresh.mkdir()
        _download(jars, Path(name) / "repository", fresh, progress)
        fresh.rename(folder)


def _download(jars: list[Jar], repository: Path, fresh: Path, progress: Progress) -> None:
    # jgo takes 0.2 s to import, and is needed once in a machine's life.
    from jgo.maven import MavenContext, PythonResolver

    total, done, guard = sum(jar.size_bytes for jar in jars), 0, Lock()

    @contextmanager
    def counting(_file: str, _size: int) -> Iterator[Callable[[int], None]]:
        def count(size: int) -> None:
            nonlocal done
            with guard:
                done += size
                progress(f"Apache Kafka {KAFKA_VERSION}", min(done, total), total)

        yield count

    context = MavenContext(PythonResolver(progress_callback=counting), repo_cache=repository)

    def get(jar: Jar) -> None:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                path = artifact.resolve()
                break
            except (OSError, RuntimeError) as error:
                if artifact.cached_path:
                    artifact.cached_path.unlink(missing_ok=True)
                if attempt == ATTEMPTS:
                    raise UnavailableError(
                        f"{jar.file} of Apache Kafka {KAFKA_VERSION} could not be fetched ({type(error).__name__}); "
                        "check the network and start again, or set EVENTHUB_KAFKA__BOOTSTRAP_SERVERS"
                    ) from error
        check(path, jar)
        path.rename(fresh / jar.file)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for _ in pool.map(get, jars):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
