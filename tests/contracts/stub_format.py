"""A format that tests add, in ten lines: an ONNX file behind four letters. Its module, its sample and its contract."""

from __future__ import annotations

from tests.security.hostile import graph

MODULE = '''\
"""Stubs: an ONNX file behind the letters STUB."""

from compression.importers.format import Format, importer
from compression.spec.errors import ModelError

RECPRESS_CONTRACT = 1


def opened(upload):
    content = upload.path.read_bytes()
    if not content.startswith(b"STUB"):
        raise ModelError(f"{upload.name} is no stub. Write it again.")
    (upload.scratch / "stub.onnx").write_bytes(content[4:])
    return upload.beside | {"stub.onnx": upload.scratch / "stub.onnx"}


importer(Format(key="stub", title="stub", endings=(".stub",), opens=opened))
'''
CONTRACT = '''\
from pathlib import Path

import pytest

from compression.testing.importer import ImporterContract, Sample


class TestStub(ImporterContract):
    @pytest.fixture
    def sample(self, canary):
        return Sample("stub", {"m.stub": (Path(__file__).parent / "m.stub").read_bytes()})
'''


def sample() -> bytes:
    return b"STUB" + graph().SerializeToString()
