"""A node that ended uncleanly is waited for before its slot joins a group again; one that left is not."""

import os
import time
from pathlib import Path

from eventhub.streams import Slot


def test_nodes_on_one_folder_have_slots_of_their_own(tmp_path: Path) -> None:
    one, two = Slot(tmp_path), Slot(tmp_path)
    assert (one.number, two.number) == (0, 1)
    one.leave()
    assert Slot(tmp_path).number == 0
    two.leave()


def test_a_slot_that_was_left_need_not_wait(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.touch()
    slot.leave()
    assert Slot(tmp_path).wait_s(10) == 0


def test_a_slot_whose_node_died_waits_until_its_session_is_over(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.touch()
    # The kernel drops the lock of a process that dies, and nothing removes the sign of life.
    os.close(slot._lock)
    again = Slot(tmp_path)
    assert again.number == 0
    assert 9 < again.wait_s(10) <= 11
    os.utime(tmp_path / "run" / "node-0.alive", (time.time() - 60, time.time() - 60))
    assert again.wait_s(10) == 0
    again.leave()
