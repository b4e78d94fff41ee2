"""What transformers says of an encoder of texts: run by a Python that has it and torch, without anything of RecPress.

    python encoders_reference.py pairs MODEL_FOLDER DATA_FOLDER     writes 160 pairs of texts as rows of token ids
    python encoders_reference.py cosines MODEL_FOLDER INPUTS OUT    INPUTS.npz → OUT.npy, a cosine a pair

Texts are docstrings of the standard library: the first paragraph asks, the rest answers; half of the answers are
another's.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import random
import sys
from pathlib import Path

N_PAIRS, MOST_TOKENS = 80, 48
MODULES = ("statistics", "textwrap", "shutil", "random", "heapq", "os.path", "json", "subprocess", "inspect",
           "collections", "itertools", "functools", "math", "string", "tempfile", "threading", "zipfile", "decimal",
           "datetime", "argparse")
COLUMNS = ("query", "query_mask", "document", "document_mask")


def texts() -> list[tuple[str, str]]:
    """Question and answer of the documented functions and classes, in random order."""
    found = []
    for name in MODULES:
        for key, value in sorted(vars(importlib.import_module(name)).items()):
            known = inspect.isfunction(value) or inspect.isclass(value) or inspect.isbuiltin(value)
            text = inspect.getdoc(value) if known and not key.startswith("_") else None
            first, _, rest = (" ".join(part.split()) for part in (text or "").partition("\n\n"))
            if len(first) > 15 and len(rest) > 40:
                found.append((first, rest))
    found = list(dict.fromkeys(found))
    random.Random(0).shuffle(found)
    return found[:N_PAIRS]


def write_pairs(model: Path, folder: Path) -> None:
    """rows.csv and data.yaml: each pair once as it is, and once with another's answer."""
    from transformers import AutoTokenizer

    tokenizer, pairs = AutoTokenizer.from_pretrained(model), texts()
    rows = [(first, rest, 1) for first, rest in pairs]
    rows += [(first, pairs[(place + 7) % len(pairs)][1], 0) for place, (first, _) in enumerate(pairs)]
    random.Random(1).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "label"])
        for first, rest, label in rows:
            ids = [tokenizer(text, truncation=True, max_length=MOST_TOKENS)["input_ids"] for text in (first, rest)]
            writer.writerow([text for one in ids for text in (" ".join(map(str, one)), " ".join("1" * len(one)))]
                            + [label])
    columns = [{"name": "label", "role": "label"}, *({"name": name, "role": "multi"} for name in COLUMNS)]
    (folder / "data.yaml").write_text(json.dumps({
        "name": "pairs", "files": {"all": "rows.csv"}, "label": {"column": "label"}, "columns": columns,
        "split": {"kind": "random", "valid": 0.1, "test": 0.4}}))


def write_cosines(model: Path, inputs: Path, out: Path) -> None:
    """The cosine of the mean token vectors of each pair, sixteen pairs at a time."""
    import numpy as np
    import torch
    from torch.nn import functional
    from transformers import AutoModel

    encoder, cosines = AutoModel.from_pretrained(model).eval(), []
    with np.load(inputs) as stored, torch.inference_mode():
        given = {name: torch.from_numpy(stored[name]) for name in stored.files}
        for start in range(0, len(given["query_input_ids"]), 16):
            vectors = []
            for text in ("query_", "document_"):
                ids, mask = (given[text + name][start:start + 16] for name in ("input_ids", "attention_mask"))
                states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                kept = mask.unsqueeze(-1).float()
                vectors.append(functional.normalize((states * kept).sum(1) / kept.sum(1), dim=-1))
            cosines.append((vectors[0] * vectors[1]).sum(-1))
    np.save(out, torch.cat(cosines).numpy())


def main(task: str, *paths: str) -> None:
    import torch
    import transformers

    {"pairs": write_pairs, "cosines": write_cosines}[task](*map(Path, paths))
    print(f"transformers {transformers.__version__} with torch {torch.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
