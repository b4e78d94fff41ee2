"""Weights that nothing of ours describes: their family is recognised, with the settings that other tools left."""

from __future__ import annotations

from pathlib import Path

from compression.importers.beside import VOCABULARIES, mappings_beside, sizes_of_vocabularies, vocabularies_of
from compression.importers.format import Format, Given, Upload, importer
from compression.importers.format_sniffing import CHECKPOINTS, WEIGHT_ENDINGS, is_recbole_dataset
from compression.importers.inspection import NAMED_BY_COLUMNS, Look, Mapping
from compression.spec.records import ModelDescription

HELPERS = (VOCABULARIES, "feature_map.json", "feature_vocab.json", "model_config.*", "{stem}.yaml", "{stem}.yml",
           "{stem}.json", "hparams.yaml", "args.txt", "*[dD]ataset.pth")  # of FuxiCTR, Lightning, RecBole


def look(upload: Upload) -> Look:
    """The family they are recognised as, and what it can't tell."""
    from compression.importers.checkpoint.bound import input_of
    from compression.importers.checkpoint.choose import answered
    from compression.importers.checkpoint.read import recognised
    from compression.importers.checkpoint.recbole_fields import FieldsUntold
    from compression.importers.checkpoint.recognised import Settings, Untold
    from compression.importers.checkpoint.state import state_and_told

    sizes, mappings = sizes_of_vocabularies(upload.files), mappings_beside(upload.files)
    state, told = state_and_told(upload.files, upload.name)
    settings = Settings({}, told.settings)
    try:
        found = recognised(state, upload.name, settings, told)
    except FieldsUntold as untold:  # the import asks the data
        return Look("RecBole", reads=untold.reads, vocabularies=sizes)
    except Untold as untold:  # the import asks the data, unless the person says it
        return Look("one table", questions=untold.questions, mappings=mappings, vocabularies=sizes)
    mappings = mappings | {key: Mapping(len(one), min(one.values())) for key, one in told.mappings.items()}
    questions = tuple(one for one in answered(found, settings) if one.key not in NAMED_BY_COLUMNS)
    columns = told.settings.get("columns")
    lists = tuple(one.name for one in found.fields if one.kind == "multi")
    return Look(found.title, tuple(map(input_of, found.fields)), lists, columns if isinstance(columns, dict) else {},
                questions=questions, mappings=mappings,
                vocabularies=sizes | {column: len(words) for column, words in told.vocabularies.items()})


def read(upload: Upload, out: Path, given: Given) -> ModelDescription:
    from compression.importers.checkpoint.read import read_state_dict
    from compression.importers.checkpoint.state import state_and_told

    state, told = state_and_told(upload.files, upload.name, given.data_folder)
    out.mkdir(parents=True, exist_ok=True)
    return read_state_dict(state, upload.name, out, given=given.binding, data_folder=given.data_folder, told=told,
                           vocabularies=vocabularies_of(upload.files))


def datasets(files: dict[str, Path]) -> list[str]:
    """The datasets of RecBole, which lie beside a checkpoint under an ending of its own."""
    return [name for name, path in files.items() if name.lower().endswith(tuple(CHECKPOINTS))
            and is_recbole_dataset(path)]


importer(Format(key="weights", binary=True, title="weights alone", endings=WEIGHT_ENDINGS,
                companions=(".json", ".yaml", ".yml", ".txt"), helpers=HELPERS, look=look, read=read,
                admits=CHECKPOINTS, attached=datasets))
