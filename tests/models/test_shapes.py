"""Sizes without torch: the layers by the settings are those of the model, and the settings come back from them."""

import pytest

from compression.models.structure import describe
from compression.models.zoo.shapes import layers_of, settings_of
from compression.testing.tiny import TINY_CONFIG, tiny_dataset, tiny_model

DATASET = tiny_dataset(rows=50)
OTHERS = [("dcnv2", {"structure": "stacked", "n_cross_layers": 1}), ("dcnv2", {"cross_rank": 4}),
          ("dcnv2", {"cross_rank": 6, "n_experts": 3, "structure": "stacked"}),
          ("dlrm", {"n_bottom_layers": 1}),
          ("dlrm", {"n_bottom_layers": 4, "width": 64}), ("widedeep", {"batch_norm": False, "dropout": 0.0}),
          ("deepfm", {"n_layers": 1, "width": 8}), ("deepfm", {"embedding_dim": 1}), ("fm", {"embedding_dim": 7}),
          ("deepfm", {"first_order": False}), ("dnn", {}), ("dnn", {"n_layers": 1, "batch_norm": False}),
          ("finalmlp", {}), ("finalmlp", {"gates": False, "n_heads": 4, "width": 16, "dropout": 0.0}),
          ("finalmlp", {"n_layers": 1, "batch_norm": True}),
          ("fieldconv", {"n_conv_layers": 4, "kernel_size": 7, "channels": 16})]


@pytest.mark.parametrize(("architecture", "config"), [*((key, {}) for key in TINY_CONFIG), *OTHERS])
def test_layers_by_settings_are_those_of_the_model(architecture, config):
    model = tiny_model(architecture, DATASET, **config)
    described = describe(model, DATASET.signature, architecture=architecture).layers
    found = settings_of(described)
    assert found.architecture == {"widedeep": "deepfm"}.get(architecture, architecture)
    assert layers_of(found.architecture, found.config, found.fields) == described
    assert {name: model.config[name] for name in found.config if name != "dropout"} == {
        name: value for name, value in found.config.items() if name != "dropout"}


def test_layers_of_anything_else_are_not_taken_for_the_zoos():
    described = describe(tiny_model("deepfm", DATASET), DATASET.signature, architecture="deepfm").layers
    assert settings_of(described[1:]) is not None  # one field less is still a model of the zoo
    assert settings_of(described[:2]) is None
    renamed = tuple(layer.model_copy(update={"name": f"x.{layer.name}"}) for layer in described)
    assert settings_of(renamed) is None
    quantised = tuple(layer.model_copy(update={"kind": "QuantizedRows"}) for layer in described)
    assert settings_of(quantised) is None
