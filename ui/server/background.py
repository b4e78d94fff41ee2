"""Work that no rerun of a page may wait for: started once for each key in a thread of the server, its outcome kept.

    task = BACKGROUND.ask(("inspection", digest), lambda: look_in_sandbox(files))
    if not task.done: …                  # draw that it is under way, and ask again from a fragment
    task.result()                        # what the work gave, or raises what it raised

Whoever asks with an equal key shares the task: a later rerun, a page loaded again, the binding of the same files.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from compression.spec.errors import RecPressError

AT_ONCE = 2  # a child that reads an upload may take gigabytes
KEPT = 64  # outcomes; the oldest go first
ABANDONED_S = 60.0  # a task that still waits for its turn is dropped when nobody asked for so long


@dataclass
class Task:
    """One piece of work; `asked` is when a page last looked at it, `began` when it was asked for first."""

    began: float
    asked: float
    done: bool = False
    value: Any = field(default=None, repr=False)
    error: Exception | None = None

    def result(self) -> Any:
        """What the finished work gave. Raises what it raised."""
        assert self.done
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self.value


class Background:
    """The tasks of one server process."""

    def __init__(self, *, at_once: int = AT_ONCE, kept: int = KEPT,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.kept = kept
        self.clock = clock
        self._tasks: dict[Hashable, Task] = {}
        self._lock = threading.Lock()
        self._turn = threading.Semaphore(at_once)

    def ask(self, key: Hashable, work: Callable[[], Any]) -> Task:
        """The task of this key; started now if there is none."""
        with self._lock:
            now = self.clock()
            task = self._tasks.get(key)
            if task is None:
                task = self._tasks[key] = Task(began=now, asked=now)
                # a daemon, so that the end of the server waits for no upload
                threading.Thread(target=self._do, args=(key, task, work), daemon=True, name="background").start()
            task.asked = now
            return task

    def forget(self, key: Hashable) -> None:
        """Drop a finished outcome, so that the next question does the work again."""
        with self._lock:
            if key in self._tasks and self._tasks[key].done:
                del self._tasks[key]

    def seconds(self, task: Task) -> float:
        """How long ago the task was asked for first."""
        return self.clock() - task.began

    def _do(self, key: Hashable, task: Task, work: Callable[[], Any]) -> None:
        with self._turn:
            with self._lock:
                if self.clock() - task.asked > ABANDONED_S:
                    del self._tasks[key]
                    return
            try:
                task.value = work()
            except Exception as error:
                if not isinstance(error, RecPressError):
                    traceback.print_exc()  # a fault of ours: the log has it, the page shows its type
                task.error = error
            with self._lock:
                task.done = True
                self._let_go()

    def _let_go(self) -> None:
        done = [key for key, task in self._tasks.items() if task.done]
        for key in sorted(done, key=lambda one: self._tasks[one].asked)[:max(0, len(done) - self.kept)]:
            del self._tasks[key]


BACKGROUND = Background()
