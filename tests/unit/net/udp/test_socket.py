"""Batched sockets: one call for each batch and one call for each datagram do the same, over real sockets."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from identengine.net.udp.mmsg import MmsgSocket, batched
from identengine.net.udp.recvmsg import RecvmsgSocket
from identengine.net.udp.socket import BATCH, LARGEST, Batched

HOST = "127.0.0.1"
PATIENCE = 20
IP_RECVERR = 11  # Linux
Way = Callable[[socket.socket, int], Batched]


@pytest.fixture(params=[MmsgSocket, RecvmsgSocket])
def way(request: pytest.FixtureRequest) -> Way:
    made: Way = request.param
    return made


@contextlib.contextmanager
def bound(host: str, *, dual: bool = False) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual))
        try:
            made.bind(socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0][4])
        except OSError as fault:
            if family == socket.AF_INET6 and fault.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                pytest.skip("no such IPv6 address here")
            raise
        yield made


@contextlib.contextmanager
def asking(server: socket.socket, host: str = "", source: str = "") -> Iterator[socket.socket]:
    """Open a socket that accepts answers only from the address that it asks."""
    address = server.getsockname()
    host = host or address[0]
    with bound(source or ("::" if ":" in host else "0.0.0.0")) as client:
        client.connect(socket.getaddrinfo(host, address[1], type=socket.SOCK_DGRAM)[0][4])
        client.settimeout(PATIENCE)
        yield client


def readable(server: socket.socket) -> None:
    assert select.select([server], [], [], PATIENCE)[0]


def test_more_than_a_batch_from_many_senders(way: Way) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(bound(HOST))
        clients = [stack.enter_context(asking(server)) for _ in range(5)]
        box = way(server, LARGEST)
        assert box.receive() == []
        sent: list[list[bytes]] = [[] for _ in clients]
        for number in range(150):
            datagram = f"{number} ".encode() + b"x" * (number * 37 % 900)
            clients[number * number % 5].send(datagram)
            sent[number * number % 5].append(datagram)
        batches = []
        while received := box.receive():
            batches.append(len(received))
            assert len(set(map(bytes, received))) == len(received) == len(box.keys())
            assert box.send([b"to " + datagram for datagram in received]) == 0
        assert batches == [BATCH, BATCH, 150 - 2 * BATCH]
        for client, those in zip(clients, sent, strict=True):
            assert [client.recv(LARGEST) for _ in those] == [b"to " + one for one in those]


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        (HOST, HOST),
        ("::1", "::1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.5"),
        ("0.0.0.0", "127.9.8.7"),
        ("::", "::1"),
        ("::", "127.0.0.1"),
        ("::", "127.0.0.5"),
    ],
)
def test_answers_come_from_the_address_that_was_asked(way: Way, host: str, asked: str) -> None:
    with bound(host, dual=True) as server, asking(server, asked) as client:
        box = way(server, LARGEST)
        client.send(b"now")
        client.send(b"later")
        readable(server)
        assert box.receive() == [b"now", b"later"]
        back = box.reply_route()
        assert box.send([b"1"]) == 0
        assert box.send([b"2", b"3"], [1, 0]) == 0
        with asking(server, "::1" if asked == "::1" else HOST) as other:
            other.send(b"of another")
            readable(server)
            assert box.receive() == [b"of another"]
            assert back(1, [b"4", b"5"]) == 0
            assert box.send([b"6"]) == 0
            assert other.recv(100) == b"6"
        assert [client.recv(100) for _ in range(5)] == [b"1", b"2", b"3", b"4", b"5"]


def test_what_was_sent_to_many_is_answered_from_an_address_of_ours(way: Way) -> None:
    with bound("::", dual=True) as server, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        box = way(server, LARGEST)
        client.settimeout(10)
        port = server.getsockname()[1]
        try:
            client.sendto(b"to all", ("ff02::1%lo", port))
        except OSError:
            pytest.skip("no multicast over the loopback interface here")
        client.sendto(b"to one", ("::1", port))
        readable(server)
        received = box.receive()
        while len(received) < 2:
            readable(server)
            assert box.send([b"0"]) == 0
            received += box.receive()
        assert box.send([b"1"] * len(box.keys())) == 0
        assert client.recv(100) in (b"0", b"1")


def test_many_addresses_of_a_wildcard_in_one_batch(way: Way) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(bound("0.0.0.0"))
        clients = [stack.enter_context(asking(server, f"127.0.0.{last}")) for last in range(1, 41)]
        box = way(server, LARGEST)
        for number, client in enumerate(clients):
            client.send(str(number).encode())
        received = box.receive()
        assert len(received) == len(clients)
        backwards = list(range(len(received)))[::-1]
        assert box.send([received[place] for place in backwards], backwards) == 0
        for number, client in enumerate(clients):
            assert client.recv(100) == str(number).encode()


def link_local() -> tuple[str, str]:
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, _, _, _, _, name = line.split()
        if digits.startswith("fe80"):
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), name
    pytest.skip("no interface here has a link-local address")


@pytest.mark.parametrize("host", ["", "::"])
def test_link_local_senders_keep_their_scope(way: Way, host: str) -> None:
    address, interface = link_local()
    scoped = f"{address}%{interface}"
    with (
        bound(host or scoped) as server,
        asking(server, scoped, scoped) as client,
    ):
        box = way(server, LARGEST)
        client.send(b"who")
        readable(server)
        assert box.receive() == [b"who"]
        assert box.host(0) == address
        assert box.send([b"you"]) == 0
        assert box.reply_route()(0, [b"again"]) == 0
        assert [client.recv(100), client.recv(100)] == [b"you", b"again"]


@pytest.mark.parametrize("host", [HOST, "::1", "::"])
def test_keys_tell_addresses_apart_and_not_ports(way: Way, host: str) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(bound(host, dual=True))
        sources = ["::1", "::1"] if ":" in host else ["127.0.0.2", "127.0.0.2", "127.0.0.3"]
        clients = [stack.enter_context(asking(server, "::1" if ":" in host else "", one)) for one in sources]
        if host == "::":
            clients += [stack.enter_context(asking(server, HOST, one)) for one in ("127.0.0.2", "127.0.0.3")]
            sources += ["::ffff:127.0.0.2", "::ffff:127.0.0.3"]
        box = way(server, LARGEST)
        for client in clients:
            client.send(b"")
        assert box.receive() == [b""] * len(clients)
        assert [box.host(place) for place in range(len(clients))] == sources
        assert box.ports() == [one.getsockname()[1] for one in clients]
        keys = list(box.keys())
        assert [[one == other for other in keys] for one in keys] == [
            [one == other for other in sources] for one in sources
        ]


def test_sizes_from_none_to_the_largest_and_beyond_the_limit(way: Way) -> None:
    sizes = [0, 1, 1500, 65507, 0, 3, 999, 1000, 1001, 65507, 5]
    with bound(HOST) as server, asking(server) as client:
        box = way(server, 1_000_000)
        for size in sizes:
            client.send(b"a" * size)
        assert [len(datagram) for datagram in box.receive()] == sizes
        assert box.send([b"b" * size for size in sizes]) == 0
        assert [client.recv(LARGEST) for _ in sizes] == [b"b" * size for size in sizes]
        box.limit(1000)
        for size in sizes:
            client.send(b"c" * size)
        assert box.receive() == [b"c" * min(size, 1000) for size in sizes]
        box.limit(LARGEST)
        client.send(b"d" * 65507)
        assert box.receive() == [b"d" * 65507]


def test_what_cannot_be_sent_is_counted_and_holds_up_nothing_behind_it(way: Way) -> None:
    too_large = bytes(LARGEST)
    with bound(HOST) as server, asking(server) as client:
        box = way(server, LARGEST)
        for number in range(BATCH):
            client.send(str(number).encode())
        answers = box.receive()
        for place in (0, 1, 30, BATCH - 1):
            answers[place] = too_large
        assert box.send(answers) == 4
        right = [answer for answer in answers if answer is not too_large]
        assert [client.recv(LARGEST) for _ in right] == right
        assert box.send([too_large] * 20, [0] * 20) == 20
        back = box.reply_route()
        assert back(0, [too_large, b"late"]) == 1
        assert client.recv(LARGEST) == b"late"


def test_more_answers_than_datagrams(way: Way) -> None:
    with bound(HOST) as server, asking(server) as one, asking(server) as other:
        box = way(server, LARGEST)
        one.send(b"one")
        other.send(b"other")
        assert box.receive() == [b"one", b"other"]
        answers = [str(number).encode() for number in range(200)]
        assert box.send(answers, [number % 2 for number in range(200)]) == 0
        assert [one.recv(100) for _ in range(100)] == answers[::2]
        assert [other.recv(100) for _ in range(100)] == answers[1::2]
        assert box.send([b"1", b"2"]) == 0
        assert (one.recv(100), other.recv(100)) == (b"1", b"2")
        assert box.send([], []) == box.send([]) == 0


@pytest.mark.parametrize("told", [False, True])
def test_senders_that_are_gone_hold_up_nobody(way: Way, told: bool) -> None:
    """With ``told`` the kernel reports errors to the socket, and the next call raises the failure of an answer."""
    with bound(HOST) as server, asking(server) as stays:
        if told:
            server.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        box = way(server, LARGEST)
        for turn in range(3):
            for _ in range(5):
                with asking(server) as gone:
                    gone.send(b"gone")
                stays.send(b"stays %d" % turn)
            readable(server)
            received = box.receive()
            assert received == [b"gone", b"stays %d" % turn] * 5
            assert box.send(received) == 0
            assert [stays.recv(100) for _ in range(5)] == [b"stays %d" % turn] * 5


def test_how_long_each_has_waited(way: Way) -> None:
    with bound(HOST) as server, asking(server) as client:
        box = way(server, LARGEST)
        client.send(b"old")
        client.send(b"old")
        deadline = time.time() + 0.02
        while time.time() < deadline:
            time.sleep(0.005)
        between = time.time()
        time.sleep(0.001)  # longer than a tick of the kernel's time stamps
        client.send(b"young")
        assert box.receive() == [b"old", b"old", b"young"]
        assert box.too_old(60) is None
        assert box.too_old(time.time() - between) == [True, True, False]
        assert box.too_old(-60) == [True, True, True]
        client.send(b"young")
        box.receive()
        assert box.too_old(60) is None


def test_a_closed_socket_is_left_alone_whatever_has_its_number(way: Way) -> None:
    with bound(HOST) as server, asking(server) as client:
        box = way(server, LARGEST)
        client.send(b"late")
        assert box.receive() == [b"late"]
        back = box.reply_route()
        number = server.fileno()
        server.close()
        with bound(HOST) as another:
            assert another.fileno() == number
            another.sendto(b"not yours", another.getsockname())
            assert box.receive() == []
            assert back(0, [b"too late"]) == 1
            assert another.recv(100) == b"not yours"
        client.setblocking(False)  # on loopback a sent datagram has arrived
        with pytest.raises((BlockingIOError, ConnectionRefusedError)):
            client.recv(100)


def test_one_call_a_batch_where_the_system_has_it() -> None:
    with bound(HOST) as server:
        assert isinstance(batched(server, LARGEST), MmsgSocket)


FORBIDDEN = """
import ctypes, platform, socket, struct
# A filter of system calls: calls of these numbers fail, all others pass (linux/seccomp.h, linux/filter.h).
numbers = {"x86_64": {"recvmmsg": 299, "sendmmsg": 307}, "aarch64": {"recvmmsg": 243, "sendmmsg": 269}}
number = numbers[platform.machine()]["CALL"]
program = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, number)
program += struct.pack("HBBI", 0x06, 0, 0, 0x50000 | ERRNO) + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
code = ctypes.create_string_buffer(program)
filters = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.addressof(filters), 0, 0) == 0, ctypes.get_errno()
from identengine.net.udp.mmsg import batched
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    server.sendto(b"x", server.getsockname())
    box = batched(server, 100)
    print(type(box).__name__, box.receive(), box.send([b"y"]), server.recv(100))
"""


@pytest.mark.parametrize("call", ["recvmmsg", "sendmmsg"])
@pytest.mark.parametrize("fault", [errno.EPERM, errno.ENOSYS])
def test_one_call_a_datagram_where_the_others_are_forbidden(call: str, fault: int) -> None:
    program = FORBIDDEN.replace("CALL", call).replace("ERRNO", str(fault))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (run.stdout, run.stderr) == ("RecvmsgSocket [b'x'] 0 b'y'\n", "")
