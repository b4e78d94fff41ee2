"""One exported tiny model for all tests of this folder."""

from __future__ import annotations

import pytest

from compression.export.onnx import export_onnx
from compression.testing.tiny import tiny_dataset, tiny_model


@pytest.fixture(scope="session")
def dataset():
    return tiny_dataset()


@pytest.fixture(scope="session")
def exported(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return export_onnx(tiny_model("deepfm", dataset), dataset.signature, folder / "model.onnx").path
