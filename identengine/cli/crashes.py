"""An explanation for the death of a command by a damaged page of the store.

LMDB follows the numbers in its pages without checking them. A damaged number can thus kill the process (SIGSEGV,
SIGABRT), as a truncated file does (SIGBUS). Python has no handler that runs at such a moment. A child process for
each command would cost 60 ms. A C handler by ctypes can write one message and exit.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import shlex
import signal
import sys
from pathlib import Path

from identengine.cli.output import error_document

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_installed: list[object] = []
"""The handlers of this process. C calls them, so that they must not be collected."""


def explain_crashes(store: Path) -> None:
    """Let a crash of this process print that ``store`` is damaged, and exit with 1.

    A process whose crashes Python's faulthandler reports is left alone.
    """
    if faulthandler.is_enabled():
        return
    name = shlex.quote(str(store))
    numbers = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
    texts = {
        int(number): (
            f"the store {store} is damaged: reading it crashed this command ({number.name}). Nothing was changed. "
            f"Run `identengine store check --store {name}`."
        )
        for number in numbers
    }
    if "--json" in sys.argv:
        texts = {number: error_document(text) for number, text in texts.items()}
    messages = {number: f"{text}\n".encode(errors="backslashreplace") for number, text in texts.items()}

    def crash(number: int) -> None:
        os.write(2, messages[number])
        os._exit(1)

    handler = _Handler(crash)
    _installed.append(handler)
    for number in numbers:
        ctypes.CDLL(None).signal(int(number), handler)
