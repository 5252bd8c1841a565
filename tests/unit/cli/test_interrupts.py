"""An interrupted command reports the interrupt, even if its cleanup raises another error."""

from __future__ import annotations

import os
import signal

import pytest

from identengine.cli.interrupts import StoppedError, stoppable
from identengine.errors import StoreError


def _stopped_while_closing() -> None:
    """Fail like shutil.rmtree if a signal arrives while it closes a file, which is then closed twice."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.close(-1)


def _make_scratch_file() -> None:
    try:
        _stopped_while_closing()
    except OSError as error:
        raise StoreError("no temporary file can be made") from error


def test_an_error_that_a_signal_caused_is_an_interrupt() -> None:
    with pytest.raises(StoppedError, match="interrupted; nothing was changed") as raised, stoppable(lambda: 1):
        _make_scratch_file()
    assert raised.value.status == 143


def test_another_error_is_raised_unchanged() -> None:
    with pytest.raises(StoreError, match="no room"), stoppable(lambda: 1):
        raise StoreError("no room")
