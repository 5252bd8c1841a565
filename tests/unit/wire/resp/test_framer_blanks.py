"""Lines of RESP2 without a command: blank ones, and arrays without arguments."""

from __future__ import annotations

import pytest

from identengine.wire.resp.framer import Commands

PING = b"*1\r\n$4\r\nPING\r\n"
NOTHING = (b"\n", b"\r\n", b" \t\r\n", b"*0\r\n", b"*-1\r\n")


@pytest.mark.parametrize("line", NOTHING)
@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
def test_lines_without_a_command_are_skipped(line: bytes, size: int) -> None:
    data = line * 3 + PING + line + b"PING\r\n" + line * 2 + PING
    framer = Commands(65536)
    messages = [one for at in range(0, len(data), size) for one in framer.feed(data[at : at + size])]
    assert (messages, framer.error, framer.pending) == ([b"PING"] * 3, None, False)


def test_a_flood_of_them_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = 0
    walk_line = Commands._walk_line

    def counted(framer: Commands, at: int) -> int:
        nonlocal walked
        walked += 1
        return walk_line(framer, at)

    monkeypatch.setattr(Commands, "_walk_line", counted)
    assert Commands(65536).feed(b"".join(NOTHING) * 3_000 + PING) == [b"PING"]
    assert walked < 10


def test_a_line_of_blanks_may_be_cut_anywhere_and_is_not_too_long() -> None:
    framer = Commands(100)
    for _ in range(100):
        assert framer.feed(b" ") == []
    assert framer.error is None
    assert framer.feed(b"  ") == []
    assert framer.error == "too big inline request"
