"""The form follows the class: bounds, steps and help are the validator's own."""

from typing import Literal

import pytest
from pydantic import Field
from streamlit.testing.v1 import AppTest

from compression.spec.method import Params
from ui.shared.params_form import control, controls, graded_values, parse_list


class Sample(Params):
    sparsity: float = Field(0.5, ge=0, le=0.99, multiple_of=0.01, description="Fraction of weights set to zero.")
    scope: Literal["layer", "model"] = "layer"
    learning_rate: float = Field(1e-3, ge=1e-6, le=1)
    weight_decay: float = Field(0, ge=0, le=0.1)
    batch_size: int = Field(4096, ge=1, le=65536)
    epochs: int = Field(3, ge=1, le=50)
    symmetric: bool = False
    hidden: tuple[int, ...] = (256, 128)


def form_page() -> None:
    import streamlit as st

    from tests.ui.shared.test_params_form import Sample
    from ui.shared.params_form import params_form

    st.json(params_form(Sample, "step", {"epochs": 7, "sparsity": 0.29}))


def test_a_slider_ends_where_the_validator_does():
    found = control(Sample, "sparsity")
    assert (found.kind, found.lower, found.upper, found.step) == ("slider", 0, 0.99, 0.01)
    assert found.help == "Fraction of weights set to zero."


@pytest.mark.parametrize(("name", "kind"), [
    ("scope", "select"), ("learning_rate", "steps"), ("weight_decay", "steps"), ("batch_size", "steps"),
    ("epochs", "slider"), ("symmetric", "toggle"), ("hidden", "list"),
])
def test_each_type_gets_its_widget(name, kind):
    assert control(Sample, name).kind == kind


def test_wide_ranges_go_in_round_steps_and_hold_bounds_and_default():
    rates = control(Sample, "learning_rate").options
    assert rates[0] == 1e-6 and rates[-1] == 1 and 1e-3 in rates
    assert 0 in control(Sample, "weight_decay").options
    assert 4096 in control(Sample, "batch_size").options
    assert graded_values(0, 1, 0.5, whole=False) == ()


def test_every_value_a_control_offers_passes_the_validator():
    for one in controls(Sample):
        ends = one.options or [value for value in (one.lower, one.upper) if value is not None]
        for value in ends:
            Sample(**{one.name: value})


def test_the_form_gives_what_the_class_accepts_and_starts_at_given_values():
    page = AppTest.from_function(form_page).run()
    assert not page.exception
    page.slider(key="step.sparsity").set_value(0.3).run()
    assert not page.exception
    import json

    chosen = json.loads(page.json[0].value)
    assert chosen["epochs"] == 7
    assert Sample(**chosen).sparsity == 0.3
    assert chosen["hidden"] == [256, 128]


def test_a_list_that_is_no_list_is_told_and_the_default_kept():
    page = AppTest.from_function(form_page).run()
    page.text_input(key="step.hidden").set_value("wide").run()
    assert "takes numbers separated by commas" in page.error[0].value
    with pytest.raises(ValueError, match="invalid literal"):
        parse_list("wide", whole=True)
