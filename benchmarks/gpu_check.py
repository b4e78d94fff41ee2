"""The sample through training, four recipes and CUDA measuring, with whatever packages the machine has.

    python -m benchmarks.gpu_check [--rows 400000] [--sample movielens-100k] [--out FILE]

Prints a table and writes docs/results/gpu.md. On a machine without a usable GPU it says what is missing and
ends with status 3: nothing measured on a CPU is ever filed as a GPU result.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from benchmarks.peers import find, quiet
from compression.data.samples import fetch_sample, generate_click_log
from compression.running.reference import train_reference, training_sentence
from compression.running.run import run
from compression.spec.errors import RecPressError
from compression.spec.records import Recipe, RunSpec, Step, Target, TrainSpec

BATCH_SIZES = (1, 512, 4096)
RECIPES = (
    Recipe(name="int8 rows", steps=(Step(method="embed.quantize_rows", params={"n_bits": 8}),)),
    Recipe(name="rare rows shared", steps=(Step(method="embed.prune_rows", params={}),)),
    Recipe(
        name="int4 rows + int8 dense",
        steps=(Step(method="embed.quantize_rows", params={"n_bits": 4}), Step(method="quantize.static", params={})),
    ),
    Recipe(
        name="int8 rows + fp16 products",
        steps=(Step(method="embed.quantize_rows", params={}), Step(method="quantize.half_products", params={})),
    ),
)


def missing() -> str | None:
    """What keeps this machine from measuring on a GPU; None where nothing does."""
    import torch

    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime was built without CUDA"
    return None


def measured(recipe: Recipe, model: Path, data: Path, folder: Path) -> list[object]:
    """One line: size, AUC difference and latency ratios of a recipe on CUDA, or the sentence it failed with."""
    spec = RunSpec(
        model="file", data="file", recipe=recipe, target=Target(device="cuda", batch_sizes=BATCH_SIZES)
    )  # fmt: skip
    folder.mkdir()
    started = time.perf_counter()
    try:
        result, _ = run(spec, model_folder=model, data_folder=data, folder=folder, report=quiet)
    except RecPressError as error:
        return [recipe.name, f"failed: {error}", None, None, *[None] * len(BATCH_SIZES), None]
    found = list(result.measurements)
    size, before = find(found, "size_bytes").value, find(list(result.baseline), "size_bytes").value
    auc, parity = find(found, "auc"), find(found, "parity_error").value
    ratios = [find(found, "latency_ratio", batch_size) for batch_size in BATCH_SIZES]
    return [
        recipe.name,
        f"{size / before:.3f}",
        f"{auc.difference:+.5f} [{auc.difference_low:+.5f}, {auc.difference_high:+.5f}]",
        f"{parity:.1e}",
        *(f"{item.value:.2f} [{item.ci_low:.2f}, {item.ci_high:.2f}]" for item in ratios),
        f"{time.perf_counter() - started:.0f} s",
    ]


def main() -> int:
    """Train on the GPU, run the recipes, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000, help="rows of the generated log")
    parser.add_argument("--sample", help="a sample to fetch in place of the generated log")
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(f"No GPU result: {reason}.", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.sample:
            data = fetch_sample(options.sample, folder / "data", quiet)
        else:
            data = generate_click_log(folder / "data", rows=options.rows, seed=0)
        started = time.perf_counter()
        spec = TrainSpec(data="file", architecture="deepfm")
        model, description, notes = train_reference(spec, data_folder=data, folder=folder / "model", report=quiet)
        seconds = time.perf_counter() - started
        lines = [measured(recipe, model, data, folder / f"run-{place}") for place, recipe in enumerate(RECIPES)]
    columns = ["recipe", "bytes × fp32", "AUC difference [95 %]", "parity"]
    columns += [f"latency × at B={batch_size}" for batch_size in BATCH_SIZES] + ["job"]
    body = (
        f"DeepFM trained on the GPU in {seconds:.0f} s ({training_sentence(notes)}); "
        f"fp32 export {description.size_bytes:,} bytes. "
        "Scores, latency and parity are read off ONNX Runtime's CUDA provider, which each session confirmed.\n\n"
        + report.table(columns, lines)
    )
    report.write("gpu", "The main path on a GPU", body, command="python -m benchmarks.gpu_check")
    return 0


if __name__ == "__main__":
    sys.exit(main())
