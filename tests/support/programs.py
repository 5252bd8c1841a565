"""Programs of the machine that some tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


def program(name: str, packages: str) -> str:
    """Return the path of a program. Without it the test is skipped; in CI, which installs all, it fails."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        missing(name, packages)
    return found


def missing(name: str, packages: str) -> NoReturn:
    """Skip the test, naming the command that installs what it needs; fail it in CI."""
    text = f"{name} is not installed: apt-get install --no-install-recommends {packages}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)
