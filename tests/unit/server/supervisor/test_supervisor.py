"""The pauses between starts of a process, the lock, the receive buffer of a socket, and the direct log."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
from pathlib import Path

import pytest

from identengine.config.schema import LogConfig
from identengine.config.sections import from_values
from identengine.log import handlers
from identengine.net import sockets as listening
from identengine.server.supervisor.children import Children, Deaths
from identengine.server.supervisor.lock import FILE, ServerLock
from identengine.server.supervisor.start import _log_receive_buffer
from identengine.server.supervisor.takeover import Takeover


def test_pauses_grow_and_are_forgotten() -> None:
    deaths = Deaths()
    assert [deaths.note(1.0) for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert deaths.when(30.0) == " in 30 s, since 9 died within 10 s of their start"
    assert deaths.note(30.0) == 0.0, "it lived long enough not to count as early"
    assert deaths.note(9.9) == 30.0, "but not long enough to reset the count"
    assert [deaths.note(60.0), deaths.note(1.0), deaths.note(1.0)] == [0.0, 0.0, 0.5]
    for _ in range(5000):
        assert deaths.note(0.0) <= 30.0


def test_a_server_continues_if_the_disk_has_no_room_for_its_pid(tmp_path: Path) -> None:
    config = from_values(
        {"calls": {"path": str(tmp_path)}, "listen": {"udp": ["127.0.0.1:0"], "tcp": ["127.0.0.1:0"]}}, None
    )
    lock = ServerLock.take(tmp_path)
    sockets = listening.bind(config.listen, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            lock.write_pid()
        Takeover(tmp_path, Children(list), lock=lock).continue_serving("the new server died")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sockets.close()
    lock.release()
    lock.close()
    assert (tmp_path / FILE).read_text() == "", "as after any orderly end"


@pytest.mark.parametrize(("asked", "warned"), [(100_000, True), (listening.RECEIVE_BUFFER, False)])
def test_the_log_names_the_receive_buffer(asked: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        try:
            udp.setsockopt(socket.SOL_SOCKET, 33, asked)  # SO_RCVBUFFORCE
        except PermissionError:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
            warned = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * listening.RECEIVE_BUFFER
        logger = logging.getLogger("identengine")
        logger.addHandler(caplog.handler)
        logger.setLevel("INFO")
        try:
            _log_receive_buffer(udp)
        finally:
            logger.removeHandler(caplog.handler)
        text = caplog.text
        logged = int(text.partition("it holds about ")[2].split()[0])
        assert ("net.core.rmem_max=8388608" in text) is warned
        # The number in the log fits, and not many more. Kernels count differently, so the bounds are wide.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(2 * logged):
                sender.sendto(b"x" * 300, udp.getsockname())
        udp.setblocking(False)
        found = 0
        try:
            while udp.recv(400):
                found += 1
        except BlockingIOError:
            pass
        assert logged * 0.9 <= found <= logged * 1.8


def test_a_direct_log_drops_lines_without_a_reader_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stderr", stream)
    logger = logging.getLogger("identengine")
    kept, level, propagates = logger.handlers, logger.level, logger.propagate
    try:
        handlers.set_up_direct(LogConfig())
        for number in range(1000):
            logger.info("line %d %s", number, "é" * 300)
        logger.info("long %s", "é" * 5000)
        read = b""
        os.set_blocking(reader, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                read += os.read(reader, 65536)
        logger.info("the last one %s", "x" * 5000)
        read += os.read(reader, 65536)
    finally:
        logger.handlers, logger.propagate = kept, propagates
        logger.setLevel(level)
        stream.close()
        os.close(reader)
    written = read.count(b"line ")
    assert 0 < written < 1000
    assert f"{1001 - written} lines of the log were dropped here".encode() in read
    assert read.endswith(b"\n")
