"""Small disks for tests, and functions that fill them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        size = 1 << 16
        while size > 512:
            try:
                if file.write(bytes(size)) < size:
                    size >>= 1
            except OSError:
                size >>= 1


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
