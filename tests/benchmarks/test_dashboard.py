"""The benchmark of pages refuses sizes at which there is nothing to measure."""

import argparse

import pytest

from benchmarks.dashboard import at_least


@pytest.mark.parametrize("text", ["0", "-3"])
def test_a_size_of_nothing_is_refused_with_what_is_allowed(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"at least 1; got {text}"):
        at_least(1, int)(text)
    assert at_least(1, int)("7") == 7
