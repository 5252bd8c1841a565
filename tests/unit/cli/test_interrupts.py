"""A command that is stopped says so, whatever its being stopped made fail on the way."""

from __future__ import annotations

import os
import signal

import pytest

from identengine.cli.interrupts import StoppedError, stoppable
from identengine.errors import StoreError


def _stopped_while_closing() -> None:
    """Fail as shutil.rmtree does where a signal comes while it closes a file: it is closed twice."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.close(-1)


def _make_scratch_file() -> None:
    try:
        _stopped_while_closing()
    except OSError as error:
        raise StoreError("no temporary file can be made") from error


def test_an_error_that_came_of_the_signal_is_a_stop() -> None:
    with pytest.raises(StoppedError, match="interrupted; nothing was changed") as raised, stoppable(lambda: 1):
        _make_scratch_file()
    assert raised.value.status == 143


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(StoreError, match="no room"), stoppable(lambda: 1):
        raise StoreError("no room")
