"""Models as strangers write them, through the importers: what docs/results/importers.md says still holds."""

from __future__ import annotations

import pytest

from benchmarks.importers.__main__ import tried
from benchmarks.importers.architectures import ARCHITECTURES


@pytest.mark.slow
@pytest.mark.parametrize("foreign", ARCHITECTURES, ids=lambda one: one.key)
@pytest.mark.parametrize("form", [".pt2", "ONNX (TorchScript)"])
def test_an_architecture_passes(foreign, form, tmp_path):
    said = tried(foreign, form, tmp_path)
    assert said.startswith("passed: "), said
