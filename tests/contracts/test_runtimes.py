"""Every runtime that is registered keeps the contract of runtimes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from compression.spec.runtime import RUNTIMES
from compression.testing.runtime import RuntimeContract

ROOT = Path(__file__).resolve().parents[2]
OWN_FILES = {"compression/runtimes/onnxruntime.py", "compression/runtimes/options.py",
             "compression/export/bundle/predict.py"}  # the last is shipped to where nothing else of ours is
OWN_WORDS = {"compression/spec/runtime.py", "ui/settings/view.py"}  # the default; versions that are shown


@pytest.mark.parametrize("key", list(RUNTIMES), scope="class")
class TestRuntimes(RuntimeContract):
    @pytest.fixture(autouse=True)
    def _of(self, key):
        type(self).key = key


def product_files() -> list[Path]:
    return [path for room in ("compression", "jobs", "storage", "plots", "ui", "pages")
            for path in sorted((ROOT / room).rglob("*.py"))]


def test_only_its_own_files_know_the_default_runtime():
    """Everyone else asks for a target's runtime by name."""
    knowing = set()
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = ([alias.name for alias in node.names] if isinstance(node, ast.Import) else
                     [node.module or ""] if isinstance(node, ast.ImportFrom) else
                     [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else [])
            if any(name in ("onnxruntime", "onnxruntime-gpu") or name.endswith("runtimes.onnxruntime")
                   for name in names):
                knowing.add(path.relative_to(ROOT).as_posix())
    assert knowing == OWN_FILES | OWN_WORDS


def test_naming_the_runtimes_loads_none_of_them():
    program = ("import sys\nfrom compression.spec.records import Target\nTarget(runtime='onnxruntime')\n"
               "assert not {'onnxruntime', 'torch'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
