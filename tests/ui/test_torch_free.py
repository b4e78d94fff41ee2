"""No page loads torch or onnxruntime into the server, whatever it draws."""

import os
import subprocess
import sys

import pytest

from tests.ui.app import ROOT
from tests.ui.filled import filled_home
from ui.shared.pages import PAGES

VISIT = """
import sys
from tests.ui.app import open_page
for page, query in {visits}:
    app = open_page(page, **query)
    assert not app.exception, (page, app.exception)
heavy = [name for name in ("torch", "onnxruntime", "onnx", "sklearn") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.slow
def test_every_page_is_drawn_without_torch(tmp_path):
    ids = filled_home(tmp_path)
    visits = [*((page.key, {}) for page in PAGES), ("models", {"add": "upload"}), ("models", {"add": "train"}),
              ("datasets", {"add": "upload"}), ("experiment", {"clone": ids["int8 all"]}),
              ("run", {"id": ids["int8"]}), ("methods", {"method": "prune.magnitude"})]
    done = subprocess.run([sys.executable, "-c", VISIT.format(visits=visits)], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "RECPRESS_HOME": str(tmp_path)}, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_the_first_visit_of_a_fresh_server_goes_through_the_router(tmp_path):
    told = "import app; from streamlit.runtime.pages_manager import PagesManager as P; print(P.uses_pages_directory)"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "RECPRESS_HOME": str(tmp_path)})
    assert done.stdout.strip() == "False", "streamlit would take pages/ for its own pages"
