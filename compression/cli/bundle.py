"""Check a bundle's digests; with data, measure its file again."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from compression.cli.given import Answer, data_folder
from compression.cli.words import measurement_text, result_text
from compression.spec.records import Measurement, Target
from compression.spec.runtime import RUNTIMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, help="measure the file again on this dataset")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="measure again here; without it, where the run did")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    from compression.export.bundle.files import read_bundle

    with tempfile.TemporaryDirectory() as scratch:
        folder, result = read_bundle(options.bundle, Path(scratch))
        answer: dict[str, Any] = {"recipe": result.spec.recipe.model_dump(mode="json"), "files": result.files}
        text = f"{options.bundle}: {len(result.files)} files, every digest right.\n{result_text(result)}"
        if options.data is not None:
            target = result.spec.target
            if options.device:
                target = target.model_copy(update={"device": options.device})
            again = _quality_again(folder, target, options.data)
            answer["measured_again"] = [item.model_dump(mode="json") for item in again]
            answer["measured_again_on"] = target.session
            text += (f"\nMeasured again on the data given ({target.device}):\n"
                     + "\n".join(map(measurement_text, again)))
    return answer, text


def _quality_again(folder: Path, target: Target, data: Path) -> list[Measurement]:
    from compression.data.encode import load_dataset
    from compression.export.bundle.files import read_signature
    from compression.measure.quality import measure_quality
    from compression.measure.ratings import as_chances

    signature, vocabularies = read_signature(folder)
    dataset = load_dataset(data_folder(data), signature=signature, vocabularies=vocabularies)
    if dataset.warnings:
        print(f"Warning: {' '.join(dataset.warnings)}", file=sys.stderr)
    rows = dataset.splits["test"]
    with closing(RUNTIMES[target.runtime].open(folder / "model.onnx", **target.session)) as session:
        scores = as_chances(session.score(rows.inputs), signature, dataset.description)
    return measure_quality(scores, None, rows, task=dataset.description.task, split="test")
