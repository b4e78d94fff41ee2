"""What can't be used of other packages is named on Settings, and hides nothing else."""

from compression.spec.task import TASKS
from tests.ui.app import open_page, texts


def test_a_plug_in_that_was_left_out_is_named(home, monkeypatch):
    assert TASKS.problems == []
    monkeypatch.setattr(TASKS, "_problems", ["The task 'dwell' (dwell.task) is left out: no module *named* dwell."])
    app = open_page("settings")
    assert not app.exception and "Versions" in texts(app)
    assert [one.value.replace("\\", "") for one in app.warning if "left out" in one.value] == TASKS.problems


def test_nothing_is_said_where_all_can_be_used(home):
    assert not [one for one in open_page("settings").warning if "left out" in one.value]
