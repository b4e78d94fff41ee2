"""One split of a stored dataset as CSV; run in a child process so that the server's memory stays small.

    python -m ui.server.split_file FILES SPLIT TARGET < manifest.json

It is told where the stored files are and which of them it needs; it opens no database.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from compression.data.split_csv import export_split_csv
from compression.spec.errors import RecPressError
from storage.files import Files

PROCESSOR_S = 600  # a suspended machine or a slow disk takes none
CPU_LIMIT_SIGNAL = getattr(signal, "SIGXCPU", 0)


def limit_processor_time(seconds: int) -> None:
    """End this process by CPU_LIMIT_SIGNAL once it has used so much; nothing on a system without such limits."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def write_split(files: Files, manifest: dict[str, str], split: str, target: Path) -> None:
    """Write the rows of a split to `target`: whole or not at all. Raises DataError or StorageError."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        files.materialise(manifest, Path(folder))
        os.replace(export_split_csv(Path(folder), split, Path(folder) / "split.csv.new"), target)


if __name__ == "__main__":
    limit_processor_time(PROCESSOR_S)
    try:
        write_split(Files(Path(sys.argv[1])), json.load(sys.stdin), sys.argv[2], Path(sys.argv[3]))
    except RecPressError as error:
        sys.exit(str(error))
