"""A split is cut within a bound of processor time, and the page says so when it is not."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ui.server.routes import why_no_split

ROOT = Path(__file__).resolve().parents[3]
BUSY = "from ui.server.split_file import limit_processor_time; limit_processor_time(1)\nwhile True: pass"


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of this kind")
def test_a_child_that_computes_too_long_is_ended_and_the_sentence_says_what_to_do():
    done = subprocess.run([sys.executable, "-c", BUSY], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGXCPU
    assert why_no_split("test", done.returncode, "") == (
        "Cutting the test split took more than 10 minutes of processor time; download the whole file instead.")


def test_what_the_child_said_last_is_the_reason_and_silence_is_told():
    assert why_no_split("test", 1, "a warning\nThere is no split 'test'.\n") == "There is no split 'test'."
    assert why_no_split("test", -9, " \n") == "No rows came back."
