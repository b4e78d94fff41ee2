"""Run as a child: load an exported file, answer once, print how much memory that took.

    python -m compression.measure.resident model.onnx inputs.npz TARGET_AS_JSON
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES


def main(path: str, inputs_path: str, target_json: str) -> None:
    target = Target.model_validate_json(target_json)
    runtime = RUNTIMES[target.runtime]
    runtime.load()  # its own code isn't the file's
    with np.load(inputs_path) as stored:
        inputs = {name: stored[name] for name in stored.files}
    gc.collect()
    before = anonymous_bytes()
    session = runtime.open(Path(path), **target.session)
    session.score(inputs)
    gc.collect()
    held = anonymous_bytes() - before + mapped_bytes(Path(path).parent)
    print(json.dumps({"resident_bytes": max(0, held)}))


def anonymous_bytes() -> int:
    """Anonymous memory of this process that is resident: heap, arenas, stacks."""
    return sum(size for key, size in _status() if key == "RssAnon")


def mapped_bytes(folder: Path) -> int:
    """Resident pages of files in `folder` that are mapped into this process, private copies left to RssAnon."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if not words[0].endswith(":"):  # head of a mapping: address perms offset device inode path
            inside = len(words) == 6 and Path(words[5]).parent == folder
        elif inside and words[0] == "Rss:":
            total += int(words[1]) * 1024
        elif inside and words[0] == "Anonymous:":
            total -= int(words[1]) * 1024
    return total


def _status() -> Iterator[tuple[str, int]]:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if value.strip().endswith("kB"):
            yield key, int(value.split()[0]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
