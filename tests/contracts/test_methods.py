"""Every registered method keeps the contract; cards are complete; and long recipes weigh what was estimated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from compression.models.structure import describe
from compression.spec.method import METHODS
from compression.spec.recipe import check, estimate
from compression.testing.method import ARCHITECTURES, ONE_EPOCH, MethodContract, model_of, ordered_data
from compression.testing.steps import apply_all, logits, recipe_of
from compression.testing.tiny import TINY_CONFIG

ROOT = Path(__file__).resolve().parents[2]
KEYS = sorted(METHODS)
NEEDS_ZOO = ("distill.logits", "distill.ensemble")  # they size a student, or train a teacher, of the zoo
HYBRID = (
    ("distill.logits", {"embedding_ratio": 1.0}), ("embed.prune_rows", {"min_rows": 2}), ("factorize.svd", {}),
    ("prune.channels", {}), ("prune.magnitude", {"schedule": "cubic", "weights": "both"}),
    ("train.fine_tune", ONE_EPOCH), ("embed.quantize_rows", {"min_rows": 2}), ("quantize.dynamic", {"min_features": 4}),
)


class TestEveryMethod(MethodContract):
    @pytest.fixture(params=KEYS)
    def method_key(self, request) -> str:
        return request.param

    @pytest.fixture
    def only_zoo(self, method_key) -> bool:
        return method_key in NEEDS_ZOO


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eight_steps_in_a_row_weigh_what_was_estimated(architecture):
    model, dataset = model_of(architecture), ordered_data()
    steps = [step for step in HYBRID if step[0] not in NEEDS_ZOO or architecture in TINY_CONFIG]
    assert not [problem for problem in check(recipe_of(*steps)) if problem.severity == "error"]
    described = describe(model, dataset.signature, architecture=architecture)
    result = apply_all(model, dataset, *steps)
    real = describe(result, dataset.signature, architecture=architecture)
    assert estimate(described, recipe_of(*steps)).size_bytes == real.size_bytes
    assert real.size_bytes < (0.4 if architecture in TINY_CONFIG else 0.9) * described.size_bytes
    assert torch.isfinite(logits(result, dataset)).all()


@pytest.mark.parametrize("key", KEYS)
def test_a_card_exists_and_names_title_source_and_every_parameter(key):
    card = (ROOT / "docs" / "methods" / f"{key}.md").read_text(encoding="utf-8")
    chosen = METHODS[key]
    assert chosen.title in card
    for reference in re.findall(r"arXiv:[\d.]+\d|[A-Z]\w+(?: et al\.| & \w+)? \d{4}", chosen.source):
        assert reference in card, reference
    for name in chosen.params.model_fields:
        assert f"`{name}`" in card, name
    for heading in ("When to use", "When not", "Cost", "Measured here"):
        assert heading in card, heading
