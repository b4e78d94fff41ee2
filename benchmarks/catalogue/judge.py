"""What a recipe or a control leaves: bytes of the exported file and the paired AUC difference over the test rows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.catalogue.references import Reference, score
from compression.export.onnx import export_onnx
from compression.measure.estimates import Estimate
from compression.measure.quality import estimate
from compression.measure.size import size_bytes
from compression.measure.weights import external_files, read_graph
from compression.running.run import apply_recipe
from compression.spec.errors import RecPressError
from compression.spec.recipe import check
from compression.spec.records import Recipe


def file_bytes(path: Path) -> int:
    """Bytes of an exported file with its external data."""
    return size_bytes(path, external_files(path, read_graph(path)))


def compress(reference: Reference, recipe: Recipe, folder: Path) -> tuple[Path, list[str]]:
    """The exported file after the recipe, and what its steps said. Raises RecPressError."""
    errors = [problem.message for problem in check(recipe) if problem.severity == "error"]
    if errors:
        raise RecPressError(" ".join(errors))
    outcome = apply_recipe(reference.loaded, recipe, reference.dataset, folder=folder, report=lambda progress: None)
    exported = export_onnx(outcome.model, reference.loaded.signature, folder / "model.onnx")
    said = [f"{change.module}: {change.detail}" for change in outcome.changes]
    return exported.path, said + [f"{skip.module} left: {skip.reason}" for skip in outcome.skipped]


def judge(reference: Reference, path: Path) -> dict[str, float]:
    """Bytes and AUC of a file beside its reference; the difference is paired, its interval DeLong's."""
    found = auc_of(reference, path)
    low, high = found.difference_interval
    return {"bytes": file_bytes(path), "baseline_bytes": file_bytes(reference.baseline), "auc": found.value,
            "difference": found.difference, "low": low, "high": high, "n": found.n}


def auc_of(reference: Reference, path: Path) -> Estimate:
    """AUC of a file over the test rows, with the paired difference to the reference."""
    return estimate("auc", score(path, reference.rows), reference.scores, reference.rows)


def try_recipe(reference: Reference, recipe: Recipe) -> dict[str, object]:
    """Compress, export, score: the figures, seconds, and what the steps said."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        path, said = compress(reference, recipe, Path(scratch))
        figures = judge(reference, path)
    return figures | {"seconds": round(time.monotonic() - started, 1), "said": said}
