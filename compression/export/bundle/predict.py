"""Score rows:  python predict.py rows.csv > scores.txt

Needs numpy and onnxruntime, and the files that lie beside it. Rows are raw, as in the data the model was made for: a
table with the data's delimiter and header, a CSV with a header, or JSON lines; each may be packed with gzip. Where
columns have names, the label and others that the model does not read may be left out. One score a line, in the order
of the rows. What can't be read is said on standard error, with exit status 2; so is a column of which most values are
unknown to the model.
"""

import base64
import codecs
import gzip
import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

HERE, BATCH_ROWS, MOST = Path(__file__).resolve().parent, 4096, 0.5
sys.path.insert(0, str(HERE))  # for the files that say how data is read, the same as when the model was measured
import cells  # noqa: E402
import json_text  # noqa: E402
import text_file  # noqa: E402
import text_form  # noqa: E402

SAVED = json.loads((HERE / "signature.json").read_text("utf-8"))
# an ONNX file that multiplies bytes
PRODUCTS = "CAo6PgoYCgF4CgF3EgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWgkKAXgSBAoCCAJaCQoBdxIECgIIA2IJCgF5EgQKAggGQgQKABAV"


def vocabularies():
    """Column → value → row of the table; row 0 is unknown or missing."""
    listed = json.loads((HERE / "vocabularies.json").read_text("utf-8"))
    if twice := cells.repeated(listed):
        raise cells.DataError(twice)
    rows = {column: {value: row for row, value in enumerate(values, 1)} for column, values in listed.items()}
    return {column: known | cells.other_spellings(known) for column, known in rows.items()}


def rows_in(path):
    """Each row as a mapping from column to cell: text, or what JSON holds. Raises DataError."""
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1" or head.startswith(b"\x28\xb5\x2f\xfd"):
        kind = "a Parquet file" if head == b"PAR1" else "packed with zstd"
        raise cells.DataError(f"{path.name} is {kind}; predict.py reads CSV and JSON lines, plain or packed with gzip. "
                              "Write it as one of these.")
    with tempfile.TemporaryDirectory() as folder:
        plain = path
        if head.startswith(b"\x1f\x8b"):
            plain = Path(folder) / path.name
            with gzip.open(path, "rb") as source, plain.open("wb") as out:
                shutil.copyfileobj(source, out)
        encoding = SAVED["encoding"] if SAVED["encoding"] and is_encoded(plain) else None
        with text_form.plain_text(plain, encoding=encoding, folder=folder) as (lines, _):
            if json_text.kind_of(lines):
                yield from json_rows(lines)
                return
            first = [name.strip() for name in text_file.split_line(text_file.read_first_line(lines), ",")]
            if READ.issubset(first) and SAVED["delimiter"] != ",":  # as a split is downloaded
                yield from table_rows(lines, ",", None)
                return
            names = None if READ.issubset(first) else SAVED["columns"]
            with text_form.plain_text(lines, delimiter=SAVED["delimiter"], folder=folder) as (rows, delimiter):
                yield from table_rows(rows, delimiter, names)


