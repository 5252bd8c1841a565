"""``python -m identengine`` and the script ``identengine``: the command line."""

import signal
import sys


def main() -> None:
    """Run the command line.

    Till a server obeys them, SIGHUP ("read the config again") and SIGUSR2 would end it: they are ignored before
    anything else is imported, which takes longer than all that Python does before.
    """
    if sys.argv[1:2] == ["serve"]:
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
    from identengine.cli import main as command_line  # noqa: PLC0415 - see above

    command_line()


if __name__ == "__main__":
    main()
