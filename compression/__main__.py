"""The engine from the command line: the same path as in the browser, for scripts and CI.

    python -m compression samples [KEY --out DIR]
    python -m compression inspect MODEL [--data DATA]
    python -m compression methods
    python -m compression train --data DATA --architecture deepfm --out DIR
    python -m compression run --model MODEL --data DATA --recipe RECIPE.yaml --out DIR [--device cuda]
    python -m compression bundle BUNDLE.zip [--data DATA] [--device cpu]

DATA is a folder with data.yaml, or a description of any name. MODEL is a folder that `train` made, a
.safetensors file with its config.json beside it, a .onnx file, or a bundle. Every command takes --json.
Exit status 0, or one line on standard error and 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, get_args

from pydantic import ValidationError

from compression.spec.errors import DataError, ModelError, RecipeError, RecPressError
from compression.spec.metrics import METRICS
from compression.spec.plain_text import TextError, read_yaml
from compression.spec.records import (
    WARNING,
    GraphOptimization,
    Measurement,
    Progress,
    Result,
    RunSpec,
    Target,
    TrainSpec,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or a one-line error and 2."""
    try:
        options = _parser().parse_args(arguments)
        answer, text = options.command(options)
    except ValidationError as error:  # of a record that options are put into
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}, got {str(item['input'])[:80]}"
                         for item in error.errors())
        print(f"UsageError: {said}.", file=sys.stderr)
        return 2
    except RecPressError as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{type(error).__name__}: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr
        )
        return 2
    print(json.dumps(answer, indent=2) if options.json else text)
    return 0


Answer = tuple[Any, str]  # what --json prints, and what a person reads


def samples(options: argparse.Namespace) -> Answer:
    """The samples, or one of them fetched into a folder."""
    from compression.data.samples import SAMPLES, fetch_sample

    if options.key is None:
        plain = [asdict(sample) for sample in SAMPLES.values()]
        return plain, "\n".join(f"{sample.key:16} {sample.summary}" for sample in SAMPLES.values())
    if options.key not in SAMPLES:
        raise DataError(f"There is no sample {options.key!r}; it is one of: {', '.join(SAMPLES)}.")
    if options.out is None:
        raise DataError("Say where to put the sample: --out DIR.")
    options.out.mkdir(parents=True, exist_ok=True)
    folder = fetch_sample(options.key, options.out, _progress(options))
    return {"folder": str(folder)}, f"{SAMPLES[options.key].title} is in {folder}.\n{SAMPLES[options.key].terms}"


def methods(options: argparse.Namespace) -> Answer:
    """The catalogue with every parameter and its bounds."""
    from compression.spec.method import METHODS, bounds_text

    if options.markdown:
        from compression.spec.catalogue import markdown_list

        return {"markdown": markdown_list()}, markdown_list().rstrip()
    plain, lines = [], []
    for method in METHODS.values():
        schema = method.params.model_json_schema()
        plain.append(
            {
                "key": method.key,
                "title": method.title,
                "summary": method.summary,
                "stage": method.stage.value,
                "parts": sorted(method.parts),
                "needs": sorted(method.needs),
                "export": method.export.value,
                "gains": sorted(method.gains),
                "source": method.source,
                "params": schema,
            }
        )
        lines.append(f"{method.key}: {method.summary}")
        for name, info in method.params.model_fields.items():
            lines.append(
                f"    {name} = {info.get_default()}  ({bounds_text(method.params, name)})  {info.description or ''}"
            )
    return plain, "\n".join(lines)


