"""The architecture, held by a walk over all imports: arrows only run down, none in a circle, no page loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = {  # room → the rooms whose code it may import
    "compression": set(),
    "storage": {"compression"},
    "plots": {"compression", "storage"},
    "jobs": {"compression", "storage"},
    "ui": {"plots", "jobs", "storage", "compression"},
    "pages": {"ui", "plots", "jobs", "storage", "compression"},
}
ENGINE = (  # from below to above: a room imports itself and those before it
    "spec", "tasks", "data", "layers", "models", "train", "observe", "runtimes", "export", "measure", "importers",
    "methods", "running", "testing", "cli",
)
ABOVE = ("jobs.submit", "jobs.supervise", "jobs.executor")  # of a room with torch in it, what pages import


@cache
def modules() -> dict[str, Path]:
    """Every module of the house by its dotted name."""
    found = {}
    for room in HOUSE:
        for path in (ROOT / room).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module that a file names in an import, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} imports relatively"
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in modules() else node.module for name in inner}
    return frozenset(found)


def arrows() -> dict[str, set[str]]:
    """Module → the modules of the house that it imports."""
    return {name: {other for other in imported(path) if other in modules() and other != name}
            for name, path in modules().items()}


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Modules that reach themselves by their imports, a shortest way each."""
    for start in sorted(graph):
        ways = [[start]]
        seen = set()
        while ways:
            way = ways.pop(0)
            for other in sorted(graph[way[-1]]):
                if other == start:
                    yield [*way, start]
                    ways = []
                    break
                if other not in seen:
                    seen.add(other)
                    ways.append([*way, other])


def room_of(module: str) -> str:
    """The engine's room that a module is in; "" for the package itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("room", HOUSE)
def test_no_arrow_between_rooms_runs_up(room: str) -> None:
    forbidden = set(HOUSE) - HOUSE[room] - {room}
    wrong = [f"{name} imports {module}" for name, path in modules().items() if name.split(".")[0] == room
             for module in imported(path) if module.split(".")[0] in forbidden]
    assert not wrong


def test_no_arrow_inside_the_engine_runs_up() -> None:
    inside = {name for name in modules() if name.startswith("compression.") and name != "compression.__main__"}
    unknown = {room_of(name) for name in inside} - set(ENGINE)
    assert not unknown, f"rooms without a place in the order: {unknown}"
    wrong = [f"{name} imports {other}" for name in inside for other in arrows()[name] & inside
             if ENGINE.index(room_of(other)) > ENGINE.index(room_of(name))]
    assert not wrong


def test_no_imports_run_in_a_circle() -> None:
    assert not [" → ".join(way) for way in circles(arrows())]


def test_a_circle_and_an_arrow_that_is_imported_late_are_seen(tmp_path: Path) -> None:
    late = tmp_path / "late.py"
    late.write_text("def read():\n    from compression.spec import records\n    import compression.running.run\n")
    assert imported(late) == {"compression.spec.records", "compression.running.run"}
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == [["b", "c", "b"], ["c", "b", "c"]]


@pytest.mark.parametrize("room", ("compression", "storage", "plots", "jobs"))
def test_streamlit_stays_in_the_ui(room: str) -> None:
    wrong = [name for name, path in modules().items() if name.split(".")[0] == room
             and any(module.split(".")[0] == "streamlit" for module in imported(path))]
    assert not wrong


def test_nothing_that_a_page_imports_loads_torch() -> None:
    wanted = {module for name, path in modules().items() if name.split(".")[0] in ("pages", "ui", "plots", "storage")
              for module in {name, *imported(path)} & set(modules()) if module.split(".")[0] in ("compression", "plots")
              } | {name for name in modules() if name.split(".")[0] == "storage" and "migrations" not in name}
    wanted |= {name for name in ABOVE if name in modules()}
    assert len(wanted) > 50
    program = ("import sys, importlib\n"
               f"for name in {sorted(wanted)!r}:\n    importlib.import_module(name)\n"
               "    assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules, name\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
