"""The table of breaks fits the code, and the script tells what was noticed from what was not."""

from __future__ import annotations

import ast

import pytest

from tests import mutations
from tests.breaks import BREAKS
from tests.breaks.record import Break
from tests.mutations import EQUIVALENT, NOTICED, ROOT, SURVIVED, WRONG, chosen, page_of, problem_of, try_break

ONE = Break("one", "It adds wrongly.", "code.py", "a + b", "a - b", ("tests/test_code.py",))
FAILED = "FAILED tests/test_code.py::test_it[a - b] - assert 1 == 2\n1 failed in 0.1s"


def test_names_are_there_once():
    assert len({one.name for one in BREAKS}) == len(BREAKS)


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.name)
def test_a_break_can_be_made_and_its_tests_are_there(one):
    assert problem_of(one) == ""
    ast.parse((ROOT / one.file).read_text(encoding="utf-8").replace(one.old, one.new))
    for test in one.tests:
        file, *names = test.split("::")
        assert (ROOT / file).exists(), test
        assert all(f"def {name.split('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8") for name in names), test


@pytest.fixture
def project(tmp_path):
    (tmp_path / "code.py").write_text("def add(a, b):\n    return a + b\n")
    return tmp_path


@pytest.mark.parametrize(("broken", "whole", "result", "by"), [
    ((1, FAILED), (0, ""), NOTICED, "tests/test_code.py::test_it[a - b]"),
    ((0, "1 passed"), (0, ""), SURVIVED, "tests/test_code.py passed"),
    ((None, ""), (0, ""), NOTICED, "no end within 9 s"),
    ((1, FAILED), (1, FAILED), WRONG, "fails without the break too"),
    ((4, "no such file"), (0, ""), WRONG, "pytest ended with 4")])
def test_a_break_is_noticed_by_a_test_that_fails_with_it_and_passes_without(project, monkeypatch, broken, whole, result,
                                                                            by):
    asked = []

    def ran(tests, folder, seconds):
        asked.append(tests)
        return broken if "a - b" in (folder / "code.py").read_text() else whole

    monkeypatch.setattr(mutations, "run_tests", ran)
    found, told = try_break(ONE, project, seconds=9)
    assert found == result and by in told
    assert asked[0] == ONE.tests and "a + b" in (project / "code.py").read_text()


@pytest.mark.parametrize(("text", "told"), [("", "old text is gone"), ("a + b, a + b", "stands 2 times")])
def test_a_text_that_is_not_there_once_is_not_broken(project, text, told):
    (project / "code.py").write_text(text)
    result, why = try_break(ONE, project)
    assert result == WRONG and told in why
    (project / "code.py").unlink()
    assert problem_of(ONE, project) == "code.py is gone"


def test_what_no_test_can_notice_is_said_and_not_tried(project):
    one = Break("two", "Nothing.", "code.py", "a + b", "b + a", (), equivalent="a sum has no order")
    assert try_break(one, project) == (EQUIVALENT, "a sum has no order")
    page = page_of([(ONE, NOTICED, "tests/test_code.py::test_it[x|y]"), (one, EQUIVALENT, one.equivalent)])
    assert f"2 breaks of the {len(BREAKS)} in the table: 1 noticed, 1 equivalent." in page
    assert "| one | It adds wrongly. | `code.py` | noticed: `tests/test_code.py::test_it[x\\|y]` |" in page


def test_breaks_are_chosen_by_name_or_its_beginning():
    assert [one.name for one in chosen(["logloss-sign"])] == ["logloss-sign"]
    assert {one.name for one in chosen(["parity-*"])} == {one.name for one in BREAKS if one.name.startswith("parity-")}
    assert chosen([]) == list(BREAKS)