def inspect(options: argparse.Namespace) -> Answer:
    """Inputs, layers and bytes of a model."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _model_folder(options.model, Path(scratch), options.data)
        from compression.models.files import load_model
        from compression.running.run import describe_model

        description = describe_model(load_model(folder), Path(scratch) / "export")
    lines = [f"{description.architecture}, {description.size_bytes:,} bytes exported"]
    for item in description.model_dump(mode="json")["signature"]["inputs"]:
        lines.append(f"  input {item['name']}: {item['kind']}, column {item['column']}, {item['cardinality'] or ''}")
    for layer in description.layers:
        shape = " × ".join(map(str, layer.shape))
        lines.append(f"  {layer.name}: {layer.kind} {shape}, {layer.size_bytes:,} bytes, {layer.part}")
    return description.model_dump(mode="json"), "\n".join(lines)


def train(options: argparse.Namespace) -> Answer:
    """Train a reference model on a dataset."""
    from compression.models.zoo import ARCHITECTURES
    from compression.running.run import train_reference, training_sentence

    if options.architecture not in ARCHITECTURES:
        raise ModelError(
            f"There is no architecture {options.architecture!r}; it is one of: {', '.join(ARCHITECTURES)}."
        )
    spec = TrainSpec(
        data="file",
        architecture=options.architecture,
        config=_assignments(options.config),
        training=_assignments(options.set),
        seed=options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    folder, description, notes = train_reference(
        spec, data_folder=_data_folder(options.data), folder=options.out, report=_progress(options)
    )
    answer = {"model": str(folder), "size_bytes": description.size_bytes, "training": notes}
    return answer, f"The model is in {folder}: {description.size_bytes:,} bytes exported; {training_sentence(notes)}"


def run(options: argparse.Namespace) -> Answer:
    """Apply a recipe, export, measure beside the baseline."""
    from compression.running.run import run as run_recipe
    from compression.spec.recipe import load_recipe

    if not options.recipe.is_file():
        raise RecipeError(f"There is no recipe file {options.recipe}.")
    recipe = load_recipe(options.recipe.read_text(encoding="utf-8", errors="replace"))
    target = Target(device=options.device, threads=options.threads, batch_sizes=tuple(options.batch_sizes),
                    graph_optimization=options.graph_optimization)
    spec = RunSpec(model="file", data="file", recipe=recipe, target=target)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = _model_folder(options.model, Path(scratch), options.data)
        result, files = run_recipe(
            spec,
            model_folder=folder,
            data_folder=_data_folder(options.data),
            folder=options.out,
            report=_progress(options),
        )
    answer = result.model_dump(mode="json") | {"written": {name: str(path) for name, path in files.items()}}
    return answer, _result_text(result) + f"\nBundle: {files['bundle.zip']}"


def bundle(options: argparse.Namespace) -> Answer:
    """Check a bundle's digests; with data, measure its file again."""
    from compression.export.bundle.files import read_bundle

    with tempfile.TemporaryDirectory() as scratch:
        folder, result = read_bundle(options.bundle, Path(scratch))
        answer: dict[str, Any] = {"recipe": result.spec.recipe.model_dump(mode="json"), "files": result.files}
        text = f"{options.bundle}: {len(result.files)} files, every digest right.\n{_result_text(result)}"
        if options.data is not None:
            target = result.spec.target
            if options.device:
                target = target.model_copy(update={"device": options.device})
            again = _quality_again(folder, target, options.data)
            answer["measured_again"] = [item.model_dump(mode="json") for item in again]
            answer["measured_again_on"] = target.session
            text += (f"\nMeasured again on the data given ({target.device}):\n"
                     + "\n".join(map(_measurement_text, again)))
    return answer, text


def _quality_again(folder: Path, target: Target, data: Path) -> list[Measurement]:
    from compression.data.encode import load_dataset
    from compression.export.bundle.files import read_signature
    from compression.measure.quality import measure_quality
    from compression.runtimes import RUNTIMES

    signature, vocabularies = read_signature(folder)
    dataset = load_dataset(_data_folder(data), signature=signature, vocabularies=vocabularies)
    if dataset.warnings:
        print(f"Warning: {' '.join(dataset.warnings)}", file=sys.stderr)
    session = RUNTIMES["onnxruntime"].open(folder / "model.onnx", **target.session)
    rows = dataset.splits["test"]
    return measure_quality(
        session.score(rows.inputs),
        None,
        rows,
        task=dataset.description.task,
        split="test",
    )


def _result_text(result: Result) -> str:
    base = {(item.metric, item.batch_size): item.value for item in result.baseline}
    lines = [f"{result.spec.recipe.name}: {len(result.changes)} layers changed, {len(result.skipped)} left alone"]
    for item in result.measurements:
        before = base.get((item.metric, item.batch_size))
        lines.append(_measurement_text(item) + (f"   baseline {before:.6g}" if before is not None else ""))
    return "\n".join(lines)


def _measurement_text(item: Measurement) -> str:
    where = f"@{item.batch_size}" if item.batch_size else ""
    interval = f" [{item.ci_low:.6g}, {item.ci_high:.6g}]" if item.ci_low is not None else ""
    difference = ""
    if item.difference is not None:
        difference = f"   Δ {item.difference:+.6g}"
    if item.difference_low is not None:
        difference += f" [{item.difference_low:+.6g}, {item.difference_high:+.6g}]"
    spec = METRICS.get(item.metric)  # a bundle of another version may hold others
    title, unit = (spec.title, spec.unit) if spec else (item.metric, "")
    return f"  {title + where:24} {item.value:.6g} {unit}{interval}{difference}"


