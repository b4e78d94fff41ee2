"""Marks whole folders that start processes or try hundreds of files, so that the default suite stays short."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW = ("jobs", "security", "models/importers", "export", "contracts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = Path(item.path).relative_to(HERE).as_posix()
        if place.startswith(tuple(f"{folder}/" for folder in SLOW)):
            item.add_marker("slow")
