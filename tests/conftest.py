"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Folder of the development data set (real captures, scanned objects); the test skips where it is absent."""
    folder = Path(os.environ.get("ONET_DATA", REPOSITORY.parent / "shared" / "data" / "dev"))
    if not (folder / "views.npz").is_file():
        pytest.skip(f"no evaluation data in {folder} (set ONET_DATA to the folder that holds views.npz)")
    return folder
