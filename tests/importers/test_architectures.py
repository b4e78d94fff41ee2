"""Models as strangers write them, through the importers: what docs/results/importers.md says still holds.

Each in one of two forms; with RECPRESS_ALL_CELLS=1 each in both, which takes minutes.
"""

from __future__ import annotations

import os

import pytest

from benchmarks.importers.__main__ import tried
from benchmarks.importers.architectures import ARCHITECTURES

FORMS = (".pt2", "ONNX (TorchScript)")
CELLS = [(foreign, form) for place, foreign in enumerate(ARCHITECTURES) for form in FORMS
         if os.environ.get("RECPRESS_ALL_CELLS") or form == FORMS[place % len(FORMS)]]


@pytest.mark.slow
@pytest.mark.parametrize(("foreign", "form"), CELLS, ids=lambda one: getattr(one, "key", one))
def test_an_architecture_passes(foreign, form, tmp_path):
    said = tried(foreign, form, tmp_path)
    assert said.startswith("passed: "), said
