"""One split of a stored dataset as CSV; run in a child process so that the server's memory stays small.

    python -m ui.split_file HOME DATASET SPLIT TARGET
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from compression.data.split_csv import export_split_csv
from compression.errors import RecPressError
from storage.store import open_store


def write_split(home: Path, data_id: str, split: str, target: Path) -> None:
    """Write the rows of a split to `target`: whole or not at all. Raises DataError or StorageError."""
    store = open_store(root=home)
    row = store.dataset(data_id)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        store.files.materialise(row.manifest, Path(folder))
        os.replace(export_split_csv(Path(folder), split, Path(folder) / "split.csv.new"), target)


if __name__ == "__main__":
    try:
        write_split(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    except RecPressError as error:
        sys.exit(str(error))
