"""LibreOffice as an operator's spreadsheet: it opens files and saves them in another format."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.programs import program


def saved(files: Iterable[Path], folder: Path, fmt: str) -> list[Path]:
    """Return the files as LibreOffice saves them to ``folder`` in a format such as ``csv`` or ``xlsx``."""
    soffice = program("soffice", "libreoffice-calc")
    names = list(files)
    profile = folder / "profile"  # of its own, since two processes cannot share one
    words = ["--headless", "--convert-to", fmt, "--outdir", str(folder)]
    subprocess.run(
        [soffice, f"-env:UserInstallation=file://{profile}", *words, *map(str, names)],
        check=True,
        capture_output=True,
        timeout=110,
    )
    return [folder / f"{name.stem}.{fmt}" for name in names]
