"""What the documents say of the catalogue is what the catalogue has."""

from __future__ import annotations

import re
from pathlib import Path

from compression.spec.catalogue import (
    CARDS,
    LISTED_BY,
    RUNTIMES_LISTED_BY,
    TASKS_LISTED_BY,
    by_family,
    family_title,
    markdown_list,
    runtimes_markdown,
    tasks_markdown,
)
from compression.spec.method import METHODS

ROOT = Path(__file__).resolve().parents[1]


def test_the_list_of_methods_is_the_one_that_the_catalogue_writes():
    listed = (CARDS / "README.md").read_text(encoding="utf-8")
    assert listed == markdown_list(), f"write it anew: {LISTED_BY}"


def test_the_list_of_runtimes_is_the_one_that_the_command_writes():
    listed = (ROOT / "docs/runtimes.md").read_text(encoding="utf-8")
    assert listed == runtimes_markdown(), f"write it anew: {RUNTIMES_LISTED_BY}"


def test_the_list_of_tasks_is_the_one_that_the_command_writes():
    listed = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    assert listed == tasks_markdown(), f"write it anew: {TASKS_LISTED_BY}"


def test_every_card_is_of_a_method_and_every_link_of_the_list_leads_to_one():
    cards = {path.stem for path in CARDS.glob("*.md")} - {"README"}
    assert cards == set(METHODS)
    assert set(re.findall(r"\]\(([a-z_0-9.]+)\.md\)", markdown_list())) == cards


def test_the_readme_tells_of_every_family_and_names_no_method_that_is_gone():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/methods/README.md)" in readme
    for family in by_family():
        assert f"| {family_title(family)} `{family}.*` |" in readme
    named = re.findall(rf"`((?:{'|'.join(by_family())})\.[a-z_]+)`", readme)
    assert named and set(named) <= set(METHODS)
