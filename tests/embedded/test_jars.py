import hashlib
from pathlib import Path

import pytest

from eventhub.embedded.jars import KAFKA_VERSION, LOCK, default_cache, ensure, locked
from eventhub.errors import ConfigError, UnavailableError

CONTENT = b"a jar"
LINE = f"org.example:thing:1.0 {hashlib.sha256(CONTENT).hexdigest()} {len(CONTENT)}\n"


def silent(*_: object) -> None:
    pass


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """The cache's folder of a lock with one jar, already there."""
    folder = tmp_path / f"kafka-{KAFKA_VERSION}-{hashlib.sha256(LINE.encode()).hexdigest()[:8]}"
    folder.mkdir()
    (folder / "thing-1.0.jar").write_bytes(CONTENT)
    return folder


def test_jars_that_are_there_and_unaltered_are_the_class_path(cached: Path) -> None:
    (cached / "stray.jar").write_bytes(b"not locked")
    assert ensure(cached.parent, silent, lock_text=LINE) == [cached / "thing-1.0.jar"]


def test_a_jar_with_a_wrong_checksum_is_refused_with_both_sums_and_the_next_step(cached: Path) -> None:
    (cached / "thing-1.0.jar").write_bytes(b"another jar")
    with pytest.raises(ConfigError) as caught:
        ensure(cached.parent, silent, lock_text=LINE)
    for part in ("thing-1.0.jar", LINE.split()[1], hashlib.sha256(b"another jar").hexdigest(), f"delete {cached}"):
        assert part in caught.value.detail


def test_a_missing_jar_is_named(cached: Path) -> None:
    (cached / "thing-1.0.jar").unlink()
    with pytest.raises(ConfigError, match=r"thing-1\.0\.jar is missing in .* delete that folder"):
        ensure(cached.parent, silent, lock_text=LINE)


def test_a_fetch_that_fails_says_what_to_do_and_leaves_nothing_half_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens: no network
    (tmp_path / ".fetch-interrupted").mkdir()
    with pytest.raises(UnavailableError, match=r"thing-1\.0\.jar .* could not be fetched .* check the network"):
        ensure(tmp_path, silent, lock_text=LINE)
    assert [path.name for path in tmp_path.iterdir()] == ["fetch.lock"]


def test_the_lock_names_kafka_and_no_address() -> None:
    text = LOCK.read_text()
    assert "://" not in text
    jars = locked(text)
    assert ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION) in [jar[:3] for jar in jars]
    assert all(len(jar.sha256) == 64 and jar.size_bytes > 0 for jar in jars)
    assert len({jar.file for jar in jars}) == len(jars)


def test_the_cache_follows_the_users_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache({}) == tmp_path / ".cache" / "eventhub"
    assert default_cache({"XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/eventhub")
    assert default_cache({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / "eventhub"