def is_encoded(path):
    """Whether the file is in the data's own encoding: one that is whole UTF-8 is not, such as a downloaded split."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return True
    return False


def json_rows(path):
    for place, row in enumerate(json_text.objects_in(path), 1):
        try:
            yield {column: cells.text_of(value) for column, value in row.items() if column in READ}
        except ValueError:
            raise cells.DataError(f"{path.name}: object {place:,} holds something other than single values and "
                                  "lists.") from None


def table_rows(path, delimiter, names):
    shape = text_file.check_text_file(path, delimiter)
    lines = text_file.rows_of(path, delimiter, shape)
    names = names or [name.strip() for name in next(lines)]
    if len(names) != shape.columns:
        raise cells.DataError(f"{path.name} has {shape.columns:,} columns; without a header it needs these, in this "
                              f"order, the label included: {', '.join(names)}.")
    for column in sorted(READ):
        if names.count(column) != 1:
            wrong = "has the column several times" if column in names else f"has only: {', '.join(names)[:500]}"
            made = f" It is {SAVED['made'][column]}." if column in SAVED["made"] else ""
            raise cells.DataError(f"The model reads the column '{column}'; {path.name} {wrong}.{made}")
    places = {column: names.index(column) for column in READ}
    commas = READ.intersection(SAVED["decimal_commas"])
    for line in lines:
        row = {column: line[place] for column, place in places.items()}
        yield row | {column: cells.with_point(row[column]) for column in commas}


class Column:
    """One column that an input reads, from cells to what the model takes."""

    def __init__(self, item, known):
        self.item, self.known = item, known
        self.separator = SAVED["separators"].get(item["column"], " ")
        self.seen = self.unknown = 0

    def numbers(self, texts, first_row):
        what, found = f"Column '{self.item['column']}'", []
        for place, text in enumerate(texts):
            try:
                found.append(np.nan if text is None else cells.number(text))
            except (ValueError, AttributeError):
                row = f" in data row {first_row + place:,}" if first_row else ""
                raise cells.DataError(f"{what} must hold numbers; got {str(text)[:40]!r}{row}.") from None
        values = np.array(found, np.float64)
        cells.check_finite(values, what, first_row=first_row)
        return values

    def rows(self, texts, first_row):
        """The row of the table of each value, 0 where it is missing or unknown."""
        item = self.item
        if self.known is None:  # the column holds row numbers
            return cells.row_numbers(self.numbers(texts, first_row), item["cardinality"], column=item["column"],
                                     name=item["name"])
        if any(isinstance(text, list) for text in texts):
            raise cells.DataError(f"Column '{item['column']}' must hold single values; got a list.")
        found = [self.known.get(text) or self.known.get(cells.spelled(text), 0) if text else 0 for text in texts]
        self.seen += sum(map(bool, texts))
        self.unknown += sum(bool(text) and not row for text, row in zip(texts, found, strict=True))
        found = np.array(found, np.int64)  # first_id 0: the model keeps no row for unknown values
        return np.maximum(found - (1 - item["first_id"]), 0) if item["kind"] == "category" else found

    def encode(self, batch, first_row):
        """Ids (N,) or (N, L), or values (N,)."""
        item, texts = self.item, [row.get(self.item["column"]) for row in batch]
        if item["kind"] == "number":
            return cells.transformed(self.numbers(texts, first_row), transform=item["transform"], mean=item["mean"],
                                     std=item["std"]).astype(item["dtype"])
        if item["kind"] == "category":
            return self.rows(texts, first_row).astype(item["dtype"]) + item["offset"]
        lists = [cells.values_in(text, self.separator) for text in texts]
        flat = iter(self.rows([value for values in lists for value in values], 0).tolist())
        keep = bool(item.get("length_of"))  # zeros of a mask keep their place
        ids = [[row for row in itertools.islice(flat, len(values)) if row or keep] for values in lists]
        length = item["max_length"] or max(1, *map(len, ids))
        return np.array([(row + [0] * length)[:length] for row in ids], item["dtype"]) + item["offset"]


def overflows():
    """Whether this CPU's fast 8-bit products get the largest ones wrong, as those without VNNI do."""
    product = base64.b64decode(PRODUCTS)
    given = {"x": np.full((16, 64), 255, np.uint8), "w": np.full((64, 32), 127, np.int8)}
    return (onnxruntime.InferenceSession(product).run(None, given)[0] != 64 * 255 * 127).any()


LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
          "none": "ORT_DISABLE_ALL"}


def opened():
    """The model, as the numbers of the model card were taken."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[SAVED["graph_optimization"]])
    if overflows():  # slower, but exact
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"])


INPUTS = SAVED["signature"]["inputs"]
READ = {single["column"] for item in INPUTS for single in item["parts"] or [item]}


def trimmed(inputs):
    """Lists under a mask as long as the longest of these rows, as they were when the model was measured."""
    multi = {item["name"]: item for item in INPUTS if item["kind"] == "multi"}
    for text in {item["length_of"] for item in multi.values()} & set(multi):
        group = [name for name, item in multi.items() if text in (name, item["length_of"])]
        if not any(multi[name]["fixed_length"] for name in group):
            places = np.flatnonzero(np.any([(inputs[name] != 0).any(0) for name in group], 0))
            longest = max(1, *(places[-1:] + 1))
            inputs |= {name: np.ascontiguousarray(inputs[name][:, :longest]) for name in group}
    return inputs


def main(path):
    known, session, row = vocabularies(), opened(), 1
    columns = [[Column(single, known.get(single["column"])) for single in item["parts"] or [item]] for item in INPUTS]
    rows = rows_in(path)
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        inputs = {}
        for item, singles in zip(INPUTS, columns, strict=True):
            arrays = [single.encode(batch, row) for single in singles]
            inputs[item["name"]] = np.stack(arrays, axis=1).astype(item["dtype"]) if item["parts"] else arrays[0]
        inputs = trimmed(inputs)
        # the more places of lists a row has, the fewer rows at a time
        step = max(1, 8 * BATCH_ROWS // max(1, sum(array.shape[1] for array in inputs.values() if array.ndim > 1)))
        for start in range(0, len(batch), step):
            part = {name: array[start:start + step] for name, array in inputs.items()}
            print(*session.run([SAVED["signature"]["output"]], part)[0].ravel(), sep="\n")
        row += len(batch)
    for one in itertools.chain(*columns):
        if one.unknown > MOST * one.seen:
            print(f"Warning: {one.unknown / one.seen:.0%} of the values of '{one.item['column']}' are not in the "
                  "model's vocabulary and are scored as unknown. Are they written as in the data the model was made "
                  "for?", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)))
    except (cells.DataError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
