from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from support import ROOT


def test_imports_point_down() -> None:
    """pyproject.toml holds the layers and the modules with exclusive imports."""
    linter = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
