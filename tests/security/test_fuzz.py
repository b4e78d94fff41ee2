"""Forty changed uploads of every kind: none gets code to run or a file touched, and nothing ends without a word.

`python -m tests.security.fuzz --seeds 2000` runs the whole of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.sound import SOUND

pytestmark = [pytest.mark.security, pytest.mark.slow, pytest.mark.timeout(1800),
              pytest.mark.skipif(sys.platform == "win32", reason="forks a child for every upload")]
ROOT = Path(__file__).resolve().parents[2]
SEEDS = 12


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of the uploads of each kind, read in a process as small as an importer's."""
    state = tmp_path_factory.mktemp("fuzz") / "state.json"
    done = subprocess.run([sys.executable, "-m", "tests.security.fuzz", "--seeds", str(SEEDS), "--state", str(state)],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(state.read_text())


@pytest.mark.parametrize("kind", SOUND)
def test_changed_uploads_are_read_or_refused_and_no_code_runs(kind, outcomes):
    outcome = outcomes[kind]
    assert outcome["seeds"] == SEEDS == sum(outcome["counts"].values())
    assert outcome["counts"].get("refused", 0) > 0
    assert outcome["unsaid"] == []
