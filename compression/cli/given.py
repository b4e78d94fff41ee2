"""What commands are given: models, datasets, settings; and where their progress goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compression.spec.errors import DataError, ModelError, RecipeError
from compression.spec.plain_text import TextError, read_yaml
from compression.spec.records import WARNING, Progress

Answer = tuple[Any, str]  # what --json prints, and what a person reads
FEW_UNITS = 200  # epochs, steps or trainings that get a line each; rows and pairs are more


def data_folder(path: Path) -> Path:
    """The folder, or the very description that was named: what reads datasets takes either."""
    if not path.is_file() and not (path / "data.yaml").is_file():
        raise DataError(f"There is no data.yaml in {path}; README.md shows how to write one.")
    return path


def model_folder(path: Path, scratch: Path, data: Path | None, *, output: str | None = None) -> Path:
    """A model folder as it is; any other file goes through the importers, in their sandbox.

    `output` says which output is the score of a file that has several.
    """
    from compression.importers.format import with_helpers
    from compression.importers.hugging_face.folder import files_of_folder, is_hugging_face

    data = data and data_folder(data)
    if path.is_dir() and is_hugging_face(files := files_of_folder(path)):
        return _imported(files, scratch, data, output)
    if (path / "config.json").is_file() or (path / "binding.json").is_file():
        return path
    if not path.is_file():
        raise ModelError(f"There is no model at {path}.")
    return _imported(with_helpers(path), scratch, data, output)


def _imported(files: dict[str, Path], scratch: Path, data: Path | None, output: str | None) -> Path:
    from compression.importers import import_model
    from compression.importers.beside import signature_beside
    from compression.importers.proposed import proposed_binding, proposed_words

    folder = scratch / "imported"
    binding = said = signature_beside(files)
    if data:
        files, binding = proposed_binding(files, data, scratch)
        if binding.get("inputs") and not said.get("inputs"):
            print(f"{proposed_words(binding)} If that is wrong, say it in a binding.json beside the file.",
                  file=sys.stderr)
    import_model(files, folder, data_folder=data, binding=binding | ({"output": output} if output else {}) or None)
    return folder


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
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


def add_events(parser: argparse.ArgumentParser) -> None:
    """The word of commands that train."""
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write each epoch there for TensorBoard")


def events_folder(options: argparse.Namespace) -> Path | None:
    """Where TensorBoard's events go. Raises ModelError where it isn't installed, so that nobody waits for them."""
    from compression.train.events import is_installed

    if options.tensorboard and not is_installed():
        raise ModelError("TensorBoard is not installed: pip install tensorboard, or leave --tensorboard out.")
    return options.tensorboard


def progress_of(options: argparse.Namespace) -> Callable[[Progress], None]:
    """Progress on standard error: a line for each stage, and for each unit of those that have few; with --json only
    warnings."""
    last: tuple[str, int] | None = None

    def report(progress: Progress) -> None:
        nonlocal last
        if progress.stage == WARNING:
            print(f"Warning: {progress.message}", file=sys.stderr)
            return
        few = progress.total is not None and progress.total <= FEW_UNITS
        place = progress.stage, int(progress.done) if few else 0
        if not options.json and place != last:
            last = place
            print(f"… {progress.stage} {progress.message}".rstrip(), file=sys.stderr)

    return report
