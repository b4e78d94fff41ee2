"""What tests of extensions need: a copy of the project, a package beside it, and a fresh Python in either."""

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


def done(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a fresh Python did in the folder; its failure is the test's."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                           timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended


def python(folder: Path, *arguments: str, **variables: str) -> str:
    """What a fresh Python prints in the folder."""
    return done(folder, *arguments, **variables).stdout


def install(folder: Path, module: str, source: str, *, group: str, name: str) -> None:
    """A package as pip leaves it in a folder of packages: a module, and the list of its entry points."""
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n", encoding="utf-8")


def beside(packages: Path) -> dict[str, str]:
    """The environment in which these packages are installed, and the project is where it is."""
    return {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}
