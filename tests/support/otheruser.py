"""A second user of the machine: programs that really run as that user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OTHER_UID = pwd.getpwnam("nobody").pw_uid  # words: ok
OTHER_USER = f'"{pwd.getpwuid(OTHER_UID).pw_name}"'
"""Name of the user as messages show it."""
_BECOME = f"""\
import os, socket, sys
os.setgroups([])
os.setresgid({OTHER_UID}, {OTHER_UID}, {OTHER_UID})
os.setresuid({OTHER_UID}, {OTHER_UID}, {OTHER_UID})
"""
"""Beginning of a program. The interpreter starts as root, since its files may be closed to others."""


def needs_other_user() -> None:
    """Skip the test unless this process can start programs of another user."""
    if os.geteuid():
        pytest.skip("needs root, to start a program as a second user")


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Yield a folder that every user can enter. The folders of pytest are closed to others."""
    with tempfile.TemporaryDirectory(prefix="identengine-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def running_as_other(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python source as the second user during the block. It must end once its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _BECOME + program, *map(str, arguments)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            assert process.wait(20) == 0
        finally:
            process.stdout.close()
