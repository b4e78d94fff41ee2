"""Score the rows of a CSV file:  python predict.py rows.csv > scores.txt

Needs numpy and onnxruntime, and the files that lie beside it. Rows are raw, as in the data the model was made
for; the label column may be left out. One score a line, in the order of the rows.
"""

import base64
import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE, BATCH_ROWS, MISSING = Path(__file__).resolve().parent, 4096, ("", "nan", "na", "n/a", "null", "none", "?", "\\n")
SAVED = json.loads((HERE / "signature.json").read_text("utf-8"))
VOCABULARIES = {column: {value: row for row, value in enumerate(values, 1)}  # row 0 is unknown or missing
                for column, values in json.loads((HERE / "vocabularies.json").read_text("utf-8")).items()}
# an ONNX file that multiplies bytes
PRODUCTS = "CAo6PgoYCgF4CgF3EgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWgkKAXgSBAoCCAJaCQoBdxIECgIIA2IJCgF5EgQKAggGQgQKABAV"


def number(cell):
    text = cell.strip().lower()
    return np.nan if text in MISSING else float({"true": 1, "false": 0}.get(text, text))


def encode(item, rows):
    """What the model reads as this input: ids (N,) or (N, L), values (N,), or several columns side by side."""
    if item["parts"]:
        return np.stack([encode(part, rows) for part in item["parts"]], axis=1).astype(item["dtype"])
    cells = [row[item["column"]] for row in rows]
    if item["kind"] == "number":
        values = np.array([number(cell) for cell in cells])
        values = np.sign(values) * np.log1p(np.abs(values)) if item["transform"] == "log" else values
        values = (values - item["mean"]) / item["std"] if item["transform"] != "none" else values
        return np.nan_to_num(values).astype(item["dtype"])
    known = VOCABULARIES.get(item["column"])  # None where the column holds row numbers

    def row_of(value):
        if known is None:
            return int(np.nan_to_num(number(value)))
        return max(0, known.get(value, 0) - (1 - item["first_id"]))  # 0: the model keeps no row for unknown values

    if item["kind"] == "category":
        return np.array([row_of(cell) for cell in cells], item["dtype"]) + item["offset"]
    parts = [cell.split(SAVED["separators"].get(item["column"], " ")) for cell in cells]
    keep = bool(item.get("length_of"))  # zeros of a mask keep their place
    lists = [[row for part in each if (row := row_of(part.strip(" "))) or (keep and part.strip())] for each in parts]
    length = item["max_length"] or max(1, *map(len, lists))
    return np.array([(ids + [0] * length)[:length] for ids in lists], item["dtype"]) + item["offset"]


def overflows():
    """Whether this CPU's fast 8-bit products get the largest ones wrong, as those without VNNI do."""
    product = base64.b64decode(PRODUCTS)
    given = {"x": np.full((16, 64), 255, np.uint8), "w": np.full((64, 32), 127, np.int8)}
    return (onnxruntime.InferenceSession(product).run(None, given)[0] != 64 * 255 * 127).any()


LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
          "none": "ORT_DISABLE_ALL"}
options = onnxruntime.SessionOptions()  # as the numbers of the model card were taken
options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[SAVED["graph_optimization"]])
if overflows():  # slower, but exact
    options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"])
with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
    rows = csv.DictReader(file, SAVED["columns"], delimiter=SAVED["delimiter"])
    while batch := [row for _, row in zip(range(BATCH_ROWS), rows, strict=False)]:
        inputs = {item["name"]: encode(item, batch) for item in SAVED["signature"]["inputs"]}
        print(*session.run([SAVED["signature"]["output"]], inputs)[0].ravel(), sep="\n")
