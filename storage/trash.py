"""What a sweep takes is not deleted: it is moved aside, and deleted a week later unless it was wanted again.

Below a folder, `trash/2026-11-28T13-45-00Z/…` holds what was taken then, under the names it had: on the same disk, so
that taking it and bringing it back are renames.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from calendar import timegm
from contextlib import suppress
from pathlib import Path

KEPT_S = 7 * 24 * 3600.0
NAME = "trash"
STAMP = "%Y-%m-%dT%H-%M-%SZ"


class Trash:
    """The trash of one folder. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.folder = self.root / NAME

    def take(self, path: Path, *, now: float) -> None:
        """Move a file or folder below the root aside. Raises FileNotFoundError if another process took it first."""
        target = self.folder / time.strftime(STAMP, time.gmtime(now)) / path.relative_to(self.root)
        while target.is_dir():  # a folder of this name was taken in the same second
            target = target.with_name(f"{path.name}~{secrets.token_hex(4)}")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.replace(path, target)

    def bring_back(self, path: Path) -> bool:
        """Move a file back to where it was, if it was taken; tells whether it was. The newest one wins."""
        for day in sorted(self._taken(), reverse=True):
            with suppress(FileNotFoundError):
                aside = self.folder / day / path.relative_to(self.root)
                os.utime(aside)  # wanted now: the next sweep leaves it for a day
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.replace(aside, path)
                return True
        return False

    def empty(self, *, now: float) -> int:
        """Delete what was taken more than a week ago; gives how many sweeps that were."""
        old = [stamp for stamp in self._taken() if _seconds(stamp) <= now - KEPT_S]
        for stamp in old:
            shutil.rmtree(self.folder / stamp, ignore_errors=True)
        return len(old)

    def _taken(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.folder) if _seconds(name) is not None]
        except FileNotFoundError:
            return []


def _seconds(stamp: str) -> float | None:
    try:
        return float(timegm(time.strptime(stamp, STAMP)))
    except ValueError:
        return None
