"""Break the product on purpose, one line at a time, and see whether a test notices.

    python -m tests.mutations                 all breaks of the table, about a minute for five
    python -m tests.mutations NAME ...        these alone; a name ending in * stands for all that begin so
    python -m tests.mutations --list          names, and what each breaks
    python -m tests.mutations --page FILE     also write the table of what was noticed, and by which test

A break is made in a copy of the project in a temporary folder, never in the working tree. A break counts as noticed
where a test of its entry fails that passes without the break. Exit status 1 where one survived. CI doesn't run this.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from tests.breaks import BREAKS
from tests.breaks.record import Break

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "node_modules", "recpress_data")
LIBRARIES = ("numpy", "polars", "pyarrow.compute", "torch", "torch.onnx", "torch.export", "onnx", "onnx_ir",
             "onnxscript", "onnxruntime", "sklearn.metrics", "sqlalchemy.orm", "pydantic", "yaml",
             "plotly.graph_objects", "streamlit.testing.v1")
COMPILED = ("compression", "jobs", "pages", "plots", "storage", "ui")
SECONDS = 600.0  # for the tests of one break
NOTICED, SURVIVED, EQUIVALENT, WRONG = "noticed", "SURVIVED", "equivalent", "can't be tried"
FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s:]+(?:::[^\[\s]+(?:\[.*?\](?= - |$))?)?)", re.MULTILINE)


def problem_of(one: Break, root: Path = ROOT) -> str:
    """Why a break can't be made in the files below `root`; "" where it can."""
    file = root / one.file
    if not file.is_file():
        return f"{one.file} is gone"
    count = file.read_text(encoding="utf-8").count(one.old)
    if count != 1:
        return f"old text is gone from {one.file}" if not count else f"old text stands {count} times in {one.file}"
    return "" if one.new != one.old else "old and new text are the same"


def try_break(one: Break, project: Path, *, seconds: float = SECONDS) -> tuple[str, str]:
    """(result, by which test or why) of a break in a copy of the project, which is afterwards as it was."""
    if one.equivalent:
        return EQUIVALENT, one.equivalent
    if problem := problem_of(one, project):
        return WRONG, problem
    file = project / one.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(one.old, one.new), encoding="utf-8")
    try:
        status, said = run_tests(one.tests, project, seconds)
    finally:
        file.write_text(text, encoding="utf-8")
    if status == 0:
        return SURVIVED, f"{' '.join(one.tests)} passed"
    if status is None:
        return NOTICED, f"no end within {seconds:g} s"
    failed = FAILED.search(said)
    if status != 1 or failed is None:
        return WRONG, f"pytest ended with {status}: {said.strip()[-300:]}"
    test = failed[1]
    if run_tests((test,), project, seconds)[0] != 0:
        return WRONG, f"{test} fails without the break too"
    return NOTICED, test


def run_tests(tests: Sequence[str], project: Path, seconds: float) -> tuple[int | None, str]:
    """pytest's exit status, None after so many seconds, and what it printed; the first failure ends it.

    Forked from this process, which has loaded the libraries but nothing of the project.
    """
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            status = 99
            try:
                status = _pytest_here(tests, project, said.fileno())
            finally:
                os._exit(status)
        end = time.monotonic() + seconds
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None, ""
            time.sleep(0.05)
        said.seek(0)
        return os.waitstatus_to_exitcode(ended[1]), said.read().decode(errors="replace")


def _pytest_here(tests: Sequence[str], project: Path, output: int) -> int:
    import pytest

    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(project)
    for name in ("DATABASE_URL", "PYTHONPATH", "RECPRESS_HOME"):
        os.environ.pop(name, None)
    sys.path[:] = [str(project), *(place for place in sys.path if Path(place or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]  # those of the working tree
    code = pytest.main(["-q", "-x", "-rfE", "-p", "no:cacheprovider", "--tb=no", *tests])
    sys.stdout.flush()
    return int(code)


def load_libraries() -> None:
    """Import once what takes most of a test's start."""
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)


def copy_project(folder: Path) -> Path:
    """A copy of the project whose compiled files are checked by content, not by time and size, which a break keeps."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", *COMPILED],
                   cwd=folder, check=True)
    return folder


def page_of(results: Sequence[tuple[Break, str, str]]) -> str:
    """The table as Markdown."""
    counts = {kind: sum(result == kind for _, result, _ in results) for kind in (NOTICED, EQUIVALENT, SURVIVED, WRONG)}
    lines = ["# Tests that notice", "",
             "Made by `python -m tests.mutations --page docs/results/mutations.md`. Each line was broken in a copy of "
             "the project, alone, and the tests named in `tests/breaks` were run. A test that fails with the break and "
             "passes without it has noticed.", "",
             f"{len(results)} breaks of the {len(BREAKS)} in the table: "
             + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) + ".",
             "", "| break | what goes wrong | file | result |", "|---|---|---|---|"]
    for one, result, by in results:
        shown = f"`{by}`" if result == NOTICED and "::" in by else by
        lines.append(f"| {one.name} | {one.what} | `{one.file}` | {result}: {shown.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def chosen(names: Sequence[str]) -> list[Break]:
    """The breaks of these names, in the order of the table; all without names."""
    return [one for one in BREAKS if not names or any(fnmatchcase(one.name, name) for name in names)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names, and what each breaks")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the results as Markdown")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit for the tests of one break")
    given = parser.parse_args(arguments)
    breaks = chosen(given.names)
    if not breaks:
        parser.error(f"no break is called {' or '.join(given.names)}; --list shows them")
    if given.list:
        for one in breaks:
            print(f"{one.name}: {one.what} ({one.file})")
        return 0
    results = []
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        project = copy_project(Path(scratch) / "project")
        os.environ["OMP_NUM_THREADS"] = "1"
        load_libraries()
        for one in breaks:
            result, by = try_break(one, project, seconds=given.seconds)
            print(f"{result:14} {one.name}: {by}", flush=True)
            results.append((one, result, by))
            if given.page:
                given.page.write_text(page_of(results), encoding="utf-8")
    return int(any(result in (SURVIVED, WRONG) for _, result, _ in results))


if __name__ == "__main__":
    sys.exit(main())
