"""A progress bar on stderr without dependencies, for the device; silent without a terminal."""

import sys
import time

_WIDTH = 24
_INTERVAL = 0.1  # seconds between two drawings


class Progress:
    """`with Progress("evaluate", total, "image") as bar: bar.advance(n)`."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._start = time.perf_counter()
        self._drawn = 0.0
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def advance(self, count: int = 1) -> None:
        """Counts `count` further units as done."""
        self._done += count
        now = time.perf_counter()
        if self._shown and (now - self._drawn >= _INTERVAL or self._done == self._total):
            self._drawn = now
            sys.stderr.write("\r" + self._line(now - self._start) + "\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Empties the bar's line, so that a message can stand there."""
        if self._shown and self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds if seconds > 0 else 0.0
        left = (self._total - self._done) / rate if rate else 0.0
        done = "{}/{}".format(self._done, self._total)
        return self._drawing(self._done / self._total, done, rate, left)

    def _drawing(self, share: float, done: str, rate: float, left: float) -> str:
        filled = int(_WIDTH * share)
        return "{} [{}{}] {} {:.1f} {}s/s, {:d}:{:02d} left".format(
            self._title,
            "#" * filled,
            "." * (_WIDTH - filled),
            done,
            rate,
            self._unit,
            *divmod(int(left + 0.5), 60),
        )


class TimedProgress(Progress):
    """Progress of something that lasts a number of seconds: the bar follows the clock, not what is
    done."""

    def __init__(self, title: str, seconds: float, unit: str) -> None:
        super().__init__(title, 0, unit)
        self._seconds = seconds

    def _line(self, seconds: float) -> str:
        share = min(seconds / self._seconds, 1.0)
        rate = self._done / seconds if seconds > 0 else 0.0
        return self._drawing(share, str(self._done), rate, (1 - share) * self._seconds)
