"""A copy of the project for a test that adds a file and a line to it, and Python inside that copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_project(folder: Path, names: Iterable[str]) -> Path:
    """`folder` with these folders and files of the project."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


def python(project: Path, *arguments: str, **variables: str) -> str:
    """What a fresh Python prints in the copy; its errors are the test's."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run([sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True,
                          timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
