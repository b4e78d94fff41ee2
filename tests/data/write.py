"""Small files for the data tests: rows of a click log, written as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

COLUMNS = [{"name": "click", "role": "label"}, {"name": "user", "role": "user"}, {"name": "item", "role": "item"},
           {"name": "age", "role": "number"}, {"name": "tags", "role": "multi", "separator": "|"},
           {"name": "time", "role": "time"}]


def click_rows(count: int = 60, seed: int = 0) -> list[list[str]]:
    """Rows of click, user, item, age, tags, time; every label occurs in every tenth part."""
    rng = np.random.default_rng(seed)
    return [[str(k % 2), f"u{rng.integers(9)}", f"i{rng.integers(7)}", str(rng.integers(18, 70)),
             "|".join(rng.choice(["a", "b", "c"], rng.integers(1, 4), replace=False)), str(1000 + k)]
            for k in range(count)]


def write_data(folder: Path, rows: list[list[str]] | None = None, *, text: str | bytes | None = None,
               header: bool = True, delimiter: str = ",", file: str = "clicks.csv", **description: Any) -> Path:
    """A folder with the rows (or the text) in `file` and a data.yaml; keywords replace parts of the description."""
    if text is None:
        lines = ([[column["name"] for column in COLUMNS]] if header else []) + (click_rows() if rows is None else rows)
        text = "\n".join(delimiter.join(line) for line in lines) + "\n"
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    content = {"name": "clicks", "files": {"all": file}, "label": {"column": "click"}, "columns": COLUMNS,
               "header": header} | description
    (folder / "data.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder
