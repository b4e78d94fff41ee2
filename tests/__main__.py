"""Pass every test on a machine that has nothing but Python 3.11 to 3.13 and the package registries.

    python -m tests            everything: unit, contract, browser, crash, security, real data
    python -m tests --fast     the default suite alone, some minutes
    python -m tests -k words   further arguments go to pytest

Installs, and says so: a virtual environment in .venv unless one is active, the packages of
requirements-dev.txt in it, and Debian's `chromium` and `postgresql` where they are missing (needs root; without it
the tests that need them are skipped with that reason). Uses the standard library alone until then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FULL_ONLY = "not (browser or crash or slow or realdata)"
# one process more than cores, because many tests wait for something; a file stays in one
SIDE_BY_SIDE = ("-n", str(min(os.cpu_count() or 2, 4) + 1), "--dist", "loadfile")


def main(arguments: list[str]) -> int:
    """Install what is missing, then run ruff and pytest; the exit status is theirs."""
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        print(f"RecPress needs Python 3.11 to 3.13; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    fast = "--fast" in arguments
    rest = [word for word in arguments if word != "--fast"]
    python = _environment()
    if not fast:
        _install([name for name, is_there in (("chromium", _has_chromium()), ("postgresql", _has_postgresql()))
                  if not is_there])
    lint = subprocess.run([python, "-m", "ruff", "check", "."], cwd=ROOT).returncode
    chosen = ["-m", FULL_ONLY] if fast else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-rs", *SIDE_BY_SIDE, *chosen, *rest]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    return status or lint


def _environment() -> str:
    """The Python to test with, its packages installed."""
    inside = sys.prefix != sys.base_prefix
    python = sys.executable
    if not inside:
        folder = ROOT / ".venv"
        python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        if not Path(python).exists():
            print(f"Making a virtual environment in {folder.name}", flush=True)
            venv.create(folder, with_pip=True)
    requirements = ROOT / "requirements-dev.txt"
    print(f"Installing the packages of {requirements.name}", flush=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    subprocess.run(command, check=True)
    return python


def _has_chromium() -> bool:
    return any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


def _has_postgresql() -> bool:
    return bool(os.environ.get("TEST_DATABASE_URL") or shutil.which("pg_ctl")
                or any(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")))


def _install(packages: list[str]) -> None:
    """Debian's packages that the tests use; a machine without apt or root goes on without."""
    if not packages:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        print(f"{' and '.join(packages)} can't be installed here: the tests that need it are skipped.", flush=True)
        return
    print(f"Installing {' and '.join(packages)} from Debian's packages", flush=True)
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    for package in packages:  # one by one: what can't be had doesn't keep the rest away
        subprocess.run(["apt-get", "install", "-y", "-qq", package], **quiet)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
