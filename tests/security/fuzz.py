"""Uploads changed at random: each is read whole, in a forked child that has confined itself as the importer does.

    python -m tests.security.fuzz --seeds 2000 [--kinds onnx bundle …]

A seed is one upload. What may come of it: it is read, it is refused with a sentence, or the child ends (the parent of a
real import turns that into a sentence). What may not: code runs, or a file outside the child's scratch folder changes.
Linux and macOS, as it forks.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from compression.errors import ModelError
from compression.models.importers.confine import close_doors, limit_resources
from compression.models.importers.reader import read_upload
from compression.models.importers.sandbox import BASE_MEMORY_BYTES
from tests.security.hostile import CANARY, Files
from tests.security.sound import SOUND

SECONDS = 20  # of processor time for one upload; sound ones take a second
STRANGE = (None, -1, 0, 2**31, 2**70, "x", "../../etc/passwd", [], {}, True, 1e308, [[]], "__import__('os')")
READ, REFUSED, BROKE = 0, 1, 2  # exit status of a child


@dataclass
class Outcome:
    """What became of the uploads of a kind: how many of each, and sentences that are none."""

    counts: Counter = field(default_factory=Counter)
    unsaid: list[str] = field(default_factory=list)  # seed and error, where an importer didn't say what is wrong


def fuzz(kind: str, seeds: range, folder: Path) -> Outcome:
    """Read an upload for each seed. Raises AssertionError as soon as code ran or a file outside was touched."""
    _load_everything()
    canary = folder / CANARY
    sound = SOUND[kind](canary)
    guarded = folder / "guarded"
    guarded.mkdir(parents=True, exist_ok=True)
    (guarded / "file").write_text("as it was")
    outcome = Outcome()
    for seed in seeds:
        scratch = folder / "scratch"
        scratch.mkdir()
        end, said = read_apart(changed(sound, random.Random(f"{kind} {seed}")), scratch)
        outcome.counts[end] += 1
        if end == "broke":
            outcome.unsaid.append(f"seed {seed}: {said}")
        assert not canary.exists(), f"{kind}, seed {seed}: code from the upload ran"
        assert sorted(path.name for path in folder.iterdir()) == ["guarded", "scratch"], f"{kind}, seed {seed}"
        assert [path.read_text() for path in guarded.iterdir()] == ["as it was"], f"{kind}, seed {seed}"
        shutil.rmtree(scratch)
    return outcome


@functools.cache
def _load_everything() -> None:
    """What a read loads late, loaded once before the forks by reading a sound file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(SOUND["onnx"](Path(folder) / CANARY)["m.onnx"])
        read_upload({"m.onnx": path}, Path(folder) / "model")


def changed(files: Files, draw: random.Random) -> Files:
    """The upload with one of its files changed: bytes, a cut, a piece moved or repeated, or a value of its JSON."""
    name = draw.choice(sorted(files))
    ways: list[Callable[[bytes, random.Random], bytes]] = [_bytes, _bytes, _cut, _repeat, _zeros]
    if name.endswith(".json"):
        ways += [_json_value] * 4
    return files | {name: draw.choice(ways)(files[name], draw)}


def _bytes(data: bytes, draw: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 32)) if made else 0):
        made[draw.randrange(len(made))] = draw.randrange(256)
    return bytes(made)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[:draw.randrange(len(data) + 1)]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    begin, length, place = draw.randrange(len(data) + 1), draw.randrange(64), draw.randrange(len(data) + 1)
    return data[:place] + data[begin:begin + length] + data[place:]


def _zeros(data: bytes, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data) + 1)
    length = min(draw.choice((1, 4, 8, 64)), len(data) - begin)
    return data[:begin] + draw.choice((b"\0", b"\xff")) * length + data[begin + length:]


def _json_value(data: bytes, draw: random.Random) -> bytes:
    """One value of the JSON, at any depth, replaced by another of any kind."""
    content = json.loads(data)
    place = content
    while isinstance(place, dict | list) and place:
        key = draw.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.2:
            place[key] = draw.choice(STRANGE)
            break
        place = place[key]
    return json.dumps(content).encode()


def read_apart(files: Files, scratch: Path) -> tuple[str, str]:
    """How it ended in a child of its own ("read", "refused", "broke", "killed" or "slow"), and in which words."""
    paths = {}
    for place, (name, content) in enumerate(files.items()):
        paths[name] = scratch / f"{place}.upload"
        paths[name].write_bytes(content)
    said = scratch / "said.txt"
    child = os.fork()
    if child == 0:
        status = BROKE
        try:
            status = _read_here(paths, scratch, said)
        finally:
            os._exit(status)  # nothing of the parent's is run in the child
    _, ended = os.waitpid(child, 0)
    words = said.read_text() if said.exists() else ""
    if os.WIFSIGNALED(ended):
        number = os.WTERMSIG(ended)
        return ("slow" if number in (signal.SIGXCPU, signal.SIGKILL) else "killed"), signal.Signals(number).name
    return {READ: "read", REFUSED: "refused"}.get(os.WEXITSTATUS(ended), "broke"), words


def _read_here(paths: dict[str, Path], scratch: Path, said: Path) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries complain of
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    limit_resources(memory_bytes=BASE_MEMORY_BYTES, cpu_seconds=int(time.process_time()) + SECONDS,
                    file_bytes=64 << 20)
    close_doors()
    try:
        read_upload(paths, scratch / "model")
    except ModelError as refused:
        said.write_text(str(refused))
        return REFUSED
    except Exception as error:  # a sentence for the person all the same, but not one of the importer's own
        said.write_text(f"{type(error).__name__}: {str(error)[:300]}")
        return BROKE
    return READ


def main() -> int:
    """Fuzz every kind and print what became of it; 1 where code ran or a file was touched."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the seed to begin at")
    parser.add_argument("--kinds", nargs="*", choices=sorted(SOUND), default=sorted(SOUND))
    options = parser.parse_args()
    for kind in options.kinds:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            outcome = fuzz(kind, range(options.first, options.first + options.seeds), Path(folder))
        told = ", ".join(f"{count} {end}" for end, count in outcome.counts.most_common())
        print(f"{kind}: {told}; {time.monotonic() - began:.0f} s", *outcome.unsaid[:20], sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
