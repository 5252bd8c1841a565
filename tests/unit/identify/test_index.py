from __future__ import annotations

import gc
import re
import time
from typing import Any

import pytest

from identengine.engine.core import Engine
from identengine.identify.builder import BookBuilder, build
from identengine.identify.chains import INDEXED_FROM
from identengine.identify.index import Book
from identengine.model.addresses import parse_address
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Digest, Direction, IdentBy, Request

OPTIONS = IdentifyOptions()
CLIENT = Client(id=1, name="one")


def account(number: int, ident: str, **fields: object) -> Account:
    return Account(id=number, client_id=1, name="A", ident_by=IdentBy.IP, ident=(ident,), **fields)  # type: ignore[arg-type]


def found(accounts: list[Account], src_ip: str, dst_number: str = "44", **fields: Any) -> int | str | None:
    engine = Engine()
    engine.take_up(build(OPTIONS, 1, bytes(32), [CLIENT], accounts, []))
    decision = engine.identify(Request(src_ip=src_ip, dst_number=dst_number, **fields), OPTIONS)
    return decision.account_id if decision.accepted else decision.reason


@pytest.mark.parametrize(
    ("src_ip", "expected"),
    [
        ("10.0.0.5", 1),
        (" 10.0.0.5 ", 1),
        ("::ffff:10.0.0.5", 1),
        ("::FFFF:0a00:0005", 1),
        ("2001:db8::1", 2),
        ("2001:0DB8:0:0:0:0:0:1", 2),
        ("2001:db8::2", 3),
        ("2001:db9::", 4),
        ("::", 4),
        ("::1", 4),
        ("10.0.0.6", 5),
        ("10.0.1.6", 6),
        ("0.0.0.0", 6),
        ("255.255.255.255", 6),
    ],
)
def test_every_text_of_an_address_finds_the_longest_network(src_ip: str, expected: int) -> None:
    accounts = [
        account(1, "10.0.0.5"),
        account(2, "2001:db8::1"),
        account(3, "2001:db8::/32"),
        account(4, "::/0"),
        account(5, "::ffff:10.0.0.0/120"),
        account(6, "0.0.0.0/0"),
    ]
    assert found(accounts, src_ip) == expected
    assert found(accounts[::-1], src_ip) == expected


def test_ipv4_never_matches_an_ipv6_network_nor_the_other_way() -> None:
    assert found([account(1, "::/0")], "10.0.0.5") == "unknown_source"
    assert found([account(1, "0.0.0.0/0")], "2001:db8::1") == "unknown_source"
    # With a mask shorter than /96 a mapped network stays IPv6, so no IPv4 address is in it.
    assert found([account(1, "::ffff:10.0.0.0/95")], "10.0.0.5") == "unknown_source"


@pytest.mark.parametrize(
    "shape", ["{}", " {}", "{}\n", "{}\x00", "{}/32", "{}:5060", "[{}]", "0{}", "{}.1", "\ud800{}"]
)
@pytest.mark.parametrize(
    "text", ["10.0.0.9", "10.0.0.09", "10.0.9", "0x0a.0.0.9", "", "\N{FULLWIDTH DIGIT ONE}0.0.0.9"]
)
def test_a_text_that_is_not_an_address_is_rejected_on_the_short_way_too(text: str, shape: str) -> None:
    lookup = build(OPTIONS, 1, bytes(32), [CLIENT], [account(1, "10.0.0.0/8")], []).enabled[Direction.ORIGINATION]
    written = shape.format(text)
    try:
        parse_address(written)
    except ValueError as wrong:
        with pytest.raises(ValueError, match=re.escape(str(wrong))):
            lookup.source(written)
    else:
        source = lookup.source(written)
        assert source is not None
        assert source.matched == "10.0.0.0/8"


@pytest.mark.parametrize("dst_number", ["44", "4", "", "445", "44" + "9" * 60])
def test_a_crowded_address_finds_the_same_prefix_as_a_sparse_one(dst_number: str) -> None:
    prefixes = ["", "4", "44", "445", "4459", "9", "99", "449", "4499", "5", "55"]
    assert len(prefixes) > INDEXED_FROM
    crowd = [account(n, "10.0.0.5", tech_prefix=p or None) for n, p in enumerate(prefixes, 1)]
    wanted = max((p for p in prefixes if dst_number.startswith(p)), key=len)
    sparse = [row for row in crowd if (row.tech_prefix or "") == wanted]
    assert found(crowd, "10.0.0.5", dst_number) == found(sparse, "10.0.0.5", dst_number)


