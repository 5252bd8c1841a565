"""The command line as a process: streams, signals, terminals and exit statuses."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from support.cli import BOOK, config_with, demo_store, done
from support.ports import free_port
from support.waiting import PATIENCE

PROGRAM = [sys.executable, "-m", "identengine"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def test_nothing_heavy_is_imported_for_help() -> None:
    heavy = "lmdb cryptography uvloop pytricia asyncio ssl"
    code = f"import sys, identengine.cli; print([name for name in {heavy.split()} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_exit_status_and_streams(store: Path) -> None:
    call = [*PROGRAM, "identify", "--store", str(store), "--json", "src_ip=203.0.113.250", "dst_number=44"]
    said = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (1, "")
    assert '"reason": "unknown_source"' in said.stdout
    wrong = subprocess.run([*PROGRAM, "accounts", "show"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_closed_pipe_is_not_an_error(store: Path, tmp_path: Path) -> None:
    many = "".join(f"+1 202-555-01{number:06}\n" for number in range(20_000)).splitlines()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "dids.csv").write_text("number,account_id\n" + "".join(f"{one},182\n" for one in many))
    done("import", tmp_path / "more", "--yes", store=store)
    for command, lines in ((("dids", "list"), 1), (("dids", "list", "--json"), 1), (("clients", "list"), 0)):
        with subprocess.Popen(
            [*PROGRAM, *command, "--store", str(store)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for _ in range(lines):
                assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""


def test_ctrl_c_exits_silently(store: Path) -> None:
    command = [*PROGRAM, "accounts", "password", "set", "142", "--store", str(store)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"half a li")
        process.stdin.flush()
        while _unread(process.stdin.fileno()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, b"", b"")


def _unread(pipe: int) -> int:
    """Return the number of unread bytes in a pipe."""
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("store_there", [True, False])
def test_an_interrupted_import_is_reported(
    store: Path, tmp_path: Path, number: int, status: int, store_there: bool
) -> None:
    target = store if store_there else tmp_path / "new"
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name\n1,Alpha\n")
    rows = "".join(f"{n},1,a{n},name,n{n}\n" for n in range(1, 200_001))
    (book / "accounts.csv").write_text("id,client_id,name,ident_by,ident\n" + rows)
    command = [*PROGRAM, "import", str(book), "--yes", "--store", str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not _reads(process.pid, book / "accounts.csv"):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (status, b"", b"interrupted; nothing was changed\n")
    if store_there:
        assert len(done("versions", "--json", store=store).json) == 1
    else:
        assert not [str(each) for each in target.rglob("*")]
        assert not target.exists()
        assert not target.with_name("new.key").exists()


def _reads(process: int, path: Path) -> bool:
    """Return True if a process has a file open."""
    links = Path(f"/proc/{process}/fd")
    try:
        return any(link.readlink() == path for link in links.iterdir())
    except FileNotFoundError:  # a file was closed meanwhile
        return False


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
def test_an_error_of_writing_names_standard_output(store: Path) -> None:
    for command in (["versions"], ["accounts", "list", "--json"], ["dids", "list"], ["--help"], ["--version"]):
        with Path("/dev/full").open("wb") as full:
            said = subprocess.run(
                [*PROGRAM, *command, *(() if command[0].startswith("-") else ("--store", str(store)))],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert said.returncode == 1
        assert f"standard output: {os.strerror(errno.ENOSPC)}" in said.stderr
        assert "Traceback" not in said.stderr


def test_a_terminal_gets_boxes_and_a_narrow_one_paragraphs(store: Path) -> None:
    wide = on_terminal(["accounts", "list", "--client", "1", "--store", str(store)], columns=170)
    assert "╭" in wide
    assert "│ 102 │ 1 Northwind " in wide
    narrow = on_terminal(["accounts", "list", "--client", "1", "--store", str(store)], columns=60)
    assert "╭" not in narrow
    assert "Name/ANI/IP   ip: 192.0.2.11; 192.0.2.12; 192.0.2.13" in narrow


MARKUP = "[bold]Acme[/bold] [calls] :smile: [/] \\[x]"


@pytest.mark.parametrize("columns", [60, 200])
def test_a_terminal_shows_brackets_of_a_book_as_written(store: Path, columns: int) -> None:
    done("clients", "set", 1, f"name={MARKUP}", "notes=[red]note", store=store)
    done("accounts", "set", 101, f"name={MARKUP}", store=store)
    for command in (
        ("clients", "list", "--limit", "3"),
        ("clients", "show", "1"),
        ("accounts", "list", "--limit", "3"),
        ("accounts", "show", "101"),
        ("versions",),
        ("diff", "1", "3"),
        ("audit", "--last", "1"),
        ("explain", "src_ip=192.0.2.10", "dst_number=44"),
    ):
        shown = on_terminal([*command, "--store", str(store)], columns=columns)
        words = " ".join(re.sub("[│╭╮╰╯─├┤┼┬┴]", " ", shown).split())
        if command != ("versions",):
            assert {"[bold]Acme[/bold]", "[calls]", ":smile:"} <= set(words.split())


def test_a_terminal_shows_brackets_of_a_wrong_argument_as_written(store: Path) -> None:
    shown = on_terminal(["accounts", "set", "101", MARKUP, "--store", str(store)], columns=200, status=2)
    assert MARKUP.replace("\\", "\\\\") in shown
    shown = on_terminal(["accounts", "show", MARKUP, "--store", str(store)], columns=200, status=1)
    assert MARKUP.replace("\\", "\\\\") in shown


@pytest.mark.parametrize("columns", range(70, 150, 16))
def test_no_terminal_breaks_an_address_in_two(store: Path, tmp_path: Path, columns: int) -> None:
    book = tmp_path / "more"
    book.mkdir()
    (book / "accounts.csv").write_text(
        "id,client_id,name,ident_by,ident,tech_prefix,orig_tag\n"
        "1,1,A name of several words that may be folded,ip,192.0.2.128/28;198.51.100.0/24,4477#,gold wholesale\n"
    )
    done("import", book, "--missing", "keep", store=store)
    shown = on_terminal(["accounts", "search", "several words", "--store", str(store)], columns=columns)
    words = shown.replace("│", " ").split()
    assert {"192.0.2.128/28;", "198.51.100.0/24", "4477#", "wholesale"} <= {word.rstrip(",") for word in words}
    assert max(map(len, shown.splitlines())) <= columns or "╭" not in shown


def test_a_terminal_gets_one_screenful_of_a_long_list(store: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    rows = "".join(f"1202556{number:04},182\n" for number in range(300))
    (tmp_path / "more" / "dids.csv").write_text("number,account_id\n" + rows)
    done("import", tmp_path / "more", "--yes", store=store)
    shown = on_terminal(["dids", "list", "--store", str(store)], columns=100)
    assert "12025560099" in shown
    assert "12025560100" not in shown
    assert "--offset 100 shows the next rows, --limit 0 shows all" in shown


def on_terminal(words: list[str], columns: int, status: int = 0) -> str:
    """Run a command on a terminal of its own and return the output without colours."""
    leader, follower = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "COLUMNS": str(columns), "TERM": "xterm", "LANG": "C.UTF-8"}
    with subprocess.Popen([*PROGRAM, *words], stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                some = os.read(leader, 65536)
            except OSError:  # the other side of the terminal is closed
                break
            if not some:
                break
            shown += some
        os.close(leader)
    assert process.returncode == status, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_does_no_harm(store: Path, tmp_path: Path, closed: str) -> None:
    target = tmp_path / "new"
    for command in (f"versions --store {store}", f"import {BOOK} --store {target}", "versions --store nowhere"):
        words = f"exec {shlex.join(PROGRAM)} {command} {closed}"
        said = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
        assert "Traceback" not in said.stderr
        assert said.returncode == ("nowhere" in command)
    assert len(done("versions", "--json", store=target).json) == 1


@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "<&- >&- 2>&-"])
def test_a_server_starts_without_standard_streams_and_outlives_a_sighup(
    store: Path, tmp_path: Path, closed: str
) -> None:
    port = free_port()
    config = config_with(tmp_path, f'[listen]\nudp = []\ntcp = ["127.0.0.1:{port}"]\n')
    words = f"exec {shlex.join(PROGRAM)} serve --config {shlex.quote(str(config))} {closed}"
    with subprocess.Popen(["bash", "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while not _ignores(process.pid, signal.SIGHUP):
                assert process.poll() is None
                time.sleep(0.001)
            for _ in range(20):
                process.send_signal(signal.SIGHUP)
            until = time.monotonic() + 20
            while not _listens(port):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
        finally:
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err


def _ignores(process: int, number: int) -> bool:
    """Return True if a process ignores a signal or handles it."""
    status = Path(f"/proc/{process}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
