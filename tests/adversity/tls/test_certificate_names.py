"""The names in client certificates (interfaces.md 3, "Certificates"): only some of them identify a switch."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from adversity.tls.switches import GOOD, LINES, LISTEN, made
from cryptography import x509
from support.server import Server, serving
from support.tls import CLIENT_CA, DAY, NOW, TLS_FILES, Authority, MadeClient
from support.waiting import wait_for

SWITCHES = """
[[switch]]
name = "one"
addresses = ["127.0.0.1"]
certificate = "one.Example."
[[switch]]
name = "two"
addresses = ["127.0.0.1"]
certificate = "two.example"
[[switch]]
name = "numbered"
addresses = ["127.0.0.1"]
certificate = "192.0.2.1"
[[switch]]
name = "kelvin"
addresses = ["127.0.0.1"]
certificate = "kelvin.example"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    folder = made(tmp_path_factory.mktemp("names"), authority)
    with serving(folder, LISTEN + TLS_FILES + CLIENT_CA + SWITCHES) as running:
        yield running
        assert "Traceback" not in running.log


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


def switch_of(server: Server, client: MadeClient, source: str) -> str | None:
    """Return the switch that a client is, by a rejected call of a source address of its own. None if refused."""
    try:
        with server.switch(LINES, client.context) as switch:
            switch.exchange("authorize", GOOD | {"src_ip": source})
    except (OSError, EOFError):
        return None
    server.logged(f'from "{source}" by ')
    line = next(line for line in server.log.splitlines() if f'from "{source}" by ' in line)
    return line.partition(f'from "{source}" by ')[2].partition(":")[0]


@pytest.mark.parametrize(
    ("number", "names", "common_names", "switch"),
    [
        (1, dns("one.example"), ["two.example"], "one"),
        (2, dns("ONE.example."), [], "one"),
        (3, dns("other.example"), ["one.example"], None),
        (4, [], ["one.example"], "one"),
        (5, [], ["unknown", "two.example"], "two"),
        (6, [x509.IPAddress(ipaddress.ip_address("192.0.2.1"))], [], None),
        (7, [x509.IPAddress(ipaddress.ip_address("192.0.2.1"))], ["one.example"], "one"),
        (8, [x509.UniformResourceIdentifier("sip:one.example"), x509.RFC822Name("x@one.example")], [], None),
        (9, dns("unknown.example", "two.example", "one.example"), [], "two"),
        (10, dns("*.example"), [], None),
        (11, dns("one.example\0.evil.example"), [], None),
        (12, [], ["one.example\0.evil.example"], None),
        (13, dns("sub.one.example"), [], None),
        (14, [], ["\u212aelvin.example"], None),
        (15, [], ["one.example.."], None),
        (16, [], [], None),
        (17, dns(""), ["one.example"], None),
    ],
)
def test_names_that_identify_a_switch(
    server: Server,
    authority: Authority,
    number: int,
    names: list[x509.GeneralName],
    common_names: list[str],
    switch: str | None,
) -> None:
    assert switch_of(server, authority.client_of(names, common_names), f"192.0.2.{100 + number}") == switch


def test_the_log_shows_the_names_of_a_refused_certificate_on_one_line(
    tmp_path: Path, authority: Authority
) -> None:
    many = authority.client_of([x509.DNSName(f"n{number}.example") for number in range(500)])
    forged = authority.client_of([x509.DNSName("x\nALARM: forged\x1b[2J\0"), x509.DNSName("y" * 250)])
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES + CLIENT_CA + SWITCHES) as server:
        for _ in range(3):
            assert switch_of(server, many, "192.0.2.50") is None
        shown = 'the first certificate is of "n0.example, n1.example, n2.example and 497 more"'
        server.logged(shown)
        wait_for(lambda: refused(server) == 3)
        assert server.log.count(shown) <= 3
        time.sleep(1.1)  # the next line is one of the next second
        assert switch_of(server, forged, "192.0.2.50") is None
        server.logged(f'certificate is of "x\\nalarm: forged\\u001b[2j\\u0000, {"y" * 64}"')
        assert "\x1b" not in server.log


def test_a_name_that_is_not_text_identifies_no_switch(server: Server, authority: Authority) -> None:
    raw = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xff")
    odd = authority.client_of(common_names=["one.example"], extension=raw)
    assert switch_of(server, odd, "192.0.2.98") is None
    assert switch_of(server, authority.client_of(dns("one.example")), "192.0.2.97") == "one"


def refused(server: Server) -> int:
    """Return the number of refused peers in the log."""
    return sum(int(count) for count in re.findall(r'rejected unknown peer from "127\.0\.0\.1": (\d+)', server.log))


def test_a_clock_that_is_wrong_is_named(server: Server, authority: Authority) -> None:
    early = authority.client_of(dns("one.example"), not_before=NOW + DAY)
    assert switch_of(server, early, "192.0.2.99") is None
    server.logged("TLS handshake: certificate is not yet valid")
