"""A disk of a few kilobytes or megabytes, to be filled: a tmpfs, which only root can mount."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """The folder as a disk of `size` ("100k", "4m"). Skips the test where it can't be mounted."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root on Linux")
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True,
                             text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Fill the disk but for some bytes, by a file beside whatever is on it."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as out:
        while (free := _free(folder)) > leave:
            try:
                out.write(bytes(min(free - leave, 1 << 20)))
            except OSError:
                break
    return ballast


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