def test_a_near_miss_at_a_crowded_address_is_that_of_who_got_furthest() -> None:
    crowd = [account(n, "10.0.0.5", tech_prefix=f"9{n}", gateways=(f"g{n}",)) for n in range(1, 30)]
    assert found(crowd, "10.0.0.5") == "gateway_mismatch"
    assert found(crowd, "10.0.0.5", gateway="g3") == "tech_prefix_mismatch"
    ported = [*crowd, account(99, "10.0.0.5", tech_prefix="8", term_port=5060)]
    assert found(ported, "10.0.0.5") == "port_mismatch"


def test_thousands_at_one_address_told_apart_by_their_constraints_are_found_at_once() -> None:
    crowd = [account(n, "10.0.0.5", term_port=n) for n in range(1, 3000)]
    crowd += [account(n, "10.0.0.5", gateways=(f"g{n}", "g")) for n in range(3000, 6000)]
    crowd.append(account(6001, "10.0.0.5", gateways=("g7",), term_port=7, term_protocol="sip"))
    engine = Engine()
    large = build(OPTIONS, 1, bytes(32), [CLIENT], crowd, [])
    engine.take_up(large)

    def ask(**fields: Any) -> tuple[int | str | None, bool | None]:
        decision = engine.identify(Request(src_ip="10.0.0.5", dst_number="44", **fields), OPTIONS)
        return decision.account_id if decision.accepted else decision.reason, decision.ambiguous

    assert ask(src_port=2999) == (2999, False)
    assert ask(src_port=2999, gateway="G4000") == (4000, False)
    assert ask(gateway="g") == (3000, True)
    assert ask(src_port=7, gateway="g7", protocol="SIP") == (6001, False)
    assert ask(src_port=7, gateway="g7") == (7, False)
    assert ask() == ("port_mismatch", None)
    assert ask(gateway="g7", src_port=4000) == ("port_mismatch", None)

    def cost(book: Book) -> float:
        engine.take_up(book)
        taken = []
        for _ in range(5):
            began = time.thread_time()
            for _ in range(100):
                ask(src_port=2998)  # a hit
                ask(src_port=4000)  # a near miss
            taken.append(time.thread_time() - began)
        return min(taken)

    lonely = build(OPTIONS, 1, bytes(32), [CLIENT], [account(2998, "10.0.0.5", term_port=2998)], [])
    # Trying the accounts one by one would take a thousand times as long as the look-up.
    assert cost(large) < 20 * cost(lonely)


def test_an_empty_digest_brings_nothing() -> None:
    named = Account(id=1, client_id=1, name="A", ident_by=IdentBy.NAME, ident=("bob",), password="enc:secret")
    engine = Engine()
    engine.take_up(build(OPTIONS, 1, bytes(32), [CLIENT], [named], []))
    asked = Request(name="bob", digest=Digest(username=" ", response=""), dst_number="44")
    assert engine.identify(asked, OPTIONS).reason == "auth_required"


@pytest.mark.parametrize(
    ("ident", "host"),
    [
        (("10.0.0.0/24", "10.0.0.5/32", "10.0.0.6"), "10.0.0.5"),
        (("2001:DB8::/32", "2001:DB8::1/128"), "2001:DB8::1"),
        (("2001:db8::/32", "::ffff:10.0.0.5"), "::ffff:10.0.0.5"),
        (("10.0.0.0/24", "2001:db8::/64"), None),
    ],
)
def test_a_vendor_is_reached_at_its_first_single_address_as_written(ident: tuple[str, ...], host: str) -> None:
    vendor = Account(
        id=1, client_id=1, name="V", ident_by=IdentBy.IP, ident=ident, orig_enabled=False, term_enabled=True
    )
    engine = Engine()
    engine.take_up(build(OPTIONS, 1, bytes(32), [CLIENT], [vendor], []))
    decision = engine.authorize(Request(direction="termination", account_id=1, dst_number="44"), OPTIONS)
    assert decision.accepted
    assert decision.host == host


def test_each_step_of_the_making_is_short() -> None:
    builder = BookBuilder(OPTIONS, 1, bytes(32))
    builder.add_client(CLIENT)
    for number in range(1, 20_001):
        shared = number % 4 == 0
        ident = "10.0.0.5" if shared else f"10.{number >> 8}.{number & 255}.{number % 200}"
        builder.add_account(account(number, ident, tech_prefix=f"{number}" if shared else None))
    longest = 0.0
    steps = 0
    gc.disable()  # it would also scan objects that other tests have left
    try:
        before = began = time.thread_time()
        for _ in builder.finish():
            now = time.thread_time()
            longest, before, steps = max(longest, now - before), now, steps + 1
    finally:
        gc.enable()
    assert steps > 50
    print(f"{steps} steps, longest {longest * 1e3:.2f} ms of CPU")
    # This checks the share of the longest step, not its time, since the machine may be slow.
    assert longest < (before - began) / 10
