"""Some disk kept back, so that a full one still takes what has to be written down: that a job failed, and why."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 4 << 20
NAME = "reserve"


class Reserve:
    """A file of zeros in the home, which is given up when the database finds the disk full."""

    def __init__(self, home: Path) -> None:
        self.file = Path(home) / NAME

    def keep(self) -> bool:
        """Put the file there while the disk has plenty; tells whether it is there."""
        with suppress(OSError):
            if self.file.exists():
                return True
            if shutil.disk_usage(self.file.parent).free < 10 * RESERVE_BYTES:
                return False
            with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(bytes(RESERVE_BYTES))
            return True
        return False

    def release(self) -> None:
        """Give the disk back; the next start, or the next sweep, keeps some again."""
        with suppress(OSError):
            self.file.unlink()
