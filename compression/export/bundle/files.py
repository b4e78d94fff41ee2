"""What a person takes away: a zip with the model, its numbers, and a script that runs it.

    model.onnx, model.onnx.data   the exported file
    recipe.yaml                   how it was made
    signature.json                what it reads; how the columns of the data are written
    vocabularies.json             values of each column, in the order of the table's rows from row 1 on
    measurements.json             the Result
    README.md                     a model card
    predict.py                    scores raw rows with numpy and one runtime alone
    cells.py, json_text.py, text_file.py, text_form.py   how data is read, the same code as when it was measured
    SHA256SUMS                    a digest for each

Equal contents give equal bytes. Reading trusts nothing: names, sizes, ratios, digests and the places that the
graph names for its data are checked before anything is opened.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path

from pydantic import ValidationError

from compression import data
from compression.data.archive import MAX_RATIO, unzip
from compression.data.cells import repeated
from compression.export.bundle.card import model_card
from compression.export.onnx import DATA_SUFFIX, Exported
from compression.spec.data_description import DataDescription, Role
from compression.spec.errors import ModelError
from compression.spec.plain_text import unique_keys
from compression.spec.records import Result, Target
from compression.spec.registry import STORED
from compression.spec.signature import Signature

MODEL, DATA, SUMS, NUMBERS = "model.onnx", "model.onnx" + DATA_SUFFIX, "SHA256SUMS", "measurements.json"
SIGNATURE, VOCABULARIES, PREDICT = "signature.json", "vocabularies.json", "predict.py"
READING = ("cells.py", "json_text.py", "text_file.py", "text_form.py")  # of compression/data, for predict.py
MEBIBYTE = 2**20
LARGEST_BYTES = {MODEL: 2048 * MEBIBYTE, DATA: 2**40, VOCABULARIES: 4096 * MEBIBYTE, "recipe.yaml": MEBIBYTE,
                 SIGNATURE: 16 * MEBIBYTE, NUMBERS: 64 * MEBIBYTE, "README.md": 16 * MEBIBYTE,
                 PREDICT: MEBIBYTE, **dict.fromkeys(READING, MEBIBYTE), SUMS: MEBIBYTE}
REQUIRED = frozenset(LARGEST_BYTES) - {DATA, *READING}  # bundles of before read rows by predict.py alone
FREE_RATIO_BYTES = MEBIBYTE  # files smaller than this may compress as they like
CHUNK_BYTES = MEBIBYTE
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can say


def write_bundle(path: Path, *, exported: Exported, signature: Signature, vocabularies: dict[str, list[str]],
                 recipe: str, result: Result, description: DataDescription,
                 architecture: str) -> tuple[Path, Result]:
    """Write the zip. Gives its path and the result with the digest of every file but its own and SHA256SUMS."""
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        files = _model_files(exported, Path(scratch))
        texts = _serving_texts(signature, vocabularies, description, result.spec.target) | {
            "recipe.yaml": recipe,
            "README.md": model_card(result, signature=signature, description=description, architecture=architecture,
                                    recipe=recipe),
        }
        digests = {name: digest_of(file) for name, file in files.items()}
        digests |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        result = result.model_copy(update={"files": dict(sorted(digests.items()))})
        texts[NUMBERS] = _json(result.model_dump(mode="json"))
        digests[NUMBERS] = hashlib.sha256(texts[NUMBERS].encode()).hexdigest()
        texts[SUMS] = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        unfinished = path.with_name(path.name + ".part")
        with zipfile.ZipFile(unfinished, "w") as archive:
            for name in sorted(files):
                entry = _entry(name, zipfile.ZIP_STORED)
                with archive.open(entry, "w", force_zip64=True) as out, files[name].open("rb") as source:
                    shutil.copyfileobj(source, out, CHUNK_BYTES)
            for name in sorted(texts):
                archive.writestr(_entry(name, zipfile.ZIP_DEFLATED), texts[name].encode())
        unfinished.replace(path)
    return path, result


def bundle_bytes(exported: Exported, signature: Signature, *, vocabularies: dict[str, list[str]],
                 description: DataDescription, target: Target, folder: Path) -> int:
    """What serving needs of the bundle that write_bundle makes of these, unpacked: the model and its serving texts.

    `folder` is for scratch: a file that was exported elsewhere is written anew, as for the bundle.
    """
    texts = _serving_texts(signature, vocabularies, description, target)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        held = sum(file.stat().st_size for file in _model_files(exported, Path(scratch)).values())
    return held + sum(len(text.encode()) for text in texts.values())


def _serving_texts(signature: Signature, vocabularies: dict[str, list[str]], description: DataDescription,
                   target: Target) -> dict[str, str]:
    """What stands beside the model for raw rows to be scored, by name."""
    return {
        SIGNATURE: _json({"signature": signature.model_dump(mode="json"), **_reading(description),
                          "graph_optimization": target.graph_optimization}),
        VOCABULARIES: _json(_used(vocabularies, signature)),
        PREDICT: Path(__file__).with_name(PREDICT).read_text(encoding="utf-8"),
        **{name: Path(data.__file__).with_name(name).read_text(encoding="utf-8") for name in READING},
    }


def _model_files(exported: Exported, scratch: Path) -> dict[str, Path]:
    """The graph and its data under the bundle's names; a file exported elsewhere may keep its data otherwise."""
    if exported.path.name == MODEL and {file.name for file in exported.files} <= {MODEL, DATA}:
        return {file.name: file for file in exported.files}
    import onnx_ir

    onnx_ir.save(onnx_ir.load(exported.path), scratch / MODEL, external_data=DATA, max_workers=1)
    return {name: scratch / name for name in (MODEL, DATA) if (scratch / name).exists()}


