"""The command ``identengine``: its families of commands, and how every mistake is told.

Exit status: 0 done, 1 the data or the answer says no, 2 wrong usage (interfaces.md 2).
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from identengine.cli import (
    accounts,
    calls,
    clients,
    demo,
    dids,
    history,
    identify,
    importexport,
    init,
    keys,
    load,
    stats,
    top,
)
from identengine.cli import serve as serving
from identengine.cli.interrupts import StoppedError
from identengine.cli.output import JSON_WANTED, printable
from identengine.errors import ConfigError, IdentengineError, LoadError

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class _Root(TyperGroup):
    """The outermost group: errors end here as sentences, never as a traceback."""

    def invoke(self, ctx: Any) -> Any:  # Any: typer does not name the type that it hands over
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # what cannot be written is said here, not when Python ends
        except BrokenPipeError:
            raise  # the reader has seen enough; typer ends quietly
        except (IdentengineError, OSError) as error:
            _tell(error, as_json=bool(ctx.meta.get(JSON_WANTED)))
            raise typer.Exit(error.status if isinstance(error, StoppedError) else 1) from error
        except UnicodeError as error:
            # Bytes of a file's name or of standard input that are no text can get to many places; all end here.
            _tell(
                IdentengineError(f"what was given is not UTF-8: {error}"), as_json=bool(ctx.meta.get(JSON_WANTED))
            )
            raise typer.Exit(1) from error
        return result


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="The engine that a telephone switch asks, for every call: whose call is this, and may it pass?",
    epilog="Example: identengine demo --once",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"identengine {version('identengine')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version of the program.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


demo.add_to(app)
serving.add_to(app)
init.add_to(app)
importexport.add_to(app)
history.add_to(app)
app.add_typer(accounts.app, name="accounts")
app.add_typer(clients.app, name="clients")
app.add_typer(dids.app, name="dids")
identify.add_to(app)
app.add_typer(calls.app, name="calls")
stats.add_to(app)
top.add_to(app)
load.add_to(app)
app.add_typer(keys.app, name="key")


def main() -> None:
    """Run the command line of this process."""
    _ready_process()
    try:
        app(prog_name="identengine")
        sys.stdout.flush()
    except OSError as error:  # of --help and --version, which are written before a command begins
        _tell(error, as_json=False)
        sys.exit(1)
    finally:
        _flush()


def _ready_process() -> None:
    """Fill closed standard streams.

    A file that is opened later would take the number of a closed stream, and what is printed would go there;
    uvloop even aborts.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: it is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - it stays open as long as the process


def _flush() -> None:
    """Write out what is left; what cannot be written was told, and is no reason to complain when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: IdentengineError | OSError, *, as_json: bool) -> None:
    """Say on standard error what went wrong: sentences, or one JSON object where ``--json`` was given."""
    if as_json:
        said: dict[str, object] = {"message": _sentence(error)}
        if isinstance(error, LoadError):
            said |= {"problems": [msgspec.structs.asdict(one) for one in error.problems], "total": error.total}
        elif isinstance(error, ConfigError):
            said["problems"] = error.problems
        # json, since msgspec refuses the halves of characters that stand for bytes which are no text.
        sys.stderr.write(json.dumps({"error": said}) + "\n")
        return
    if isinstance(error, LoadError | ConfigError):
        for problem in error.problems:
            sys.stderr.write(printable(str(problem)) + "\n")
    if not isinstance(error, ConfigError):
        for line in _sentence(error).splitlines():
            sys.stderr.write(printable(line) + "\n")


def _sentence(error: IdentengineError | OSError) -> str:
    if isinstance(error, LoadError):
        more = error.total - len(error.problems)
        unlisted = f", {more} of them not listed" if more else ""
        return f"{error.total} mistake{'s' * (error.total != 1)}{unlisted}; nothing was changed"
    if isinstance(error, OSError) and error.strerror:
        # What is written to the disk names its file; without a name it is what the command prints.
        where = "standard output" if error.errno in _CANNOT_WRITE else None
        return f"{error.filename or where}: {error.strerror}" if error.filename or where else error.strerror
    return str(error)
