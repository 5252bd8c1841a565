"""What holds for all tests."""

import signal

import pytest

pytest.register_assert_rewrite("support", "property")

# Started in the background of a shell, this process and all that it starts would ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