def _data_folder(path: Path) -> Path:
    """The folder, or the very description that was named: what reads datasets takes either."""
    if not path.is_file() and not (path / "data.yaml").is_file():
        raise DataError(f"There is no data.yaml in {path}; README.md shows how to write one.")
    return path


def _model_folder(path: Path, scratch: Path, data: Path | None) -> Path:
    """A model folder as it is; any other file goes through the importers, in their sandbox."""
    from compression.importers.hugging_face.settings import files_of_folder, is_hugging_face

    data = data and _data_folder(data)
    if path.is_dir() and is_hugging_face(files := files_of_folder(path)):
        return _imported(files, scratch, data)
    if (path / "config.json").is_file() or (path / "binding.json").is_file():
        return path
    if not path.is_file():
        raise ModelError(f"There is no model at {path}.")
    beside = [other for other in path.parent.iterdir() if _belongs(other, path)]
    return _imported({other.name: other for other in [path, *beside]}, scratch, data)


def _imported(files: dict[str, Path], scratch: Path, data: Path | None) -> Path:
    from compression.importers import import_model

    folder = scratch / "imported"
    import_model(files, folder, data_folder=data, binding=None)
    return folder


def _belongs(other: Path, model: Path) -> bool:
    """Files that a model file of this name may need: its config, vocabularies and external data."""
    if other == model or not other.is_file():
        return False
    if model.suffix == ".safetensors":
        return other.name in ("config.json", "vocabularies.json")
    return model.suffix == ".onnx" and (other.name == "binding.json" or other.name.startswith(model.name + "."))


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` words, values read as YAML scalars or lists."""
    answer = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise RecipeError(f"Write a setting as name=value; got {pair!r}.")
        try:
            answer[name] = read_yaml(value)
        except TextError as error:
            raise RecipeError(f"The value of {name} can't be read: {error}; got {value[:80]!r}.") from None
    return answer


def _progress(options: argparse.Namespace) -> Callable[[Progress], None]:
    """Progress as one line a stage on standard error, with --json only warnings."""
    last = ""

    def report(progress: Progress) -> None:
        nonlocal last
        if progress.stage == WARNING:
            print(f"Warning: {progress.message}", file=sys.stderr)
        elif not options.json and progress.stage != last:
            last = progress.stage
            print(f"… {progress.stage} {progress.message}".rstrip(), file=sys.stderr)

    return report


class UsageError(RecPressError):
    """Words of a command that can't be understood."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m compression", description="Compress ranking models, honestly measured."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[[argparse.Namespace], Answer]) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__, help=function.__doc__)
        sub.add_argument("--json", action="store_true", help="print the answer as JSON")
        sub.set_defaults(command=function)
        return sub

    sub = command(samples)
    sub.add_argument("key", nargs="?", help="sample to fetch; without it, the list")
    sub.add_argument("--out", type=Path)

    sub = command(inspect)
    sub.add_argument("model", type=Path)
    sub.add_argument("--data", type=Path, help="dataset whose columns the inputs are bound to")

    sub = command(methods)
    sub.add_argument("--markdown", action="store_true", help="a table for each family, with links to the cards")

    sub = command(train)
    sub.add_argument("--data", type=Path, required=True)
    sub.add_argument("--architecture", default="deepfm")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the architecture")
    sub.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the training")
    sub.add_argument("--seed", type=int, default=0)

    sub = command(run)
    sub.add_argument("--model", type=Path, required=True)
    sub.add_argument("--data", type=Path, required=True)
    sub.add_argument("--recipe", type=Path, required=True)
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    sub.add_argument("--threads", type=int, default=1)
    sub.add_argument("--graph-optimization", choices=get_args(GraphOptimization), default="all",
                     help="how far ONNX Runtime rewrites the graph when it loads the file")
    sub.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 512])

    sub = command(bundle)
    sub.add_argument("bundle", type=Path)
    sub.add_argument("--data", type=Path, help="measure the file again on this dataset")
    sub.add_argument("--device", choices=("cpu", "cuda"), help="measure again here; without it, where the run did")
    return parser


if __name__ == "__main__":
    sys.exit(main())
