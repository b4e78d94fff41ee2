"""A package outside the project brings a method; one that can't be used is named and left out, and the rest goes on."""

from __future__ import annotations

import json

import pytest

from tests.contracts.project_copy import beside, done, install, python

METHOD = '''\
from pydantic import Field
from compression.spec.method import Applied, ExportForm, Params, Stage, method
from compression.spec.records import Part

RECPRESS_CONTRACT = {contract}

class SignParams(Params):
    strength: float = Field(1.0, ge=0, le=1, description="How much of a dense layer's bias is dropped.")

@method("{key}", SignParams, title="No bias", summary="Drops biases.", stage=Stage.AFTER_TRAINING, parts={{Part.DENSE}},
        needs=set(), export=ExportForm.PLAIN, source="Nobody 1999", no_op={{"strength": 0.0}})
def no_bias(model, params, ctx):
    from torch import nn
    from compression.models.structure import leaves, part_of
    applied = Applied(model)
    for path, leaf in leaves(model):
        if part_of(model, path) is not Part.DENSE:
            continue
        if isinstance(leaf, nn.Linear) and leaf.bias is not None and params.strength:
            leaf.bias = nn.Parameter(leaf.bias.detach() * (1 - params.strength))
            size = 4 * (leaf.weight.numel() + leaf.bias.numel())
            applied.changes.append(ctx.change(path, size, size, "bias dropped"))
        else:
            applied.skipped.append(ctx.skip(path, "it has no bias, or strength is 0"))
    return applied
'''
CONTRACT = '''\
from compression.testing.method import MethodContract

class TestNoBias(MethodContract):
    key = "outside.no_bias"
'''
LIST = ("import json; from compression.spec.method import METHODS; "
        "print(json.dumps([sorted(METHODS), METHODS.problems]))")


@pytest.fixture
def listed(tmp_path):
    """Give modules by name and source; gives the keys that are found, and what is said of those left out."""
    def look(**sources: str) -> tuple[list[str], list[str]]:
        for name, source in sources.items():
            install(tmp_path, name, source, group="recpress.methods", name=name)
        return json.loads(python(tmp_path, "-c", LIST, **beside(tmp_path)))

    return look


def test_a_method_of_another_package_is_found_and_keeps_the_contract(tmp_path, listed):
    keys, problems = listed(no_bias=METHOD.format(key="outside.no_bias", contract=1))
    assert "outside.no_bias" in keys and problems == []
    (tmp_path / "test_no_bias.py").write_text(CONTRACT)
    told = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_no_bias.py", **beside(tmp_path))
    assert " passed" in told


@pytest.mark.parametrize(("source", "said"), [
    (METHOD.format(key="prune.magnitude", contract=1), "the method prune.magnitude is registered twice"),
    (METHOD.format(key="outside.old", contract=0), "written for version 0 of the contract, and this is version 1"),
    (METHOD.format(key="outside.mute", contract=1).replace("RECPRESS_CONTRACT", "OTHER"), "RECPRESS_CONTRACT = 1"),
    ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
    ("raise SystemExit('goodbye')", "goodbye"),
    ("RECPRESS_CONTRACT = 1", "registers no method"),
])
def test_a_package_that_cannot_be_used_is_named_and_left_out(tmp_path, listed, source, said):
    keys, problems = listed(broken=source, sound=METHOD.format(key="outside.sound", contract=1))
    assert "outside.sound" in keys and "prune.magnitude" in keys
    assert not {"outside.old", "outside.mute"} & set(keys)
    (problem,) = problems
    told = done(tmp_path, "-m", "compression", "methods", **beside(tmp_path))
    assert f"Warning: {problem}" in told.stderr
    assert problem.startswith("The method 'broken' (broken) is left out: ") and said in problem
