"""Valkey beside the nodes: found again by its settings, and gone with its folder."""

import shutil
from pathlib import Path

import pytest

from eventhub.embedded import valkey
from eventhub.embedded.lease import Process, Record, alive, stop, wait_for


def started(folder: Path) -> tuple[valkey.Home, Process]:
    home = valkey.Home(folder / "valkey", folder / "valkey.json")
    record = valkey.ensure(home, say=lambda _: None)
    assert record.process
    return home, record.process


def test_the_server_itself_is_found_by_its_settings_and_what_watches_it_is_not(tmp_path: Path) -> None:
    home, server = started(tmp_path)
    Record(Record.read(home.record).ports).write(home.record)
    assert valkey.running(home) == server
    assert valkey.answers(home, Record.read(home.record).ports["server"])
    stop(server, valkey.STOP_STEPS)
    assert valkey.running(home) is None


def ends_with_its_folder(folder: Path) -> None:
    home, server = started(folder)
    try:
        shutil.rmtree(home.folder)
        assert alive(server)
        assert wait_for(lambda: not alive(server), 5), "it lives on, and nobody knows of it"
    finally:
        stop(server, valkey.STOP_STEPS)


def test_a_server_whose_folder_was_deleted_ends(tmp_path: Path) -> None:
    ends_with_its_folder(tmp_path)


def test_mutant_nobody_watches_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "GUARDED", 'exec "$1" "$0"')
    with pytest.raises(AssertionError, match="it lives on"):
        ends_with_its_folder(tmp_path)