def _reading(description: DataDescription) -> dict[str, object]:
    """How predict.py finds the columns: names where the data has no header, delimiter, separators of multi cells."""
    delimiter = description.delimiter or ("\t" if description.format == "tsv" else ",")
    headed = description.header or not description.is_text_table
    return {"columns": None if headed else [column.name for column in description.columns], "delimiter": delimiter,
            "encoding": description.encoding, "made": _made_words(description),
            "decimal_commas": list(description.comma_columns),
            "separators": {column.name: column.separator for column in description.by_role(Role.MULTI)}}


def _made_words(description: DataDescription) -> dict[str, str]:
    """What a column is that is made from the log and stands in no file of it."""
    history = description.history
    return {} if history is None else {
        history.column: f"the last {history.last} items that the user chose before the row, the newest last"}


def _used(vocabularies: dict[str, list[str]], signature: Signature) -> dict[str, list[str]]:
    """Only columns that are looked up: predict.py takes a column without a vocabulary for row numbers."""
    used = {item.column for item in signature.singles if item.kind != "number" and item.ids == "vocabulary"}
    return {column: values for column, values in sorted(vocabularies.items()) if column in used}


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = compression
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    return entry


def _json(plain: object) -> str:
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def digest_of(path: Path) -> str:
    """sha256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def read_bundle(path: Path, folder: Path) -> tuple[Path, Result]:
    """Unpack a bundle into `folder` (made if absent) and give it with the Result.

    Raises ModelError: no zip, unknown or missing names, sizes or ratios beyond the limits, a digest that differs,
    numbers that can't be read, a graph that names data outside the bundle. Nothing in it is executed.
    """
    folder, name = Path(folder), Path(path).name
    held = unzip(path, name, folder, max_bytes=sum(LARGEST_BYTES.values()),
                 plan=lambda entries: _planned(entries, name),
                 again="is not a whole zip file ({error}). Download the bundle again.")
    _check_digests(folder, list(held))
    _check_data_places(folder)
    read_signature(folder)
    try:
        result = Result.model_validate_json((folder / NUMBERS).read_bytes(), context=STORED)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ModelError(f"{NUMBERS} can't be read: {where} {error.errors()[0]['msg']}.") from None
    return folder, result


def _planned(entries: list[zipfile.ZipInfo], name: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """Every entry under its own name, which is one that a bundle has, no larger than such a file is."""
    names = [entry.filename for entry in entries]
    unknown = sorted(set(names) - set(LARGEST_BYTES))
    missing = sorted(REQUIRED - set(names))
    if unknown or len(set(names)) != len(names):
        shown = ", ".join(repr(item[:60]) for item in unknown[:3]) or "a name twice"
        raise ModelError(f"{name} is no RecPress bundle: it holds {shown}; allowed are {', '.join(LARGEST_BYTES)}.")
    if missing:
        raise ModelError(f"{name} is no whole RecPress bundle: it lacks {', '.join(missing)}. Export the run again.")
    for entry in entries:
        if entry.file_size > LARGEST_BYTES[entry.filename]:
            raise ModelError(f"{entry.filename} in {name} has {entry.file_size:,} bytes unpacked; at most "
                             f"{LARGEST_BYTES[entry.filename]:,} are allowed.")
        if entry.file_size > FREE_RATIO_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            raise ModelError(f"{entry.filename} in {name} unpacks to more than {MAX_RATIO} times its packed size, "
                             "as a zip bomb does. Bundles written here don't.")
    return list(zip(entries, names, strict=True))


def _check_digests(folder: Path, names: list[str]) -> None:
    wanted = dict(reversed(line.split("  ", 1)) for line in (folder / SUMS).read_text("utf-8", "replace").splitlines()
                  if "  " in line)
    for name in sorted(set(names) - {SUMS}):
        if wanted.get(name) != digest_of(folder / name):
            raise ModelError(f"{name} in the bundle differs from its digest in {SUMS}; it was damaged or changed. "
                             "Download the bundle again.")


def _check_data_places(folder: Path) -> None:
    """Refuse a graph that would make the runtime read a file outside the bundle, or beyond the end of its data."""
    import onnx

    try:
        model = onnx.load(folder / MODEL, load_external_data=False)
    except Exception as error:  # protobuf's own errors share no base that onnx exports
        raise ModelError(f"{MODEL} in the bundle is no ONNX file ({str(error).splitlines()[0]}).") from None
    held = (folder / DATA).stat().st_size if (folder / DATA).exists() else 0
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        place = {entry.key: entry.value for entry in tensor.external_data}
        if not place:
            continue
        try:
            end = int(place.get("offset", 0)) + int(place.get("length", 0))
            inside = place.get("location") == DATA and 0 <= int(place.get("offset", 0)) <= end <= held
        except ValueError:
            inside = False
        if not inside:
            raise ModelError(f"{MODEL} wants to read the tensor {tensor.name!r} from {place.get('location')!r} outside "
                             f"the bundle, or beyond the end of {DATA}; it was not opened.")


def read_signature(folder: Path) -> tuple[Signature, dict[str, list[str]]]:
    """Signature and vocabularies of an unpacked bundle. Raises ModelError."""
    try:
        saved = json.loads((Path(folder) / SIGNATURE).read_text(encoding="utf-8"))
        vocabularies = json.loads((Path(folder) / VOCABULARIES).read_text(encoding="utf-8"),
                                  object_pairs_hook=unique_keys)
        signature = Signature.model_validate(saved["signature"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{SIGNATURE} or {VOCABULARIES} of the bundle can't be read: "
                         f"{str(error).splitlines()[0]}. Export the run again.") from None
    lists = list(vocabularies.values()) if isinstance(vocabularies, dict) else [None]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists):
        raise ModelError(f"{VOCABULARIES} must map each column to a list of its values, each a text.")
    if twice := repeated(vocabularies):
        raise ModelError(twice)
    return signature, vocabularies
