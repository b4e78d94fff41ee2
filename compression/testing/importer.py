"""The contract of importers, for their tests to inherit: what every format must satisfy.

    class TestStub(ImporterContract):
        @pytest.fixture
        def sample(self, canary):
            return Sample("stub", {"m.stub": b"…"})

A sample is a sound upload. Where its format could hold code, the sample holds some that writes the file `canary`: the
contract checks that nothing does. Give one sample for each way in which uploads come.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from compression.importers.format import FORMATS, formats_of
from compression.importers.reader import choose, look_at, read_upload
from compression.spec.errors import ModelError
from compression.spec.records import ModelDescription
from compression.spec.signature import Signature

OTHERS = {  # what a file may be in truth, whatever its name ends in
    "text": b"user,item,label\n1,2,0\n",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(range(64)),
    "safetensors": b"\x02\0\0\0\0\0\0\0{}",
    "zip": b"PK\x05\x06" + bytes(18),
    "pickle": b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
    "zeros": bytes(4096),
}


@dataclass(frozen=True)
class Sample:
    """A sound upload: the key of its format, its files, name → content, and a binding if it needs one to be read."""

    key: str
    files: dict[str, bytes]
    binding: dict[str, Any] = field(default_factory=dict)


class ImporterContract:
    """Inherit it and define the fixture `sample`."""

    @pytest.fixture
    def canary(self, tmp_path: Path) -> Iterator[Path]:
        """A file that code in an upload would write."""
        path = tmp_path / "canary-was-here"
        yield path
        assert not path.exists(), "code from the upload ran"

    def test_a_sound_upload_is_read_and_its_look_says_the_same_inputs(self, sample: Sample, tmp_path: Path) -> None:
        files = write(sample.files, tmp_path / "upload")
        look = look_at(files, tmp_path / "look" / "model")
        description = read_upload(files, tmp_path / "read" / "model", binding=sample.binding)
        assert isinstance(description, ModelDescription) and description.size_bytes > 0
        signature = Signature.model_validate(description.signature)
        if look.inputs:
            assert {one.name for one in look.inputs} == {one.name for one in signature.inputs}
        else:
            assert set(look.reads) <= {one.column for one in signature.singles}
        assert any(path.is_file() for path in (tmp_path / "read" / "model").iterdir())
        assert [path.read_bytes() for path in files.values()] == list(sample.files.values()), "the upload was changed"

    def test_its_own_format_takes_it_and_no_other(self, sample: Sample, tmp_path: Path) -> None:
        files = write(sample.files, tmp_path / "upload")
        found, upload = choose(files, tmp_path)
        assert found is FORMATS[sample.key]
        same = [one.key for one in formats_of(upload.name) if one.sniff is None]
        assert len(same) <= 1, f"{same} end in the same way, and neither has a sniff"

    @pytest.mark.parametrize("part", ("half", "all but the last quarter", "first bytes"))
    def test_a_truncated_file_is_a_sentence(self, part: str, sample: Sample, tmp_path: Path) -> None:
        name, content = model_of(sample, tmp_path)
        length = {"half": len(content) // 2, "first bytes": 5}.get(part, 3 * len(content) // 4)
        refused(sample.files | {name: content[:length]}, tmp_path)

    def test_an_empty_file_is_a_sentence(self, sample: Sample, tmp_path: Path) -> None:
        name, _ = model_of(sample, tmp_path)
        refused(sample.files | {name: b""}, tmp_path)

    @pytest.mark.parametrize("other", OTHERS)
    def test_a_file_of_another_format_under_its_ending_is_a_sentence(self, other: str, sample: Sample, tmp_path: Path
                                                                      ) -> None:
        name, _ = model_of(sample, tmp_path)
        refused(sample.files | {name: OTHERS[other]}, tmp_path)

    def test_registering_it_loads_no_large_library(self, sample: Sample) -> None:
        """The pages list the formats and must stay small."""
        program = ("import sys\nfrom compression.importers.format import FORMATS, formats_in_words\n"
                   f"assert {sample.key!r} in FORMATS and formats_in_words()\n"
                   "print(sorted({'torch', 'onnx', 'onnxruntime', 'tensorflow', 'keras'} & set(sys.modules)))")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stdout + done.stderr


def write(files: dict[str, bytes], folder: Path) -> dict[str, Path]:
    """The files under harmless names, as uploads are stored; shown name → path."""
    folder.mkdir(parents=True)
    for beside in ("look", "read"):
        (folder.parent / beside).mkdir(exist_ok=True)
    paths = {}
    for number, (name, content) in enumerate(files.items()):
        paths[name] = folder / f"{number}.upload"
        paths[name].write_bytes(content)
    return paths


def model_of(sample: Sample, folder: Path) -> tuple[str, bytes]:
    """(name, content) of the file that holds the model."""
    _, upload = choose(write(sample.files, folder / "whole"), folder)
    return upload.name, sample.files[upload.name]


def refused(files: dict[str, bytes], folder: Path) -> None:
    """Reading ends in a sentence; a look, which may need less of the file, in one or in no error at all."""
    paths = write(files, folder / "upload")
    with suppress(ModelError):
        look_at(paths, folder / "look" / "model")
    with pytest.raises(ModelError) as said:
        read_upload(paths, folder / "read" / "model")
    sentence = str(said.value)
    assert sentence.rstrip().endswith((".", ")")) and " " in sentence and "Traceback" not in sentence, sentence
    assert len(sentence) < 2000
