"""A binding that nothing could be done with later is refused at once, in words."""

from __future__ import annotations

import pytest

from compression.importers.binding.proposal import ModelInput, bind
from compression.spec.errors import ModelError

WIDE = [ModelInput("ids", "int64", 2, {None: 10})]
COLUMNS = {"columns": ["a", "b"]}


@pytest.mark.parametrize("task", ["regression", 2, ["ctr"], {"a": 1}])
def test_an_unknown_task_is_refused_with_the_allowed_ones(task):
    with pytest.raises(ModelError, match="task of a binding must be one of ctr; got"):
        bind(WIDE, {"inputs": {"ids": COLUMNS}, "task": task}, description=None, vocabularies={})


@pytest.mark.parametrize("offsets", [2, True, 1.5, ["1", "2"], [0.5, 1], [True, False], {"a": 0, "b": 5}, [1], "ab"])
def test_offsets_are_a_whole_number_for_each_column(offsets):
    with pytest.raises(ModelError, match=r"needs 2 offsets, one a column.*; the binding gives"):
        bind(WIDE, {"inputs": {"ids": COLUMNS | {"offsets": offsets}}}, description=None, vocabularies={})
