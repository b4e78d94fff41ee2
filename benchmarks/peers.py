"""RecPress recipes beside onnxruntime.quantization, on the same model, data and machine.

    python -m benchmarks.peers [--criteo DIR] [--seed 0]

Trains the default DeepFM on MovieLens-100K, and on a folder with Criteo rows where one is given
(`criteo_train*.tsv` and `criteo_test*.tsv`: label, 13 numbers, 26 categories, tab separated), exports it,
compresses the exported file with stock dynamic and static int8, and the model with RecPress recipes. Every file is
measured by the same code against the same fp32 export: size, paired AUC difference on the test rows with its 95 %
interval, latency ratio in pairs of random order. Writes docs/results/peers.md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization as stock
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks import report
from compression.data.dataset import Rows
from compression.data.description import dump_description
from compression.data.encode import load_dataset
from compression.data.samples import fetch_sample
from compression.models.files import load_model
from compression.running.reference import train_reference, training_sentence
from compression.running.run import export_baseline, measure, run
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.records import Measurement, Recipe, RunSpec, Step, Target, TrainSpec
from compression.spec.task import DEFAULT_TASK

TARGET = Target(batch_sizes=(1, 512), threads=1)
DENSE_INT8 = Step(method="quantize.dynamic", params={})
RECIPES = {
    "int8 rows": Recipe(name="int8 rows", steps=(Step(method="embed.quantize_rows", params={"n_bits": 8}),)),
    "int8 rows + int8 dense": Recipe(
        name="int8 rows + int8 dense", steps=(Step(method="embed.quantize_rows", params={"n_bits": 8}), DENSE_INT8)
    ),
    "int8 per field + int8 dense": Recipe(
        name="int8 per field + int8 dense",
        steps=(Step(method="embed.quantize_rows", params={"n_bits": 8, "granularity": "field"}), DENSE_INT8),
    ),
    "int4 rows + int8 dense": Recipe(
        name="int4 rows + int8 dense", steps=(Step(method="embed.quantize_rows", params={"n_bits": 4}), DENSE_INT8)
    ),
    "int4 per field + int8 dense": Recipe(
        name="int4 per field + int8 dense",
        steps=(Step(method="embed.quantize_rows", params={"n_bits": 4, "granularity": "field"}), DENSE_INT8),
    ),
}


def quiet(progress: object) -> None:
    """Benchmarks print their table only."""


def criteo_description(folder: Path) -> DataDescription:
    """Headerless Criteo: label, 13 numbers, 26 categories; the test file is given, validation is cut from train."""
    columns = [Column(name="label", role=Role.LABEL)]
    columns += [Column(name=f"I{index}", role=Role.NUMBER) for index in range(1, 14)]
    columns += [Column(name=f"C{index}", role=Role.CATEGORY) for index in range(1, 27)]
    files = {"train": next(folder.glob("criteo_train*")).name, "test": next(folder.glob("criteo_test*")).name}
    return DataDescription(
        name="Criteo sample", files=files, format="tsv", header=False, label=Label(column="label"),
        columns=tuple(columns), split=Split(kind="random"),
    )  # fmt: skip


def datasets(folder: Path, criteo: Path | None) -> Iterator[tuple[str, Path]]:
    """Name and folder of every dataset at hand."""
    yield "MovieLens-100K", fetch_sample("movielens-100k", folder / "movielens", quiet)
    if criteo is not None:
        here = folder / "criteo"
        here.mkdir()
        for file in criteo.glob("criteo_*"):
            shutil.copyfile(file, here / file.name)
        (here / "data.yaml").write_text(dump_description(criteo_description(here)), encoding="utf-8")
        yield "Criteo sample", here


class Calibration(stock.CalibrationDataReader):
    """The first training rows, in batches, as stock static quantisation asks for them."""

    def __init__(self, rows: Rows, *, n_batches: int = 16, batch_size: int = 512) -> None:
        starts = range(0, min(len(rows), n_batches * batch_size), batch_size)
        self._batches = iter([rows.take(np.arange(start, min(start + batch_size, len(rows)))) for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        rows = next(self._batches, None)
        return None if rows is None else rows.inputs


def stock_files(baseline: Path, calibration: Rows, folder: Path) -> dict[str, Path]:
    """The exported fp32 file after stock dynamic and static int8, both per channel and pre-processed as advised."""
    folder.mkdir()
    whole, prepared = folder / "whole.onnx", folder / "prepared.onnx"
    onnx.save(onnx.load(baseline), whole)  # the pre-processing loses external data on its way
    quant_pre_process(whole, prepared)
    dynamic, static = folder / "dynamic.onnx", folder / "static.onnx"
    stock.quantize_dynamic(prepared, dynamic, per_channel=True, weight_type=stock.QuantType.QInt8)
    stock.quantize_static(
        prepared, static, Calibration(calibration), quant_format=stock.QuantFormat.QDQ, per_channel=True,
        activation_type=stock.QuantType.QUInt8, weight_type=stock.QuantType.QInt8,
    )  # fmt: skip
    return {"onnxruntime dynamic int8": dynamic, "onnxruntime static int8": static}


def find(measurements: list[Measurement], metric: str, batch_size: int | None = None) -> Measurement:
    """The measurement of a metric (at a batch size)."""
    return next(item for item in measurements if item.metric == metric and item.batch_size == batch_size)


def row(name: str, measurements: list[Measurement], baseline: list[Measurement]) -> list[object]:
    """One line of the table."""
    size, before = find(measurements, "size_bytes"), find(baseline, "size_bytes")
    auc = find(measurements, "auc")
    ratios = [find(measurements, "latency_ratio", batch_size) for batch_size in TARGET.batch_sizes]
    return [
        name,
        f"{size.value:,.0f}",
        f"{size.value / before.value:.3f}",
        f"{auc.value:.5f}",
        f"{auc.difference:+.5f} [{auc.difference_low:+.5f}, {auc.difference_high:+.5f}]",
        *(f"{item.value:.2f} [{item.ci_low:.2f}, {item.ci_high:.2f}]" for item in ratios),
    ]


def compare(name: str, data: Path, folder: Path, *, seed: int) -> str:
    """The table of one dataset."""
    spec = TrainSpec(data="file", architecture="deepfm", seed=seed)
    model_folder, _, notes = train_reference(spec, data_folder=data, folder=folder / "model", report=quiet)
    loaded = load_model(model_folder)
    dataset = load_dataset(data, signature=loaded.signature, vocabularies=loaded.vocabularies)
    baseline = export_baseline(loaded, folder / "baseline").path
    rows = dataset.splits["test"]

    lines: list[list[object]] = []
    fp32: list[Measurement] = []
    for label, path in stock_files(baseline, dataset.splits["train"], folder / "stock").items():
        found, fp32, _ = measure(
            path, baseline, rows, RunSpec(model="", data="", recipe=Recipe(), target=TARGET), task=DEFAULT_TASK,
            report=quiet
        )
        lines.append(row(label, found, fp32))
    for label, recipe in RECIPES.items():
        spec_run = RunSpec(model="file", data="file", recipe=recipe.model_copy(update={"seed": seed}), target=TARGET)
        scratch = folder / label.replace(" ", "_")
        scratch.mkdir()
        result, _ = run(spec_run, model_folder=model_folder, data_folder=data, folder=scratch, report=quiet)
        lines.append(row(label, list(result.measurements), list(result.baseline)))

    auc, size = find(fp32, "auc"), find(fp32, "size_bytes")
    columns = ["file", "bytes", "× fp32", "AUC", "AUC difference [95 %]", "latency × at B=1", "latency × at B=512"]
    return (
        f"## {name}\n\nDeepFM, seed {seed}, {len(dataset.splits['train']):,} training and {len(rows):,} test rows; "
        f"fp32 export {size.value:,.0f} bytes, test AUC {auc.value:.5f} [{auc.ci_low:.5f}, {auc.ci_high:.5f}]; "
        f"{training_sentence(notes)}.\n\n{report.table(columns, lines)}"
    )


def main() -> None:
    """Run every dataset at hand and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--criteo", type=Path, help="folder with criteo_train*.tsv and criteo_test*.tsv")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tables = []
        for name, data in datasets(folder, options.criteo):
            place = folder / f"{name}-work"
            place.mkdir()
            tables.append(compare(name, data, place, seed=options.seed))
    head = (
        "Differences are to the fp32 export of the same model over the same test rows (DeLong, paired); latency is the "
        "median ratio over pairs of random order in one process, one thread, ids drawn from the test rows."
    )
    report.write(
        "peers", "RecPress beside onnxruntime.quantization", head + "\n\n" + "\n\n".join(tables),
        command="python -m benchmarks.peers --criteo DIR",
    )  # fmt: skip


if __name__ == "__main__":
    main()
