"""Ctrl-C and SIGTERM in a command that writes: it reports the state of the book and exits as a shell expects."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from identengine.errors import IdentengineError


class StoppedError(IdentengineError):
    """A signal interrupted a command. ``status`` is its exit status: 128 plus the number of the signal."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM. It is a KeyboardInterrupt, so that no ``except Exception`` on the way catches it."""


@contextmanager
def stoppable(head: Callable[[], int]) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM in the block into :class:`StoppedError`, after its cleanup.

    ``head`` returns the newest version of the book. It is called before the block and after the signal.
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
        state = "nothing was changed" if head() == head_before else f"the newest version is now {head()}"
        raise StoppedError(f"interrupted; {state}", 128 + number) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt that caused an error, or None.

    An interrupt while Python closes a file can raise an error of a second close.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error
