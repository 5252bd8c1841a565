"""``python -m identengine`` and the script ``identengine``: the command line."""

import signal
import sys


def main() -> None:
    """Run the command line.

    SIGHUP and SIGUSR2 would kill a server that has no handlers for them yet. So both are ignored before the
    imports, which take most of the time of a start.
    """
    if sys.argv[1:2] == ["serve"]:
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
    from identengine.cli import main as command_line  # noqa: PLC0415 - after the signals

    command_line()


if __name__ == "__main__":
    main()
