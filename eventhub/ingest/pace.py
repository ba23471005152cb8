"""How much of sensors may be under way: less of it where it makes others wait. Pure, in the manner of LEDBAT.

LEDBAT (RFC 6817) is made for traffic that gives way to all other: a sender watches how much later its packets come
than on an empty path, widens its window while that is below a target, and narrows it above. Here two delays are
watched, that of sensors and that of broadcast, each from acceptance to this node's tail, and the worse one decides.
A window that is smaller than what is sent at once is kept by pauses.
"""

from collections import deque

PART = 32_768
"""The weight that is sent at once: what the stages of the path take in one go is not much more than that."""
LEAST, MOST = PART / 64, float(8 << 20)
GAIN = 0.05
"""By so much of what came through the window changes, at the most."""
SMOOTH = 0.1
KNOWN_S = 5.0
"""For so long the delay of broadcast says something."""
BASE_S, BASES, ENOUGH = 60.0, 10, 20
"""The delay of an empty path is that of the best of the last ten minutes, of those that had enough of it."""
WARM_S = 10.0
"""What comes so soon after the first is late because the node is cold, and says nothing of the empty path."""


class Delay:
    """A delay, smoothed, beside that of an empty path; it may be longer by `least_s` or by a `share` of that.

    Of a minute the empty path is the least delay, or with `mean` the mean: of what varies by itself the least is luck,
    and of the mean the first `WARM_S` are left out. Times in seconds.
    """

    def __init__(self, least_s: float, share: float, *, mean: bool) -> None:
        self.at = float("-inf")
        self._least_s, self._share, self._mean = least_s, share, mean
        self._smooth_s, self._first = 0.0, float("inf")
        self._minutes: deque[float] = deque(maxlen=BASES)
        self._minute, self._count, self._since = 0.0, 0, 0.0

    @property
    def base_s(self) -> float:
        """That of an empty path, 0 before the first."""
        return min(self._minutes, default=self._minute)

    def took(self, delay_s: float, now: float, *, clean: bool = True) -> None:
        """Something took so long; `clean`: with no sensors in its way."""
        self._first = min(self._first, now)
        if clean and not (self._mean and now - self._first < WARM_S):
            self._note(delay_s, now)
        self._smooth_s += (delay_s - self._smooth_s) * (SMOOTH if now - self.at < KNOWN_S else 1.0)
        self.at = now

    def off_target(self) -> float:
        """1 on an empty path, 0 at the target, down to -1 beyond it."""
        target_s = max(self._least_s, self._share * self.base_s)
        return min(1.0, max(-1.0, (target_s - (self._smooth_s - self.base_s)) / target_s))

    def _note(self, delay_s: float, now: float) -> None:
        if not self._count:
            self._minute, self._since = delay_s, now
        self._count += 1
        mean = self._minute + (delay_s - self._minute) / self._count
        self._minute = mean if self._mean else min(self._minute, delay_s)
        if now - self._since >= BASE_S and self._count >= ENOUGH:
            self._minutes.append(self._minute)
            self._count = 0


class Pace:
    """The windows of sensors, in weight: one for while broadcast comes as well, and a wider one for while it does not.

    What one has learned is kept while the other holds, so that the first goal after a quiet time does not wait.
    """

    def __init__(self) -> None:
        self._windows = {True: LEAST, False: float(PART)}
        # Positions may queue; of a goal's delay a twelfth is what they may cost.
        self._sensors = Delay(0.01, 1.0, mean=False)
        self._broadcast = Delay(0.0004, 1 / 12, mean=True)

    def window(self, now: float) -> float:
        """How much may be under way."""
        return self._windows[self.beside(now)]

    def pause_s(self, weight: int, now: float) -> float:
        """How long after the last part a part of this weight may follow, in seconds."""
        return self._sensors.base_s * max(0.0, weight / self.window(now) - 1)

    def broadcast_took(self, delay_s: float, now: float, *, clean: bool) -> None:
        """Broadcast came through the path; `clean`: no sensors were under way when it began."""
        self._broadcast.took(delay_s, now, clean=clean)

    def sensors_took(self, delay_s: float, now: float, weight: int, *, wanted: bool) -> None:
        """A part of sensors came through. `wanted`: one waits; a window that nobody fills says nothing of a wider."""
        self._sensors.took(delay_s, now)
        beside = self.beside(now)
        off = self._sensors.off_target()
        if beside:
            off = min(off, self._broadcast.off_target())
        if off > 0 and not wanted:
            return
        window = self._windows[beside]
        step = weight * (PART / window if window > PART else window / PART)
        self._windows[beside] = min(max(window + GAIN * off * step, LEAST), PART if beside else MOST)

    def beside(self, now: float) -> bool:
        """Whether broadcast comes as well."""
        return now - self._broadcast.at < KNOWN_S
