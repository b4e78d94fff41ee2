"""How fast pages answer with ten thousand runs in the database, for one person and for twenty at once.

    python benchmarks/dashboard.py [--runs 10000] [--sessions 20] [--seconds 60]

A real server is started on a database of its own, filled with fabricated runs (their numbers mean nothing, their
count does). Each session is a websocket client that speaks the browser's protocol: it moves a widget and waits until
the server says that the script has finished. So a time is the server's, with the messages on the wire, without the
browser's drawing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import websockets  # noqa: E402
from streamlit.proto.BackMsg_pb2 import BackMsg  # noqa: E402
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg  # noqa: E402

from benchmarks import report  # noqa: E402
from storage.access import LOCAL_ACCESS  # noqa: E402
from storage.engine import sqlite_url  # noqa: E402
from storage.store import open_store  # noqa: E402
from tests.ui.filled import fill_many  # noqa: E402

PAGES = ("compare", "runs", "experiment")
THINK_S = (2.0, 6.0)  # a person looks before moving something again
ALONE = 20  # reruns of each page with nobody else there


class Session:
    """One browser tab: a websocket on a page, with a toggle or text that can be moved."""

    def __init__(self, port: int, page: str) -> None:
        self.port, self.page = port, page
        self.widgets: dict[str, str] = {}  # label → id of toggles and text inputs
        self.count = 0

    async def open(self) -> float:
        """Connect and wait for the first full page; gives its seconds."""
        self.socket = await websockets.connect(f"ws://127.0.0.1:{self.port}/_stcore/stream", max_size=None,
                                               subprotocols=["streamlit"], open_timeout=60)
        message = BackMsg()
        message.rerun_script.page_name = self.page
        return await self._timed(message)

    async def move(self) -> float:
        """Move a widget of the page; gives the seconds until the script has finished."""
        self.count += 1
        message = BackMsg()
        message.rerun_script.page_name = self.page
        state = message.rerun_script.widget_states.widgets.add()
        if self.page == "compare":
            state.id, state.bool_value = self.widgets["log ↕"], bool(self.count % 2)
        else:
            label = {"runs": "Name or number", "experiment": "Name"}[self.page]
            state.id, state.string_value = self.widgets[label], f"int{4 if self.count % 2 else 8}"
        return await self._timed(message)

    async def close(self) -> None:
        await self.socket.close()

    async def _timed(self, message: BackMsg) -> float:
        started = time.perf_counter()
        await self.socket.send(message.SerializeToString())
        async for data in self.socket:
            answer = ForwardMsg.FromString(data)
            kind = answer.WhichOneof("type")
            if kind == "delta":
                self._remember(answer)
            elif kind == "script_finished":
                if answer.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                    raise RuntimeError(f"{self.page} does not compile")
                if answer.script_finished in (ForwardMsg.FINISHED_SUCCESSFULLY,
                                              ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY):
                    return time.perf_counter() - started
        raise RuntimeError("the server closed the connection")

    def _remember(self, answer: ForwardMsg) -> None:
        element = answer.delta.new_element
        kind = element.WhichOneof("type")
        if kind in ("checkbox", "text_input"):
            widget = getattr(element, kind)
            self.widgets[widget.label] = widget.id
        elif kind == "exception":
            raise RuntimeError(f"{self.page}: {element.exception.type}: {element.exception.message}")


@contextmanager
def server(home: Path) -> Iterator[int]:
    """The app on a free port over its own home folder; stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.address",
             "127.0.0.1", "--server.headless", "true", "--server.fileWatcherType", "none"],
            cwd=ROOT, stdout=log, stderr=log, env={**environment, "RECPRESS_HOME": str(home)})
        try:
            wait_ready(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def wait_ready(port: int, process: subprocess.Popen, seconds: float = 90) -> None:
    """Until the server answers. Raises RuntimeError if it ends or stays silent."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not answer in {seconds:.0f} s")


async def alone(port: int) -> dict[str, tuple[float, list[float]]]:
    """For each page: seconds of the first opening, and of moving a widget with nobody else there."""
    found = {}
    for page in PAGES:
        session = Session(port, page)
        first = await session.open()
        found[page] = first, [await session.move() for _ in range(ALONE)]
        await session.close()
    return found


async def together(port: int, sessions: int, seconds: float) -> dict[str, list[float]]:
    """Half the sessions on Compare, the rest on Runs and Experiment, each moving a widget now and then."""
    pages = ["compare" if index % 2 == 0 else PAGES[1 + index // 2 % 2] for index in range(sessions)]
    times: dict[str, list[float]] = {page: [] for page in PAGES}
    opened = [Session(port, page) for page in pages]
    await asyncio.gather(*(session.open() for session in opened))
    end = time.monotonic() + seconds

    async def person(session: Session, seed: int) -> None:
        draw = random.Random(seed)
        await asyncio.sleep(draw.uniform(0, THINK_S[1]))
        while time.monotonic() < end:
            times[session.page].append(await session.move())
            await asyncio.sleep(draw.uniform(*THINK_S))
        await session.close()

    await asyncio.gather(*(person(session, seed) for seed, session in enumerate(opened)))
    return times


def tables(single: dict[str, tuple[float, list[float]]], many: dict[str, list[float]], *, runs: int, sessions: int,
           seconds: float, load: float) -> str:
    """The two tables of the report, in seconds."""
    def quantiles(times: list[float]) -> list[str]:
        return [f"{np.quantile(times, share):.3f}" for share in (0.5, 0.95)]

    first = report.table(["page", "first opening, s", "rerun p50, s", "rerun p95, s", "reruns"], [
        [page, f"{opening:.3f}", *quantiles(times), len(times)] for page, (opening, times) in single.items()])
    second = report.table(["page", "rerun p50, s", "rerun p95, s", "slowest, s", "reruns"], [
        [page, *quantiles(times), f"{max(times):.3f}", len(times)] for page, times in many.items() if times])
    return (f"{runs:,} finished runs in SQLite. Seconds from moving a widget until the server says the script has "
            f"finished, over a websocket. Load of the machine by others at the start: {load:.1f}.\n\n"
            f"## One person\n\n{first}\n\n"
            f"## {sessions} sessions at once for {seconds:.0f} s\n\nHalf on Compare; each moves a widget every "
            f"{THINK_S[0]:g} to {THINK_S[1]:g} s.\n\n{second}")


def at_least(least: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    """An option's value that has to be `least` or more; argparse says so."""
    def parsed(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"has to be at least {least:g}; got {text}")
        return value

    return parsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=at_least(1, int), default=10_000)
    parser.add_argument("--sessions", type=at_least(1, int), default=20)
    # nobody has moved anything before the longest pause is over
    parser.add_argument("--seconds", type=at_least(THINK_S[1], float), default=60)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = open_store(LOCAL_ACCESS, url=sqlite_url(home / "recpress.db"), root=home)
        fill_many(store, options.runs)
        store.close()
        with server(home) as port:
            single = asyncio.run(alone(port))
            many = asyncio.run(together(port, options.sessions, options.seconds))
    report.write("dashboard", "Pages with many runs and many people",
                 tables(single, many, runs=options.runs, sessions=options.sessions, seconds=options.seconds, load=load),
                 command="python benchmarks/dashboard.py")


if __name__ == "__main__":
    main()
