"""The architecture, held by a walk over the imports: arrows only run down, and the UI never loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("pages", "ui", "plots", "jobs", "storage", "compression")
ALLOWED = {
    "compression": set(),
    "storage": {"compression"},
    "plots": {"compression", "storage"},
    "jobs": {"compression", "storage"},
    "ui": {"plots", "jobs", "storage", "compression"},
    "pages": {"ui", "plots", "jobs", "storage", "compression"},
}
BELOW_METHODS = ("models", "data", "train", "measure", "export", "layers")
TORCH_FREE = (
    "compression",
    "compression.spec.records",
    "compression.spec.errors",
    "compression.spec.metrics",
    "compression.spec.task",
    "compression.tasks.recommend",
    "compression.tasks.verdict",
    "compression.spec.method",
    "compression.spec.plain_text",
    "compression.spec.recipe",
    "compression.methods",
    "compression.spec.presets",
    "compression.spec.data_description",
    "compression.data.ingest",
    "compression.importers.format",
    "compression.importers.kept",
    "compression.importers.sandbox.process",
    "compression.data.summary",
    "compression.spec.signature",
    "compression.models.zoo",
    "compression.train.params",
    "storage.store",
    "storage.files",
    "jobs.submit",
    "jobs.supervise",
    "plots.pareto",
    "plots.treemap",
)


def imported_modules(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_no_arrow_between_rooms_runs_up(room: str) -> None:
    forbidden = set(ROOMS) - ALLOWED[room] - {room}
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files_of(room)
        for module in imported_modules(path)
        if module.split(".")[0] in forbidden
    ]
    assert files_of(room) and not wrong


@pytest.mark.parametrize("room", BELOW_METHODS)
def test_the_rooms_below_never_import_methods(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files_of(f"compression/{room}")
        for module in imported_modules(path)
        if module.split(".")[:2] in (["compression", "methods"], ["compression", "run"])
    ]
    assert files_of(f"compression/{room}") and not wrong


@pytest.mark.parametrize("room", ("compression", "storage", "plots", "jobs"))
def test_streamlit_stays_in_the_ui(room: str) -> None:
    wrong = [path for path in files_of(room) if any(m.split(".")[0] == "streamlit" for m in imported_modules(path))]
    assert not wrong


@pytest.mark.parametrize("room", ("pages", "ui", "plots", "storage"))
def test_no_page_names_torch(room: str) -> None:
    wrong = [path for path in files_of(room) if any(m.split(".")[0] == "torch" for m in imported_modules(path))]
    assert not wrong


def test_what_pages_import_does_not_load_torch() -> None:
    program = (
        f"import sys, importlib\nfor name in {TORCH_FREE!r}:\n    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
