"""Work beside the pages: once for each key, a few at a time, outcomes kept, what nobody waits for dropped."""

from __future__ import annotations

import threading
import time

import pytest

from compression.spec.errors import ModelError
from ui.server import background
from ui.server.background import Background


def wait_until(holds) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def wait_for(task) -> None:
    wait_until(lambda: task.done)


def test_equal_keys_share_one_piece_of_work_and_its_outcome():
    tasks, done = Background(), []
    gate = threading.Event()
    first = tasks.ask("a", lambda: (gate.wait(60) and done.append("a")) or "found")
    assert tasks.ask("a", lambda: done.append("again")) is first and not first.done
    gate.set()
    wait_for(first)
    assert tasks.ask("a", lambda: done.append("again")).result() == "found" and done == ["a"]


def test_what_the_work_raises_is_raised_each_time_until_it_is_forgotten():
    tasks = Background()

    def refuse():
        raise ModelError("broken")

    wait_for(tasks.ask("a", refuse))
    for _ in range(2):
        with pytest.raises(ModelError, match="broken"):
            tasks.ask("a", refuse).result()
    tasks.forget("a")
    second = tasks.ask("a", lambda: 5)
    wait_for(second)
    assert second.result() == 5


def test_no_more_run_at_once_than_allowed_and_a_running_one_is_never_forgotten():
    tasks, gate, running = Background(at_once=1), threading.Event(), []

    def work(name):
        running.append(name)
        gate.wait(60)

    first = tasks.ask("a", lambda: work("a"))
    wait_until(lambda: running)
    second = tasks.ask("b", lambda: work("b"))
    tasks.forget("a")
    assert tasks.ask("a", lambda: work("a again")) is first and running == ["a"]
    gate.set()
    wait_for(second)
    assert running == ["a", "b"]


def test_a_task_that_waits_for_its_turn_is_dropped_when_nobody_asked_for_a_while():
    now, gate, holds, begun = [0.0], threading.Event(), threading.Event(), []
    tasks = Background(at_once=1, clock=lambda: now[0])
    tasks.ask("a", lambda: holds.set() or gate.wait(60))
    assert holds.wait(60)
    tasks.ask("left", lambda: begun.append("left"))
    tasks.ask("followed", lambda: begun.append("followed"))
    now[0] = background.ABANDONED_S + 1
    followed = tasks.ask("followed", lambda: None)
    gate.set()
    wait_for(followed)
    wait_until(lambda: "left" not in tasks._tasks)
    left = tasks.ask("left", lambda: begun.append("left, asked again"))
    wait_for(left)
    assert begun == ["followed", "left, asked again"]


def test_the_outcomes_nobody_asked_for_longest_go_first():
    now = [0.0]
    tasks = Background(kept=2, clock=lambda: now[0])
    for name in "abc":
        now[0] += 1
        wait_for(tasks.ask(name, lambda name=name: name))
    again = []
    for name in "cb":
        tasks.ask(name, lambda name=name: again.append(name))
    wait_for(tasks.ask("a", lambda: again.append("a")))
    assert again == ["a"]
