"""Lets every test folder import :mod:`serving` (pytest puts this folder on the path)."""

import signal

# Started in the background of a shell, this process and all that it starts would ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
