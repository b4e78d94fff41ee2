"""Numbers read as people say them, and a difference never loses its sign."""

import pytest

from plots.theme import FAMILY_COLOURS, family_colour, family_symbol, leading_family, split_families
from plots.units import (
    MISSING,
    axis_title,
    format_change,
    format_difference,
    format_value,
    human_bytes,
    human_seconds,
    signed,
    split_key,
)


@pytest.mark.parametrize(("size", "text"), [
    (999, "999 B"), (1_000, "1.00 kB"), (12_412_345, "12.4 MB"), (3e9, "3.00 GB")])
def test_bytes_are_decimal_and_short(size, text):
    assert human_bytes(size) == text


def test_what_was_not_measured_is_a_dash_never_zero():
    assert format_value("auc", None) == MISSING
    assert format_difference("auc", None, 0.8) == MISSING


def test_scores_differ_by_subtraction_and_sizes_by_factor():
    assert format_difference("auc", 0.7997, 0.8) == "−0.0003"
    assert format_difference("size_bytes", 10, 94) == "9.4× less"
    assert format_difference("latency_p50_ms@1", 1.3, 1.0) == "+30 %"


@pytest.mark.parametrize(("ratio", "text"), [(0.5, "2.0× less"), (0.95, "−5.0 %"), (1.0, "±0 %"), (3, "3.0× more")])
def test_a_change_is_said_as_people_say_it(ratio, text):
    assert format_change(ratio) == text


def test_a_difference_that_rounds_to_nothing_carries_no_direction():
    assert signed(-0.00001) == "±0.0000"


def test_an_axis_names_unit_batch_and_direction():
    assert split_key("latency_ratio@512") == ("latency_ratio", 512)
    assert axis_title("latency_p50_ms@512") == "Latency p50, batch 512 (ms) · lower is better"
    assert axis_title("auc") == "AUC · higher is better"


def test_time_left_is_in_words():
    assert [human_seconds(value) for value in (0.2, 59, 95, 3700)] == ["under 1 s", "59 s", "1 min 35 s", "1 h 01 min"]


def test_a_family_keeps_its_colour_and_a_hybrid_takes_that_of_its_leading_family():
    assert split_families("embed+quantize") == ("embed", "quantize")
    assert leading_family("quantize + embed") == "embed"
    assert family_colour("distill, quantize") == FAMILY_COLOURS["distill"]
    assert [family_symbol(one) for one in ("embed", "embed+train", "embed+quantize", "embed+prune+quantize")] == [
        "circle", "circle", "square", "hexagon"]
    assert leading_family("") is None
