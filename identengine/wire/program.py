"""The name and version of this program, as it introduces itself to its peers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("identengine")
    PROGRAM = f"identengine {VERSION}"
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION, PROGRAM = "0", "identengine"
