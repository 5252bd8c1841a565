"""Programs of the machine that some tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


def program(name: str, packages: str) -> str:
    """Return the path of a program. Without it, skip the test; in CI, which installs everything, fail it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        missing(name, packages)
    return found


def missing(name: str, packages: str) -> NoReturn:
    """Skip the test with the command that installs the program. In CI, fail it."""
    text = f"{name} is not installed: apt-get install --no-install-recommends {packages}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)
