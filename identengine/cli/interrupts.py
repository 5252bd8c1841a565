"""Ctrl-C and SIGTERM in a command that writes: it says what became of the book, and ends as a shell expects."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from identengine.errors import IdentengineError


class StoppedError(IdentengineError):
    """A command was told to stop; ``status`` is what it ends with, 128 and the signal's number."""

    def __init__(self, said: str, status: int) -> None:
        self.status = status
        super().__init__(said)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM; a KeyboardInterrupt, since nothing on the way may take it for an error of its own."""


@contextmanager
def stoppable(head: Callable[[], int]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what is within in order; both become :class:`StoppedError`.

    ``head`` returns the newest version of the book, so that what is said of it is true whenever the signal came.
    """
    head_before = head()

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, IdentengineError, OSError) as error:
        stop = _stop_behind(error)
        if stop is None:
            raise
        number = signal.SIGTERM if isinstance(stop, _TerminatedError) else signal.SIGINT
        changed = "nothing was changed" if head() == head_before else f"the newest version is {head()} now"
        raise StoppedError(f"stopped; {changed}", 128 + number) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the signal that an error came of: Python, stopped while it closes a file, may close it twice."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error
