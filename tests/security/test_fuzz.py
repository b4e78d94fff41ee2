"""Forty changed uploads of every kind: none gets code to run or a file touched, and nothing ends without a word.

`python -m tests.security.fuzz --seeds 2000` runs the whole of it.
"""

from __future__ import annotations

import sys

import pytest

from tests.security.fuzz import fuzz, read_apart
from tests.security.hostile import CANARY
from tests.security.sound import SOUND

pytestmark = [pytest.mark.security, pytest.mark.slow, pytest.mark.timeout(600),
              pytest.mark.skipif(sys.platform == "win32", reason="forks a child for every upload")]
SEEDS = range(40)


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_upload_is_read(kind, tmp_path):
    (tmp_path / "scratch").mkdir()
    assert read_apart(SOUND[kind](tmp_path / CANARY), tmp_path / "scratch") == ("read", "")


@pytest.mark.parametrize("kind", SOUND)
def test_changed_uploads_are_read_or_refused_and_no_code_runs(kind, tmp_path):
    outcome = fuzz(kind, SEEDS, tmp_path)
    assert outcome.counts["refused"] > 0
    assert outcome.unsaid == [] and not outcome.counts["slow"] and not outcome.counts["killed"]
