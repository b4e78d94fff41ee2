"""Settings that a training tool kept beside its weights: Lightning, RecBole, FuxiCTR. Read as data, none of it is run.

    told_by(values, files).settings  →  {"blocks.heads": 2, "dropout": 0.1, "fields": […]}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compression.importers.checkpoint.fuxictr import MAP, told_by_fuxictr
from compression.importers.checkpoint.id_maps import mappings_in_values
from compression.importers.checkpoint.lightning import hyper_parameters
from compression.importers.checkpoint.recbole import config_of, told_by_recbole
from compression.importers.checkpoint.recbole_dataset import read_dataset
from compression.importers.checkpoint.told import Told, common, parsed, text_in, text_of
from compression.importers.format_sniffing import is_recbole_dataset
from compression.spec.errors import ModelError


def told_by(values: Any, files: dict[str, Path], *, vocabularies: dict[str, list[str]] | None = None,
            data_folder: Path | None = None) -> Told:
    """What the checkpoint's plain values and the small files beside it say. Raises ModelError for an oversized one.

    `vocabularies` and `data_folder` are looked at where a tool leaves the rows of its fields to them.
    """
    told = Told()
    config = config_of(values)
    if config is not None:
        dataset = _dataset_of(config, [name for name, path in files.items() if is_recbole_dataset(path)])
        kept = read_dataset(files[dataset], dataset) if dataset else None
        told = told_by_recbole(config, kept=kept, vocabularies=vocabularies or {}, data_folder=data_folder)
    elif MAP in files:
        return told_by_fuxictr(files)
    for plain in (*_of_files(files), *(hyper_parameters(values) if config is None else ())):
        told.settings |= common(plain)
    if config is None:
        told.mappings = mappings_in_values(values)
    return told


def _dataset_of(config: dict[str, Any], names: list[str]) -> str | None:
    """The dataset file of RecBole that the settings name: of several, the one named after it. Raises ModelError."""
    if len(names) < 2:
        return names[0] if names else None
    fitting = [name for name in names if name.startswith(f"{text_in(config, 'dataset')}-")]
    if len(fitting) != 1:
        raise ModelError(f"{', '.join(sorted(names))[:200]} are datasets of RecBole, and the checkpoint was trained "
                         f"on {text_in(config, 'dataset') or 'one that it does not name'}. Leave that one alone beside "
                         "it.")
    return fitting[0]


def _of_files(files: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """Settings files: args.txt with a "name,value" a line, model_config.yaml or .json with the settings of a model."""
    if "args.txt" in files:
        lines = (line.partition(",") for line in text_of(files["args.txt"], "args.txt").splitlines())
        yield {name.strip(): _number(value.strip()) for name, _, value in lines}
    for name in ("model_config.json", "model_config.yaml", "model_config.yml", "config.json", "hparams.yaml"):
        if name in files:
            plain = parsed(text_of(files[name], name), name)
            yield plain
            yield from (one for one in plain.values() if isinstance(one, dict))


def _number(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
