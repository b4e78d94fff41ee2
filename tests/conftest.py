"""What all tests share: marks of whole folders that start processes or try hundreds of files, and random draws."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SLOW = ("jobs", "security", "models/importers", "export", "contracts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = Path(item.path).relative_to(HERE).as_posix()
        if place.startswith(tuple(f"{folder}/" for folder in SLOW)):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server for this process; skips the test where none can be started."""
    from tests.postgresql import temporary_server

    with temporary_server() as url:
        yield url


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order() -> None:
    """Each test begins with the same random state, whichever ran before it in its process."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
