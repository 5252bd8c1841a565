"""Programs of the machine that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails where all have to be there."""
    found = shutil.which(name)
    if found is None:
        text = f"{name} is not there: apt-get install --no-install-recommends {package}"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return found
