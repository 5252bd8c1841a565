"""The output of commands: progress bars and folded text."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest

from identengine.cli import output
from identengine.cli.operatorclient import NoServerError


class Terminal(io.StringIO):
    """A standard error that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_progress_bar_shows_brackets_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    with output.progress("asking http://[fe80::1]:8470 [bold]") as tell:
        bar = tell.__self__  # type: ignore[attr-defined]
        bar._begun -= 2  # it appears after a second
        tell(1, 10)
        tell(2, 10, "[red] 2 answers")
        shown = str(bar._progress.tasks[0].description)
        rendered = output_of(bar)
    assert shown == "[red] 2 answers"
    assert "[red] 2 answers" in rendered


def output_of(bar: object) -> str:
    from rich.console import Console

    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(bar._progress.get_renderable())  # type: ignore[attr-defined]
    return console.export_text()


def test_a_paragraph_folds_between_words_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    output.paragraph(f"src_number=+44{output.GLUE}20 dst_number=+1 and\ta-hyphen", "  ")
    assert capsys.readouterr().out == "  src_number=+44 20\n    dst_number=+1\n    and\\ta-hyphen\n"


def test_a_command_is_continued_as_a_shell_reads_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    output.shell_command("identengine", "show", "--store", "/tmp/a folder", "77#")
    assert capsys.readouterr().out == "  identengine show --store \\\n    '/tmp/a folder' '77#'\n"


@pytest.mark.parametrize("count", [0, 3, 300_000])
def test_an_array_is_printed_whole_or_not_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(output, "_IN_MEMORY", 1000)
    items = [{"id": number, "name": "zoë\n"} for number in range(count)]
    assert output.emit_many(iter(items)) == count
    printed = capsys.readouterr().out
    assert json.loads(printed) == items
    assert len(printed.splitlines()) == count + 2 if count else printed == "[]\n"

    def broken() -> Iterator[object]:
        yield from items
        raise NoServerError("the server exited")

    with pytest.raises(NoServerError):
        output.emit_many(broken())
    assert capsys.readouterr().out == ""
