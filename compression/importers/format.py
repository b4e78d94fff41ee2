"""Formats: the kinds of upload that become models, each declared in a file of `formats/`. Loads neither torch nor onnx.

    importer(Format(key="onnx", title="ONNX file", endings=(".onnx",), look=look, read=read))

Whatever a format needs of other libraries is imported inside `look`, `read` and `opens`, which run in the sandboxed
child alone. A package outside the project declares an entry point in the group `recpress.importers`.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.spec.records import ModelDescription
from compression.spec.registry import Registry

if TYPE_CHECKING:
    from compression.importers.inspection import Look


@dataclass(frozen=True)
class Upload:
    """Checked files by the names they came under, and which of them holds the model.

    What is written meanwhile goes into `scratch`, a folder that is gone afterwards.
    """

    files: dict[str, Path]
    name: str
    scratch: Path

    @property
    def path(self) -> Path:
        """Where the file that holds the model lies; it may have another name there."""
        return self.files[self.name]

    @property
    def called(self) -> str:
        """What messages call it: a graph that was made of another file, such as model.pt2.onnx, by that file's name."""
        stem = self.name.rpartition(".")[0]
        return stem if formats_of(stem) else self.name

    @property
    def beside(self) -> dict[str, Path]:
        return {name: path for name, path in self.files.items() if name != self.name}


@dataclass(frozen=True)
class Given:
    """What an import is told: a binding, in which a person says what each input reads, and a dataset's folder."""

    binding: dict[str, Any] = field(default_factory=dict)
    data_folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Format:
    """What an upload may be. A format either looks and reads, or opens: it becomes files of another format.

    Formats that share an ending are told apart by `sniff`; the one without takes what no other recognises. Every way
    that `sniff`, `look`, `read` and `opens` fail is a ModelError with a sentence. None of them runs code of the upload.
    """

    key: str
    title: str  # what it is, in the sentence that lists what may be uploaded
    endings: tuple[str, ...]  # of the file that holds the model
    companions: tuple[str, ...] = ()  # endings of the files that may come beside it
    # names of those that are taken along where they lie in the model's folder, as patterns: {name} is the model's
    # file, {stem} what it is called without its ending
    helpers: tuple[str, ...] = ()
    look: Callable[[Upload], "Look"] | None = None
    read: Callable[[Upload, Path, Given], ModelDescription] | None = None  # writes the model folder
    opens: Callable[[Upload], dict[str, Path]] | None = None  # name → path, written into the upload's scratch folder
    sniff: Callable[[Upload], bool] | None = None
    # endings whose files are archives or pickles, refused under any other: whether a file's bytes are of this format
    admits: Mapping[str, Callable[[Path], bool]] = field(default_factory=dict)
    refusal: str = ""  # of what it doesn't admit, after the file's name; "" where the general sentences say it
    attached: Callable[[dict[str, Path]], Collection[str]] = lambda files: ()  # files with its ending that are no model
    alone: bool = False  # whether nothing may come beside it
    binary: bool = False  # whether its model files are never text: a text under such a name is told for what it is


FORMATS = Registry[Format]("importer", room="compression.importers.formats", group="recpress.importers", contract=1)


def importer(declared: Format) -> Format:
    """Register a format under its key. Raises ValueError for one that can't be used."""
    if not declared.endings or any(not one.startswith(".") or one != one.lower() for one in declared.endings):
        raise ValueError(f"the importer {declared.key} needs endings in small letters, such as .onnx")
    if (declared.opens is None) != (declared.look is not None and declared.read is not None):
        raise ValueError(f"the importer {declared.key} needs look and read, or opens instead of them")
    return FORMATS.register(declared.key, declared)


def formats_of(name: str) -> list[Format]:
    """The formats whose files have such names."""
    return [one for one in FORMATS.values() if name.lower().endswith(one.endings)]


def with_helpers(path: Path) -> dict[str, Path]:
    """A model's file and what its formats take along out of its folder, by name. A second model is left where it is."""
    stems = {path.name.partition(".")[0], path.name.rpartition(".")[0]}
    patterns = {pattern.format(name=glob.escape(path.name), stem=glob.escape(stem))
                for one in formats_of(path.name) for pattern in one.helpers for stem in stems}
    found = {other.name: other for other in sorted(path.parent.iterdir()) if other.is_file()
             and any(fnmatchcase(other.name, pattern) for pattern in patterns)} | {path.name: path}
    attached = {name for one in FORMATS.values() for name in one.attached(found)}
    return {name: other for name, other in found.items()
            if name == path.name or name in attached or not formats_of(name)}


def model_endings() -> tuple[str, ...]:
    """Endings of files that hold a model, each once."""
    return tuple(dict.fromkeys(ending for one in FORMATS.values() for ending in one.endings))


def accepted_endings() -> tuple[str, ...]:
    """Endings of all files that an upload of a model may have."""
    return tuple(dict.fromkeys((*model_endings(), *(end for one in FORMATS.values() for end in one.companions))))


def formats_in_words() -> list[str]:
    """What may be uploaded, with the endings: formats with the same endings together."""
    titles: dict[tuple[str, ...], list[str]] = {}
    for one in FORMATS.values():
        titles.setdefault(one.endings, []).append(one.title)
    return [f"{', '.join(those)} ({', '.join(endings)})" for endings, those in titles.items()]
