"""A new format is one file: a copy of the project is given one, and a package outside the project brings one.

The upload page accepts and names it, the command line reads it through the sandbox, and its contract holds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contracts.project_copy import beside, copy_project, install, python
from tests.contracts.stub_format import CONTRACT, MODULE, sample

GROUP = "recpress.importers"
NEEDED = ("compression", "jobs", "plots", "storage", "ui")
PAGE = ("import json\nfrom compression.importers.format import FORMATS, formats_in_words\n"
        "from ui.server.uploads import SUFFIXES, check_name\ncheck_name('m.stub', 'model')\n"
        "print(json.dumps(['.stub' in SUFFIXES['model'], 'stub (.stub)' in formats_in_words(), FORMATS.problems]))")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what is needed of the project, with the new format in it."""
    folder = copy_project(tmp_path_factory.mktemp("project"), NEEDED)
    (folder / "compression/importers/formats/stub.py").write_text(MODULE, encoding="utf-8")
    (folder / "m.stub").write_bytes(sample())
    (folder / "test_stub.py").write_text(CONTRACT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder of packages outside the project: one that works, and three that can't be used."""
    folder = tmp_path_factory.mktemp("packages")
    install(folder, "recpress_stub", MODULE, group=GROUP, name="stub")
    install(folder, "recpress_twin", MODULE.replace('key="stub"', 'key="onnx"'), group=GROUP, name="twin")
    install(folder, "recpress_broken", "import a_package_that_is_not_there\n", group=GROUP, name="broken")
    install(folder, "recpress_newer", MODULE.replace("CONTRACT = 1", "CONTRACT = 2"), group=GROUP, name="newer")
    (folder / "m.stub").write_bytes(sample())
    (folder / "test_stub.py").write_text(CONTRACT, encoding="utf-8")
    return folder


def test_the_upload_page_accepts_and_names_it(project):
    assert json.loads(python(project, "-c", PAGE)) == [True, True, []]


def test_the_command_line_reads_it_through_the_sandbox(project):
    plain = json.loads(python(project, "-m", "compression", "inspect", "m.stub", "--json"))
    assert [layer["name"] for layer in plain["layers"]] == ["table"]


def test_the_contract_of_importers_holds_for_it(project):
    told = python(project, "-m", "pytest", "-p", "no:cacheprovider", "test_stub.py")
    assert " passed" in told and "failed" not in told


def test_a_package_outside_the_project_brings_one_and_broken_ones_are_named(packages):
    accepted, named, problems = json.loads(python(packages, "-c", PAGE, **beside(packages)))
    assert accepted and named
    assert sorted(problem.split(" is left out: ")[0] for problem in problems) == [
        "The importer 'broken' (recpress_broken)", "The importer 'newer' (recpress_newer)",
        "The importer 'twin' (recpress_twin)"]


def test_the_sandboxed_child_finds_the_package_too(packages):
    plain = json.loads(python(packages, "-m", "compression", "inspect", "m.stub", "--json", **beside(packages)))
    assert [layer["name"] for layer in plain["layers"]] == ["table"]


def test_the_package_passes_its_contract(packages):
    told = python(packages, "-m", "pytest", "-p", "no:cacheprovider", "test_stub.py", **beside(packages))
    assert " passed" in told and "failed" not in told
