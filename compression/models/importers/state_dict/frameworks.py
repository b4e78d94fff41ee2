"""Settings that a training tool kept beside its weights: Lightning, RecBole, FuxiCTR. Read as data, none of it is run.

    told_by(values, files).settings  →  {"blocks.heads": 2, "dropout": 0.1, "fields": […]}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compression.models.importers.disguise import is_recbole_dataset
from compression.models.importers.state_dict.lightning import hyper_parameters
from compression.models.importers.state_dict.recbole import config_of, told_by_recbole
from compression.models.importers.state_dict.recbole_dataset import read_dataset
from compression.models.importers.state_dict.told import MAX_NAMES, Told, common, parsed, text_of


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
    for plain in (*_of_files(files), *(hyper_parameters(values) if config is None else ())):
        told.settings |= common(plain)
    if "feature_map.json" in files:
        _add_fuxictr(told, files)
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


def _add_fuxictr(told: Told, files: dict[str, Path]) -> None:
    """Fields, their order, kinds and vocabularies, as FuxiCTR's feature map has them."""
    plain = parsed(text_of(files["feature_map.json"], "feature_map.json"), "feature_map.json")
    features = plain.get("features")
    pairs = [pair for one in features if isinstance(one, dict) for pair in one.items()] \
        if isinstance(features, list) and len(features) <= MAX_NAMES else []
    kinds = {name: about for name, about in pairs if isinstance(about, dict) and about.get("type") != "meta"}
    of = {kind: [name for name, about in kinds.items() if about.get("type") == kind]
          for kind in ("numeric", "categorical", "sequence")}
    told.settings |= {
        "fields": [name for name in kinds if name not in of["numeric"]], "numbers": of["numeric"],
        "numeric": of["numeric"], "lists": of["sequence"], "mlp.batch_norm": "before", "output_order": "cross first",
        "lengths": {name: kinds[name]["max_len"] for name in of["sequence"]
                    if type(kinds[name].get("max_len")) is int and 0 < kinds[name]["max_len"] < 65_536}}
    if "feature_vocab.json" in files:
        vocabularies = parsed(text_of(files["feature_vocab.json"], "feature_vocab.json"), "feature_vocab.json")
        for name, tokens in vocabularies.items():
            words = _in_order(tokens)
            if name in kinds and words is not None:
                told.vocabularies[name] = words
        told.notes.append("An id that FuxiCTR never saw reads row 0 here; FuxiCTR reads the row of __OOV__.")


def _in_order(tokens: Any) -> list[str] | None:
    """token → row as a list from row 1 on; None where rows are missing or repeated."""
    if not isinstance(tokens, dict) or not all(type(row) is int for row in tokens.values()):
        return None
    by_row = {row: str(token) for token, row in tokens.items() if row > 0}
    whole = sorted(by_row) == list(range(1, len(by_row) + 1)) and len(by_row) == sum(row > 0 for row in tokens.values())
    return [by_row[row] for row in range(1, len(by_row) + 1)] if whole else None


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
