"""Apply a recipe, export, measure beside the baseline."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import get_args

from compression.cli.given import Answer, add_events, data_folder, events_folder, model_folder, progress_of
from compression.cli.words import result_text
from compression.running.step_cache import StepCache, digest_of_files, taken_sentence
from compression.spec.code_version import code_version
from compression.spec.errors import RecipeError
from compression.spec.records import GraphOptimization, RunSpec, Target
from compression.spec.runtime import DEFAULT_RUNTIME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", help="which output of the model is the score, where it has several")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--graph-optimization", choices=get_args(GraphOptimization), default="all",
                        help="how far the runtime rewrites the graph when it loads the file")
    parser.add_argument("--runtime", default=DEFAULT_RUNTIME, help="what runs the exported file; `runtimes` lists them")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 512])
    add_events(parser)
    parser.add_argument("--cache", type=Path, metavar="FOLDER",
                        help="keep the models after each step here, so that recipes that begin alike share the work")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    from compression.running.run import run as run_recipe
    from compression.spec.recipe import load_recipe

    if not options.recipe.is_file():
        raise RecipeError(f"There is no recipe file {options.recipe}.")
    recipe = load_recipe(options.recipe.read_text(encoding="utf-8", errors="replace"))
    target = Target(device=options.device, threads=options.threads, batch_sizes=tuple(options.batch_sizes),
                    graph_optimization=options.graph_optimization, runtime=options.runtime)
    spec = RunSpec(model="file", data="file", recipe=recipe, target=target)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_folder(options.model, Path(scratch), options.data, output=options.output)
        data = data_folder(options.data)
        result, files = run_recipe(spec, model_folder=folder, data_folder=data, folder=options.out,
                                   report=progress_of(options), cache=_cache(options.cache, folder, data, target),
                                   events=events_folder(options))
    answer = result.model_dump(mode="json") | {"written": {name: str(path) for name, path in files.items()}}
    told = [taken_sentence(result.cached_steps), result_text(result), f"Bundle: {files['bundle.zip']}"]
    return answer, "\n".join(filter(None, told))


def _cache(folder: Path | None, model: Path, data: Path, target: Target) -> StepCache | None:
    """The cache of steps in a folder, for this very model and data: their files are read to tell."""
    if folder is None:
        return None
    from compression.data.description import load_description
    from compression.running.machine import cache_origin

    where = data if data.is_dir() else data.parent
    rows = [where / name for name in load_description(data).file_names]
    described = data / "data.yaml" if data.is_dir() else data
    origin = cache_origin(digest_of_files(path for path in model.rglob("*") if path.is_file()),
                          digest_of_files([described, *rows]), code=code_version())
    return StepCache(folder, origin, target=target)
