"""A folder of Hugging Face or sentence-transformers: config.json, weights, and layers behind them."""

from __future__ import annotations

from pathlib import Path

from compression.importers.beside import sizes_of_vocabularies, vocabularies_of
from compression.importers.format import Format, Given, Upload, importer
from compression.importers.format_sniffing import CHECKPOINTS, WEIGHT_ENDINGS
from compression.importers.hugging_face.folder import TOKENIZERS, attached_weights, is_hugging_face
from compression.importers.inspection import Look
from compression.spec.records import ModelDescription


def look(upload: Upload) -> Look:
    from compression.importers.hugging_face.reader import look_at_folder

    sizes = sizes_of_vocabularies(upload.files)
    title, inputs = look_at_folder(upload.files, upload.name)
    return Look(title, inputs, lists=tuple(one.name for one in inputs), vocabularies=sizes)


def read(upload: Upload, out: Path, given: Given) -> ModelDescription:
    from compression.importers.hugging_face.reader import read_hugging_face

    return read_hugging_face(upload.files, upload.name, out, given=given.binding, data_folder=given.data_folder,
                             vocabularies=vocabularies_of(upload.files))


importer(Format(key="hugging_face", binary=True, title="Hugging Face folder", endings=WEIGHT_ENDINGS,
                companions=(".json",), helpers=(TOKENIZERS,), sniff=lambda upload: is_hugging_face(upload.files),
                look=look, read=read, admits=CHECKPOINTS, attached=attached_weights))
