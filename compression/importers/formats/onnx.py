"""An ONNX file, with its external data: the form that every other graph is brought into."""

from __future__ import annotations

from pathlib import Path

from compression.importers.beside import mappings_beside, signature_beside, sizes_of_vocabularies, vocabularies_of
from compression.importers.format import Format, Given, Upload, importer
from compression.importers.inspection import Look
from compression.spec.names import PRODUCER
from compression.spec.records import ModelDescription
from compression.spec.signature import Signature


def look(upload: Upload) -> Look:
    """Its inputs with the rows of the tables behind them; nothing of them where a signature came with it."""
    from compression.importers.onnx.inputs import model_inputs
    from compression.models.onnx.check import read_checked
    from compression.models.onnx.scores import proposed_score, score_choices

    sizes, mappings = sizes_of_vocabularies(upload.files), mappings_beside(upload.files)
    said = signature_beside(upload.files)
    if isinstance(said.get("inputs"), list):
        return Look("graph", reads=_columns(said), mappings=mappings, vocabularies=sizes)
    model = read_checked(upload.path, upload.beside, name=upload.called)
    choices = score_choices(model)
    return Look("graph", tuple(model_inputs(model)), mappings=mappings, vocabularies=sizes,
                scores=choices if len(choices) > 1 else (), score=proposed_score(model),
                lacks_bundle=model.producer_name == PRODUCER)


def read(upload: Upload, out: Path, given: Given) -> ModelDescription:
    from compression.importers.onnx.reader import read_onnx

    binding = given.binding or signature_beside(upload.files)
    return read_onnx(upload.path, upload.called, upload.beside, out, given=binding,
                     vocabularies=vocabularies_of(upload.files), data_folder=given.data_folder)


def _columns(said: dict) -> tuple[str, ...]:
    """The columns that a signature names; what is wrong with one, the import says."""
    try:
        known = {key: value for key, value in said.items() if key in Signature.model_fields}
        return tuple(one.column for one in Signature.model_validate(known).singles)
    except ValueError:
        return ()


importer(Format(key="onnx", binary=True, title="ONNX file with its data", endings=(".onnx",),
                companions=(".data", ".onnx_data", ".weights", ".json"),
                helpers=("{name}.*", "{name}_data", "binding.json", "signature.json", "vocabularies.json"), look=look,
                read=read))
