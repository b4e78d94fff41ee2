"""A RecPress bundle, or another zip of a model's files: unpacked with care, and read as what is inside."""

from __future__ import annotations

import hashlib
from pathlib import Path

from compression.importers.archive import unpack
from compression.importers.format import FORMATS, Format, Upload, formats_of, importer
from compression.importers.format_sniffing import ZIP_ENDING
from compression.importers.hugging_face.folder import files_read
from compression.importers.other_files import SAVED_MODEL, of_saved_model
from compression.spec.errors import ModelError

SUMS = "SHA256SUMS"
MAX_SUMS_CHARS = 100_000
BESIDE = (".json", ".data", ".yaml", ".yml", ".md", ".txt", ".csv")  # kept of what lies beside the model


def unpacked(upload: Upload) -> dict[str, Path]:
    """The files inside that are of some format or come beside one. Raises ModelError where no model is among them."""
    inside = unpack(upload.path, upload.name, upload.scratch / "bundle")
    if SUMS in inside:
        _check_digests(inside, upload.name)
    inside = files_read(inside)
    endings = _plain_endings()
    for name in inside:
        if name.lower().endswith(ZIP_ENDING):
            raise ModelError(f"{upload.name} holds another archive ({name}), which is not unpacked.")
    kept = {name: path for name, path in inside.items() if name.lower().endswith((*endings, *BESIDE))}
    if not any(name.lower().endswith(endings) for name in kept):
        if SAVED_MODEL in inside:
            raise ModelError(of_saved_model(upload.name))
        for name in inside:
            if formats_of(name):
                raise ModelError(f"{upload.name} holds {name}, which is not read out of a zip. Upload {name} itself, "
                                 "with the files that describe it beside it.")
    return kept


def _plain_endings() -> tuple[str, ...]:
    """Endings of models that may lie in a zip: of those that are read as they are."""
    return tuple(end for one in FORMATS.values() if one.opens is None for end in one.endings)


def _check_digests(files: dict[str, Path], bundle: str) -> None:
    """Every file that the bundle's list of digests names has the digest it says."""
    lines = files[SUMS].read_text(encoding="utf-8", errors="replace")[:MAX_SUMS_CHARS].splitlines()
    for line in lines:
        digest, _, name = line.partition("  ")
        if name not in files:
            raise ModelError(f"{bundle} lacks {name[:80]!r}, which its list {SUMS} names. Download the bundle again.")
        with files[name].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ModelError(f"{name} in {bundle} differs from its digest in {SUMS}; it was damaged or changed. "
                                 "Download the bundle again.")


importer(Format(key="bundle", title="RecPress bundle", endings=(ZIP_ENDING,), opens=unpacked, alone=True))
