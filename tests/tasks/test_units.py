"""Numbers read as people say them, and a difference never loses its sign."""

import itertools

import numpy as np
import pytest

from compression.spec.catalogue import FAMILIES
from compression.tasks.units import (
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
from plots.theme import (
    DARK,
    FAMILY_COLOURS,
    FAMILY_TITLES,
    LEADING,
    LIGHT,
    family_colour,
    family_symbol,
    leading_family,
    split_families,
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


def test_every_family_has_a_name_and_a_colour_that_keeps_apart_for_the_colour_blind():
    assert set(FAMILY_COLOURS) == set(FAMILIES) == set(FAMILY_TITLES) == set(LEADING)
    for matrix in (((1, 0, 0), (0, 1, 0), (0, 0, 1)), *COLOUR_BLIND):
        seen = {family: np.clip(np.array(matrix) @ linear(colour), 0, 1) for family, colour in FAMILY_COLOURS.items()}
        for one, other in itertools.combinations(seen, 2):
            assert np.linalg.norm(lab(seen[one]) - lab(seen[other])) > 15, (one, other)
    for colour in FAMILY_COLOURS.values():
        for surface in (LIGHT.surface, DARK.surface):
            first, second = sorted(float(np.array((0.2126, 0.7152, 0.0722)) @ linear(one)) for one in (colour, surface))
            assert (second + 0.05) / (first + 0.05) > 2


# Machado, Oliveira & Fernandes 2009: protan, deutan and tritan vision at full severity, on linear RGB
COLOUR_BLIND = (
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
)


def linear(colour: str) -> np.ndarray:
    """(3,) linear RGB of "#0072B2"."""
    values = np.array([int(colour[place:place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """(3,) CIELAB under D65 of linear RGB."""
    to_xyz = np.array(((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750),
                       (0.0193339, 0.1191920, 0.9503041)))
    x, y, z = to_xyz @ rgb / np.array((0.95047, 1, 1.08883))
    x, y, z = (np.cbrt(value) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))
