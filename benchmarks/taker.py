"""A subscriber of the hub that takes every frame; for measuring what comes before the client."""

from eventhub.delivery.frame import Frame


class Taker:
    """Takes frames, and keeps them where it is asked to."""

    def __init__(self, kept: list[Frame] | None = None) -> None:
        self._kept = kept

    def offer(self, frame: Frame) -> bool:
        """There is always room."""
        if self._kept is not None:
            self._kept.append(frame)
        return True

    def fall_behind(self) -> None:
        """Cannot be."""
        raise AssertionError("nothing was refused")
