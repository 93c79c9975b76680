"""How one thread hands things to another."""

import threading
from collections import deque
from typing import Deque, Generic, Optional, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """A queue of at most `capacity` items, for one thread that puts and one that gets.

    When it is full, `put` waits; with `newest_wins` it never does: the oldest item makes room, and
    is counted in `dropped`.
    """

    def __init__(self, capacity: int, newest_wins: bool = False) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._items: Deque[T] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Adds an item; returns False when the queue is closed and the item was not taken."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._closed:
                if self._newest_wins:
                    self._items.popleft()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, seconds: Optional[float] = None) -> Optional[T]:
        """The oldest item; None when it is closed and empty, or when `seconds` have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, seconds)
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    def close(self) -> None:
        """Says that nothing more comes; what is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def discard(self) -> None:
        """Says that nothing more comes, and drops what is there."""
        with self._changed:
            self._items.clear()
            self.close()

    @property
    def finished(self) -> bool:
        """Whether the queue is closed and empty."""
        with self._changed:
            return self._closed and not self._items
