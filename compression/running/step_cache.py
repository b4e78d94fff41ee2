"""What steps left behind, kept on disk, so that recipes with a common beginning compute it once.

An entry is the model after the first steps of a recipe, under a digest of all that made it. It is written whole or
not at all, so two workers may compute the same one; the later replaces the earlier by an equal file. The entries used
longest ago go when the folder outgrows its limit. A cache only ever saves time: what can't be kept, read or found is
computed again. Loads without torch, because Settings shows what is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compression.spec.method import Gain
from compression.spec.recipe import parse_step
from compression.spec.records import Change, Recipe, Skip, Target

if TYPE_CHECKING:
    from torch import nn

GB = 10**9
DEFAULT_LIMIT_BYTES = 5 * GB
MOST_BYTES = 1000 * GB
DISK_BYTES_PER_S = 200e6  # what a plain disk takes: a step computed faster than it is written isn't worth keeping
TORN_S = 3600.0  # a half-written file this old belongs to a process that was killed
SUFFIX = ".step"


@dataclass(frozen=True)
class Kept:
    """The model after the first `steps` steps of a recipe, and what these reported."""

    steps: int
    model: "nn.Module"
    changes: list[Change]
    skipped: list[Skip]


@dataclass(frozen=True)
class StepCache:
    """A folder of entries, at most `limit_bytes` of them; 0 keeps nothing.

    `origin` says what the steps started from beside the recipe: digests of model and data, code version, device.
    `target` says where layers are timed: methods that claim speed leave what is slower there as it was.
    """

    folder: Path
    origin: tuple[str, ...]
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    target: Target | None = None

    def longest(self, recipe: Recipe) -> Kept | None:
        """The most steps of the recipe that are kept here."""
        for count in range(len(recipe.steps), 0, -1):
            path = self._path(recipe, count)
            if path.exists() and (found := _read(path, count)):
                return found
        return None

    def keep(self, recipe: Recipe, kept: Kept, *, seconds: float) -> bool:
        """Keep the model after `kept.steps` steps, which took `seconds`; tells whether it was worth the disk."""
        from compression.models.snapshot import write_snapshot

        weight = sum(tensor.numel() * tensor.element_size() for tensor in kept.model.state_dict().values())
        if weight > self.limit_bytes or seconds < weight / DISK_BYTES_PER_S:
            return False
        path = self._path(recipe, kept.steps)
        notes = {"changes": [one.model_dump(mode="json") for one in kept.changes],
                 "skipped": [one.model_dump(mode="json") for one in kept.skipped]}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            written = write_snapshot(path, kept.model, notes)
            evict(self.folder, self.limit_bytes)
        except OSError:  # a full disk costs the next run some time, and this one nothing
            return False
        return written and path.exists()

    def _path(self, recipe: Recipe, count: int) -> Path:
        parsed = [parse_step(step) for step in recipe.steps[:count]]
        steps = [[chosen.key, params.model_dump(mode="json")] for chosen, params in parsed]
        timed = self.target is not None and any(Gain.FASTER in chosen.gains for chosen, _ in parsed)
        made_for = [self.target.model_dump(mode="json")] if timed else []
        text = json.dumps([*self.origin, recipe.version, recipe.seed, steps, *made_for], sort_keys=True)
        return self.folder / (hashlib.sha256(text.encode()).hexdigest() + SUFFIX)


def entries(folder: Path) -> list[tuple[float, int, Path]]:
    """(last used, bytes, file) of every entry, the one used longest ago first."""
    found = []
    for file in Path(folder).glob("*" + SUFFIX):
        try:
            facts = file.stat()
        except FileNotFoundError:
            continue  # another process has just made room
        found.append((facts.st_mtime, facts.st_size, file))
    return sorted(found)


def cache_bytes(folder: Path) -> int:
    """What the entries weigh."""
    return sum(size for _, size, _ in entries(folder))


def evict(folder: Path, limit_bytes: int) -> int:
    """Delete the entries used longest ago until the rest fits, and what killed processes left; gives how many."""
    for torn in Path(folder).glob(".incoming-*"):
        if _age(torn) > TORN_S:
            torn.unlink(missing_ok=True)
    found = entries(folder)
    total, gone = sum(size for _, size, _ in found), 0
    for _, size, file in found:
        if total <= limit_bytes:
            break
        file.unlink(missing_ok=True)
        total, gone = total - size, gone + 1
    return gone


def digest_of_files(files: Iterable[Path]) -> str:
    """sha256 over the names and bytes of some files, for an origin whose model or data is in no store."""
    told = []
    for path in sorted(files):
        with path.open("rb") as file:
            told.append([path.name, hashlib.file_digest(file, "sha256").hexdigest()])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def taken_sentence(cached_steps: int) -> str:
    """ "Step 1 was taken from the cache.", "Steps 1–3 were taken from the cache."; "" for none."""
    if not cached_steps:
        return ""
    which = "Step 1 was" if cached_steps == 1 else f"Steps 1–{cached_steps} were"
    return f"{which} taken from the cache: an earlier run began the same way."


def _read(path: Path, count: int) -> Kept | None:
    from compression.models.snapshot import read_snapshot

    found = read_snapshot(path)
    if found is None:
        path.unlink(missing_ok=True)
        return None
    with suppress(FileNotFoundError):  # evicted while it was read; what was read is whole
        os.utime(path)  # used now
    model, notes = found
    return Kept(count, model, [Change.model_validate(one) for one in notes["changes"]],
                [Skip.model_validate(one) for one in notes["skipped"]])


def _age(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
