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
from compression.importers.checkpoint.told import Told, common, parsed, text_of
from compression.importers.format_sniffing import is_recbole_dataset


def told_by(values: Any, files: dict[str, Path], *, vocabularies: dict[str, list[str]] | None = None,
            data_folder: Path | None = None) -> Told:
    """What the checkpoint's plain values and the small files beside it say. Raises ModelError for an oversized one.

    `vocabularies` and `data_folder` are looked at where a tool leaves the rows of its fields to them.
    """
    told = Told()
    config = config_of(values)
    if config is not None:
        datasets = [name for name, path in files.items() if is_recbole_dataset(path)]
        kept = read_dataset(files[datasets[0]], datasets[0]) if datasets else None
        told = told_by_recbole(config, kept=kept, vocabularies=vocabularies or {}, data_folder=data_folder)
    elif MAP in files:
        return told_by_fuxictr(files)
    for plain in (*_of_files(files), *(hyper_parameters(values) if config is None else ())):
        told.settings |= common(plain)
    if config is None:
        told.mappings = mappings_in_values(values)
    return told


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
