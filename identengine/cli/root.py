"""The command ``identengine``: its families of commands, its help texts, and the output of every error.

Exit status (interfaces.md 2): 0 for success, 1 for wrong data or a negative answer, 2 for wrong usage.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Annotated, Any

import msgspec
import typer
from typer._click.exceptions import ClickException
from typer.core import TyperGroup

from identengine.cli import (
    accounts,
    audit,
    calls,
    clients,
    demo,
    dids,
    history,
    identify,
    importexport,
    init,
    keys,
    lint,
    load,
    rejects,
    stats,
    store,
    top,
    undo,
    why,
)
from identengine.cli import serve as serving
from identengine.cli.editing import advice
from identengine.cli.groups import FIRST_STEPS, arrange
from identengine.cli.interrupts import StoppedError
from identengine.cli.output import error_document, failure
from identengine.errors import (
    ConfigError,
    IdentengineError,
    LoadError,
    counted,
    expected,
    nearest,
    one_of,
    sentences,
)
from identengine.provisioning.listing import NotFoundError

_MARKUP = re.compile(r"\[(?=[a-zA-Z#/@])")
"""Beginning of a text that rich would read as a tag."""
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class _Root(TyperGroup):
    """The outermost group. It prints every error as a sentence, never as a traceback."""

    def __init__(self, **attributes: Any) -> None:  # Any: typer does not name the types that it passes
        super().__init__(**attributes)
        self._as_json = False
        arrange(self)
        _reword(self)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        # Known before any option is parsed, since a wrong option is an error too.
        self._as_json = _wants_json(args)
        with self._errors():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:  # Any: as above
        with self._errors():
            result = super().invoke(ctx)
            sys.stdout.flush()  # an error of writing is printed here, not when Python exits
            return result

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Print an error in the block, and exit with its status."""
        try:
            yield
        except BrokenPipeError:
            raise  # the reader closed the pipe; typer exits silently
        except (IdentengineError, OSError) as error:
            _print_error(error, as_json=self._as_json)
            raise typer.Exit(error.status if isinstance(error, StoppedError) else 1) from error
        except UnicodeError as error:
            # Names of files and standard input may hold any bytes, and many places fail on them.
            _print_error(IdentengineError(f"the input is not UTF-8: {error}"), as_json=self._as_json)
            raise typer.Exit(1) from error
        except ClickException as error:  # wrong usage; without --json, typer prints it with the usage
            if not self._as_json:
                raise
            _print_document(error.format_message())
            raise typer.Exit(error.exit_code) from error
        except typer.Abort as error:
            if not self._as_json:
                raise
            _print_document("aborted; nothing was changed")
            raise typer.Exit(1) from error


def _wants_json(args: Sequence[str]) -> bool:
    """Return True if ``--json`` is among the options."""
    return "--json" in takewhile(lambda word: word != "--", args)


def _reword(command: Any) -> None:
    """Escape brackets in all help texts below a command, and word the error about a wrong choice as all others.

    Rich reads brackets as markup, so ``[calls] path`` in a help text would show as `` path``.
    """
    for text in ("help", "short_help", "epilog"):
        if value := getattr(command, text, None):
            setattr(command, text, _MARKUP.sub(r"\\[", value))
    for param in command.params:
        if value := getattr(param, "help", None):
            param.help = _MARKUP.sub(r"\\[", value)
        if choices := getattr(param.type, "choices", None):
            param.type.get_invalid_choice_message = partial(_wrong_choice, [str(choice) for choice in choices])
    for below in getattr(command, "commands", {}).values():
        _reword(below)


def _wrong_choice(choices: list[str], value: str, ctx: object) -> str:
    """Return the message for a value that is not one of the choices of an option."""
    return expected(one_of(choices), value, meant=nearest(value, choices))


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="The engine that a telephone switch asks for every call: whose call is this, and may it pass?",
    epilog=FIRST_STEPS,
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
        bool,
        typer.Option("--version", help="Show the program's version and exit.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    pass


demo.add_to(app)
serving.add_to(app)
init.add_to(app)
importexport.add_to(app)
history.add_to(app)
undo.add_to(app)
audit.add_to(app)
app.add_typer(accounts.app, name="accounts")
app.add_typer(clients.app, name="clients")
app.add_typer(dids.app, name="dids")
identify.add_to(app)
lint.add_to(app)
rejects.add_to(app)
why.add_to(app)
app.add_typer(calls.app, name="calls")
stats.add_to(app)
top.add_to(app)
load.add_to(app)
app.add_typer(keys.app, name="key")
app.add_typer(store.app, name="store")


def main() -> None:
    """Run the command line of this process."""
    _ready_process()
    try:
        app(prog_name="identengine")
        sys.stdout.flush()
    except OSError as error:  # from --help or --version, which print before a command begins
        _print_error(error, as_json=False)
        sys.exit(1)
    finally:
        _flush()


def _ready_process() -> None:
    """Open the null device for each closed standard stream.

    Otherwise a file that is opened later gets the stream's number, and output goes into that file. uvloop even
    aborts.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - stays open as long as the process


def _flush() -> None:
    """Flush standard output. Drop output that cannot be written: its error was printed already."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(error: IdentengineError | OSError, *, as_json: bool) -> None:
    """Print an error to standard error: as sentences, or with ``--json`` as one JSON object."""
    if as_json:
        if isinstance(error, LoadError):
            problems = [msgspec.structs.asdict(one) for one in error.problems]
            _print_document(_sentence(error), problems, error.total)
        elif isinstance(error, ConfigError):
            _print_document(_sentence(error), error.problems, len(error.problems))
        else:
            _print_document(_sentence(error))
        return
    if isinstance(error, LoadError | ConfigError):
        for problem in error.problems:
            failure(str(problem))
    if not isinstance(error, ConfigError):
        for line in _sentence(error).splitlines():
            failure(line)


def _print_document(message: str, problems: Sequence[object] = (), total: int = 0) -> None:
    sys.stderr.write(error_document(message, problems, total) + "\n")


def _sentence(error: IdentengineError | OSError) -> str:
    if isinstance(error, LoadError):
        more = error.total - len(error.problems)
        unlisted = f", {more} of them not listed" if more else ""
        return f"{counted(error.total, 'mistake')}{unlisted}; nothing was changed"
    if isinstance(error, NotFoundError):
        return sentences(error, advice(error))
    if isinstance(error, OSError) and error.strerror:
        # Errors of files name the file. An error of writing without a name comes from standard output.
        where = "standard output" if error.errno in _CANNOT_WRITE else None
        return f"{error.filename or where}: {error.strerror}" if error.filename or where else error.strerror
    return str(error)
