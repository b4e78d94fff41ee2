"""Tell what an uploaded file is by its bytes, and refuse what can run code when it is loaded, whatever its name.

Nothing here loads anything: the first bytes and the names inside an archive are enough.
"""

from __future__ import annotations

import pickletools
import re
import tarfile
import zipfile
from pathlib import Path

from compression.importers.format import formats_in_words, formats_of
from compression.importers.other_files import is_text, what_it_is
from compression.spec.errors import ModelError

CHECKPOINT_ENDINGS = (".pt", ".pth", ".pth.tar", ".ckpt", ".bin", ".model", ".th")
WEIGHT_ENDINGS = (".safetensors", *CHECKPOINT_ENDINGS)
ZIP_ENDING = ".zip"
PICKLE_ENDINGS = (*CHECKPOINT_ENDINGS, ".pkl", ".pickle", ".joblib", ".p", ".dill", ".sav")
PROGRAM_ENDINGS = {".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe", ".js", ".jar", ".whl"}
_LOOKED_AT = 4096
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the number old torch files begin with
_ADVICE = ("RecPress never opens it. Save the weights as safetensors (safetensors.torch.save_file(model.state_dict(), "
           "…)) with a config.json, or export the model to ONNX.")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAGIC = {
    _HDF5: "an HDF5 file (Keras)",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a script",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x93NUMPY": "a NumPy file, which can hold pickled objects",
    b"PAR1": "a Parquet file",
}


def refuse_dangerous(path: Path, name: str) -> None:
    """Raises ModelError for a pickle under any name, a program, or an archive of another kind than zip.

    What a format admits under one of its own endings passes: it is read without running the pickles in it.
    """
    if is_torchscript(path):
        raise ModelError(f"{name} is a TorchScript program, whose code is never run. Upload the weights of the model "
                         "it was made from (torch.save(model.state_dict(), …)), or export that model to ONNX or .pt2.")
    ending = Path(name).suffix.lower()
    claimed = [(one, admits) for one in formats_of(name) for end, admits in one.admits.items()
               if name.lower().endswith(end)]
    if any(admits(path) for _, admits in claimed):
        return
    if formats_of(name) and (said := what_it_is(path)):
        raise ModelError(f"{name} {said}")
    for one, _ in claimed:
        if one.refusal and is_torch_file(path):  # as examples of torch libraries name their weights
            raise ModelError(f"{name} is a file of torch.save in spite of its name. Rename it to "
                             f"{name.rpartition('.')[0]}.pt, and upload it again.")
        if one.refusal:
            raise ModelError(f"{name} {one.refusal}")
    head = _head(path)
    is_pickle = looks_like_pickle(head)
    if (known := formats_of(name)) and all(one.binary for one in known) and not is_pickle and is_text(path):
        raise ModelError(f"{name} holds text, and no model. Upload the file that the model was saved to.")
    if ending in PICKLE_ENDINGS or is_pickle:
        disguise = "" if ending in PICKLE_ENDINGS else f" in spite of its name ({ending or 'no ending'})"
        raise ModelError(f"{name} is a pickle{disguise}: loading one can run any code. {_ADVICE}")
    if ending in PROGRAM_ENDINGS:
        raise ModelError(f"{name} is a program. A model is data; upload one of: {_allowed()}")
    if zipfile.is_zipfile(path) and head.startswith(b"PK"):
        _refuse_torch_file(path, name)
        if ending != ZIP_ENDING:
            raise ModelError(f"{name} is a zip archive in spite of its name. Upload a RecPress bundle as .zip, or the "
                             "model's own files.")
        return
    if ending == ZIP_ENDING:
        raise ModelError(f"{name} is not a whole zip archive. It is truncated or of another format; upload it again.")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic) and not ending == ".data":
            raise ModelError(f"{name} is {kind}. Upload one of: {_allowed()}")
    if ending != ".data" and _is_tar(path, head):
        raise ModelError(f"{name} is a tar archive, as old PyTorch files are, which hold pickles. {_ADVICE}")


def is_checkpoint_name(name: str) -> bool:
    """Whether a file is a checkpoint of torch.save, by its name."""
    return name.lower().endswith(CHECKPOINT_ENDINGS)


def is_torch_file(path: Path) -> bool:
    """Whether the file is one that torch.save writes: a zip around one data.pkl, or the older row of pickles."""
    head = _head(path)
    if head.startswith(b"PK"):
        return any(map(is_root_pickle, _members(path)))
    return head.startswith(b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little"))


def is_torchscript(path: Path) -> bool:
    """Whether the file is a zip with the code and constants that torch.jit.save writes."""
    names = _members(path) if _head(path).startswith(b"PK") else []
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)


def is_recbole_dataset(path: Path) -> bool:
    """Whether the file begins as the pickle that RecBole's Dataset.save writes."""
    head = _head(path)[:256]
    return re.match(rb"\x80[\x02-\x05]", head) is not None and b"recbole.data.dataset" in head


def is_checkpoint_file(path: Path) -> bool:
    """Whether the file is one of torch.save, or the dataset of RecBole that lies beside one."""
    return is_torch_file(path) or is_recbole_dataset(path)


def is_keras_file(path: Path) -> bool:
    """Whether the file is HDF5, or a zip with the members that Keras 3 writes."""
    return _head(path).startswith(_HDF5) or {"config.json", "model.weights.h5"} <= set(_members(path))


def is_pt2_file(path: Path) -> bool:
    """Whether the file is a zip with the members of an exported program, as torch.export.save writes it."""
    names = _members(path)
    return any(name.endswith("/archive_format") for name in names) and any("/models/" in name for name in names)


def _members(path: Path) -> list[str]:
    """Names in a zip; none where the file is no whole zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError):
        return []


def is_root_pickle(member: str) -> bool:
    """Whether a zip's member is the pickle torch.save begins with: <name>/data.pkl."""
    return member.count("/") == 1 and member.endswith("/data.pkl")


def looks_like_pickle(head: bytes) -> bool:
    """Whether the first bytes are a pickle of any protocol; nothing is executed.

    They begin like one and go on with opcodes: bytes of weights hardly ever do both.
    """
    begins = rb"\x80[\x01-\x05]|c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n|\([ldcitSVIKXUq(]|[}\])][q(r.]"
    if not re.match(begins, head):
        return False
    count = 0
    try:
        for _ in pickletools.genops(head):
            count += 1
    except Exception:  # any broken opcode, or the end of the bytes at hand: how far it came decides
        return count >= 6
    return True


def _refuse_torch_file(path: Path, name: str) -> None:
    """Raises ModelError for what torch.save wrote under another name. What else is inside, the bundle's reader checks.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [member for member in archive.namelist() if is_root_pickle(member)]
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{name} is a broken zip archive ({error}). Upload it again.") from None
    if pickles:
        raise ModelError(f"{name} holds a pickle ({pickles[0]}), as torch.save writes it: loading it can run any code. "
                         f"If it holds weights alone, upload it as .pt. {_ADVICE}")


def _is_tar(path: Path, head: bytes) -> bool:
    return (len(head) > 262 and head[257:262] == b"ustar") or (head[:1].isalnum() and _opens_as_tar(path))


def _opens_as_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:") as archive:
            return archive.next() is not None
    except (tarfile.TarError, OSError, ValueError, EOFError):
        return False


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LOOKED_AT)


def _allowed() -> str:
    return f"{'; '.join(formats_in_words())}."


CHECKPOINTS = dict.fromkeys(CHECKPOINT_ENDINGS, is_checkpoint_file)  # what formats of weights admit
