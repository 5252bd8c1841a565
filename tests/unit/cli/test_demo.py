"""The demo serves on until it is told to stop."""

from __future__ import annotations

import subprocess
from typing import cast

import pytest
import typer

from identengine.cli import demo


class Served:
    """A process that runs for some waits, and then ends, or is interrupted."""

    def __init__(self, *ends: BaseException | int) -> None:
        self._ends = list(ends)

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None, "a signal that arrives just before would be lost"
        end = self._ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


def serve_on(*ends: BaseException | int) -> None:
    demo._serve_on(cast("subprocess.Popen[bytes]", Served(*ends)))


def test_each_wait_has_a_limit_so_that_no_signal_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    still = subprocess.TimeoutExpired("serve", demo.WAIT_SECONDS)
    serve_on(still, still, KeyboardInterrupt())
    assert capsys.readouterr().out.endswith("removes the store.\n\n")


def test_a_server_that_ends_by_itself_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        serve_on(subprocess.TimeoutExpired("serve", demo.WAIT_SECONDS), 3)
    assert "the server exited unexpectedly with status 3" in capsys.readouterr().err
