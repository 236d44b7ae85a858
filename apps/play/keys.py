"""The newest keys: the one thing that the network hands to the model thread without a queue."""

import threading

from .wire import BadMessage


class Keys:
    """The newest held action, written by the network and read by the model thread.

    A tap shorter than a frame still reaches the world: it is used once before what is held now.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._count = 1
        self.clear()

    def clear(self, count: int | None = None) -> None:
        """Let go of everything; `count` is how many actions there are from now on."""
        with self._lock:
            self._pressed, self._tap, self._stamp = 0, 0, None
            self._count = count or self._count

    def press(self, action: int, stamp: float) -> None:
        """`action` is held from this moment on (0: nothing); `stamp` is the page's clock in ms."""
        with self._lock:
            if action >= self._count:
                raise BadMessage(f"act: action {action} is not below {self._count}")
            self._pressed = action
            self._tap = action or self._tap
            self._stamp = stamp if self._stamp is None else self._stamp

    def read(self) -> tuple[int, float | None]:
        """The action for the next frame, and the stamp of the first press that no frame has answered yet."""
        with self._lock:
            action, stamp = self._tap or self._pressed, self._stamp
            self._tap, self._stamp = 0, None
            return action, stamp
