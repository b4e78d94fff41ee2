"""A wish to stop, which a signal may utter at any moment."""

from __future__ import annotations

import time

LOOK_S = 0.1


class Stop:
    """What a threading.Event is to threads, for handlers of signals.

    An Event's `set` holds a lock: a second signal that arrives meanwhile waits for it, in the same thread, for ever.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        self._asked = True

    def is_set(self) -> bool:
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Sleep so long, or until `set`; whether it was."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left))
        return self._asked
