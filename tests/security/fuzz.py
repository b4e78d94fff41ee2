"""Uploads changed at random: each is read whole, in a forked child that has confined itself as the importer does.

    python -m tests.security.fuzz --seeds 2000 [--kinds onnx bundle …] [--state FILE [--page]]

A seed is one upload. What may come of it: it is read, it is refused with a sentence, or the child ends (the parent of a
real import turns that into a sentence). What may not: code runs, or a file outside the child's scratch folder changes.
Landlock is left out, so that a payload that ran would be seen. With `--state`, seeds that are done are not done again;
with `--page`, docs/results/fuzz.md is written from the file. Linux and macOS, as it forks. Run it in a process of its
own: a child starts with the memory and the open files of its parent, and both are bounded.
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
from dataclasses import dataclass, field
from pathlib import Path

from onnxscript._framework_apis import torch_2_5

from benchmarks import report
from compression.importers import description
from compression.importers.reader import read_upload
from compression.importers.sandbox.hardening import close_doors, limit_resources
from compression.importers.sandbox.process import BASE_MEMORY_BYTES
from compression.spec.errors import ModelError
from tests.security.changes import changed
from tests.security.hostile import CANARY, Files
from tests.security.sound import SOUND

SECONDS = 20  # of processor time for one upload; sound ones take a second
EXPORTED = 10  # of so many models that were read, one is exported as an import does to tell its bytes: that is slow
AT_ONCE = 100  # seeds between two writings of the state
READ, REFUSED, BROKE = 0, 1, 2  # exit status of a child
WHY = {"keras weights, seed 375": "the length of a text in HDF5's heap of texts (1 byte, at 4048) leads HDF5 2.0 to an "
                                  "entry of length 0, at which it walks on the spot; only the limit of processor time "
                                  "ends that"}


@dataclass
class Outcome:
    """What became of the uploads of a kind: how many of each, and sentences that are none."""

    counts: Counter = field(default_factory=Counter)
    unsaid: list[str] = field(default_factory=list)  # seed, end and error, where no importer said what is wrong


def fuzz(kind: str, seeds: range, folder: Path) -> Outcome:
    """Read an upload for each seed.

    Raises AssertionError as soon as code ran or a file outside was touched, and if the sound upload is not read.
    """
    canary = folder / CANARY
    sound = SOUND[kind](canary)
    _load(kind)
    with tempfile.TemporaryDirectory() as scratch:
        assert (end := read_apart(sound, Path(scratch))) == ("read", ""), f"{kind}, unchanged: {end}"
    guarded = folder / "guarded"
    guarded.mkdir(parents=True, exist_ok=True)
    (guarded / "file").write_text("as it was")
    outcome = Outcome()
    for seed in seeds:
        scratch = folder / "scratch"
        scratch.mkdir()
        end, said = read_apart(changed(sound, random.Random(f"{kind} {seed}")), scratch, export=seed % EXPORTED == 0)
        outcome.counts[end] += 1
        if end not in ("read", "refused"):
            outcome.unsaid.append(f"seed {seed} {end}: {said}")
        assert not canary.exists(), f"{kind}, seed {seed}: code from the upload ran"
        assert sorted(path.name for path in folder.iterdir()) == ["guarded", "scratch"], f"{kind}, seed {seed}"
        assert [path.read_text() for path in guarded.iterdir()] == ["as it was"], f"{kind}, seed {seed}"
        shutil.rmtree(scratch)
    return outcome


@functools.cache
def _load(kind: str) -> None:
    """What reading this kind loads late, loaded once before the forks by reading a sound file.

    The exporter's table of operators too, which it would build anew for every file (half of a reading's time).
    """
    torch_2_5.get_torchlib_ops = functools.cache(torch_2_5.get_torchlib_ops)
    with tempfile.TemporaryDirectory() as folder:
        given = lay_out(SOUND[kind](Path(folder) / CANARY), Path(folder))
        read_upload(given, Path(folder) / "model")
        assert not (Path(folder) / CANARY).exists(), f"{kind}: code from the upload ran"


def lay_out(files: Files, folder: Path) -> dict[str, Path]:
    """Write files under names of ours; gives name → path."""
    paths = {}
    for place, (name, content) in enumerate(files.items()):
        paths[name] = folder / f"{place}.upload"
        paths[name].write_bytes(content)
    return paths


def read_apart(files: Files, scratch: Path, *, export: bool = True) -> tuple[str, str]:
    """How it ended in a child of its own ("read", "refused", "broke", "killed" or "slow"), and in which words."""
    paths = lay_out(files, scratch)
    said = scratch / "said.txt"
    child = os.fork()
    if child == 0:
        status = BROKE
        try:
            if not export:
                description.exported_graph_bytes = lambda *given: 0
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
    """Fuzz every kind and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--kinds", nargs="*", choices=sorted(SOUND), default=sorted(SOUND))
    parser.add_argument("--state", type=Path, help="keeps what is done, so that a later call goes on from it")
    parser.add_argument("--page", action="store_true", help="write docs/results/fuzz.md from the state")
    options = parser.parse_args()
    state = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    for kind in options.kinds:
        done = state.setdefault(kind, {"seeds": 0, "counts": {}, "unsaid": [], "seconds": 0.0})
        while done["seeds"] < options.seeds:
            seeds = range(done["seeds"], min(done["seeds"] + AT_ONCE, options.seeds))
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                outcome = fuzz(kind, seeds, Path(folder))
            done |= {"seeds": seeds.stop, "counts": dict(Counter(done["counts"]) + outcome.counts),
                     "unsaid": done["unsaid"] + outcome.unsaid,
                     "seconds": done["seconds"] + time.monotonic() - began}
            if options.state:
                options.state.write_text(json.dumps(state, indent=1))
        told = ", ".join(f"{count} {end}" for end, count in sorted(done["counts"].items()))
        print(f"{kind}: {told}; {done['seconds']:.0f} s", *done["unsaid"][:20], sep="\n  ", flush=True)
    if options.page:
        write(state, seeds=options.seeds)
    return 0


def write(state: dict[str, dict], *, seeds: int) -> Path:
    """docs/results/fuzz.md: how many uploads of each kind were read, refused, or ended otherwise."""
    ends = ("read", "refused", "broke", "killed", "slow")
    kinds = sorted(state.items())
    rows = [[kind, done["seeds"], *(done["counts"].get(end, 0) for end in ends)] for kind, done in kinds]
    unsaid = [_explained(f"{kind}, {said}") for kind, done in kinds for said in done["unsaid"]]
    total = sum(row[1] for row in rows)
    body = "\n\n".join([
        f"{total:,} uploads, each changed at random by its seed and read whole in a confined child. No code ran and no "
        "file outside the child's folder was touched: the first such seed ends the run.",
        report.table(["kind of upload", "seeds", *ends], rows),
        f"One of {EXPORTED} models that were read is exported too, as an import does to tell its bytes.",
        "read: the change did no harm, or made another model. refused: with a sentence of the importer. broke: an "
        "error of a library; the person reads that the file could not be read, and the error. killed, slow: the child "
        "ended by a signal or by its time, and the import says so.",
        *(["\n".join(["Ended otherwise:", "", *unsaid])] if unsaid else [])])
    return report.write("fuzz", "Uploads changed at random", body,
                        command=f"python -m tests.security.fuzz --seeds {seeds} --state FILE --page")


def _explained(said: str) -> str:
    why = next((why for seed, why in WHY.items() if said.startswith(f"{seed} ")), "")
    return f"- {said}" + (f" ({why})" if why else "")


if __name__ == "__main__":
    sys.exit(main())
