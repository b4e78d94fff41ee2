"""Half and quarter precision: how exact each type is, what it stores, and that large values stay finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.half_layers import HalfLinear, HalfTable, byte_values
from compression.testing.steps import apply, logits, ordered_dataset
from compression.testing.tiny import tiny_model


def table(weight: torch.Tensor) -> nn.Embedding:
    return nn.Embedding.from_pretrained(weight)


@pytest.mark.parametrize(("form", "digits"), [("fp16", 11), ("bf16", 8), ("fp8", 4)])
def test_a_value_is_kept_to_the_bits_of_its_significand(form, digits):
    """11 bits of fp16, 8 of bf16 and 4 of e4m3, the hidden one counted: half a unit in the last place at most."""
    weight = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)) + 1
    kept = HalfTable(table(weight), form).dequantized()
    assert float(((kept - weight).abs() / weight).max()) <= 2.0**-digits * 1.001


def test_bf16_keeps_the_range_of_float32_and_fp16_cuts_it():
    weight = torch.tensor([[1e6, -1e30, 1e-30]])
    wide, narrow = (HalfTable(table(weight), form).dequantized() for form in ("bf16", "fp16"))
    assert torch.allclose(wide, weight, rtol=0.01)
    assert narrow.tolist()[0][:2] == [65504.0, -65504.0] and torch.isfinite(narrow).all()


def test_the_bytes_of_fp8_are_its_127_steps_in_either_direction():
    """Micikevicius et al. 2022: e4m3 has no infinity, 448 is its largest number, one pattern a sign is NaN."""
    values = byte_values().squeeze(1)
    assert values.max() == 448 and values.min() == -448
    assert len(values.unique()) == 253  # two zeros and the two NaN, which count as 0, fall together


def test_every_form_stores_what_it_says_and_scores_hardly_move():
    dataset = ordered_dataset()
    model = tiny_model("deepfm", dataset, trained=True)
    before = torch.sigmoid(logits(model, dataset))
    sizes = {}
    for form, most in (("fp16", 1e-3), ("bf16", 0.02), ("fp8", 0.1)):
        given = apply("quantize.half", model, dataset, form=form, min_size=1)
        sizes[form] = sum(change.bytes_after for change in given.changes)
        assert float((torch.sigmoid(logits(given.model, dataset)) - before).abs().max()) < most
    assert sizes["fp8"] < sizes["fp16"] == sizes["bf16"] < 0.6 * sum(change.bytes_before for change in given.changes)


@pytest.mark.parametrize(("weights", "kinds"), [("dense", {HalfLinear}), ("tables", {HalfTable})])
def test_only_the_chosen_part_is_stored_anew(weights, kinds):
    dataset = ordered_dataset()
    given = apply("quantize.half", tiny_model("dcnv2", dataset), dataset, weights=weights, min_size=1)
    assert {type(given.model.get_submodule(change.module)) for change in given.changes} == kinds
