"""Chains and crowds compared with the oracle: many accounts on few nested networks, equal or nearly equal.

Every constraint, tie and option meets every other. Half of the books look all shared values up as crowds.
"""

from __future__ import annotations

from collections import Counter

import pytest
from property.books import Case, Seeded, maybe, random_case, some
from property.oracle import RANK_RULES, Rows
from property.requests import random_request
from property.subject import engine_of
from property.test_identification import INDEXED_FROM, compare
from support.thorough import amounts

from identengine.identify import matching
from identengine.identify.chains import outwards
from identengine.identify.index import Book, Candidate, counted_by
from identengine.identify.query import Query, read
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy, Request

NETWORKS = ("10.0.0.5", "10.0.0.4/30", "10.0.0.0/24", "0.0.0.0/0")
GATEWAYS = ("g1", "g2", "g3")
PROTOCOLS = ("sip", "h323")
PORTS = (5060, 5080)
PREFIXES = ("7", "77", "77#", "9")
PASSWORDS = ("secret", "other")
ADDRESSES = ("10.0.0.5", "10.0.0.5", "10.0.0.6", "10.9.9.9")
NUMBERS = ("77#44171", "77144", "7", "99", "44")
REASONS = ("gateway_mismatch", "protocol_mismatch", "port_mismatch", "account_disabled", "ambiguous")
SWITCHES = [(port, protocol) for port in (None, "always", "never") for protocol in (None, "always", "never")]
"""``match_port`` and ``match_protocol`` of a switch; None keeps that of the book."""
REQUESTS = 40


def dense_account(source: Seeded, account_id: int, networks: tuple[str, ...], bare: int) -> Account:
    """Return an account of which each part is set less often, the greater ``bare`` is (percent)."""
    often = 100 - bare
    return Account(
        id=account_id,
        client_id=source.count(1, 2),
        name=f"account {account_id}",
        ident_by=IdentBy.IP,
        ident=some(source, networks, 2),
        tech_prefix=maybe(source, often, PREFIXES),
        gateways=some(source, GATEWAYS, 2) if source.chance(often) else (),
        term_port=maybe(source, often, PORTS),
        term_protocol=maybe(source, often, PROTOCOLS),
        password=maybe(source, 30, PASSWORDS),
        orig_enabled=source.chance(80),
        term_enabled=source.chance(30),
    )


def dense_case(source: Seeded) -> Case:
    networks = some(source, NETWORKS, 3)
    bare = source.pick((40, 70, 95))
    clients = (Client(id=1, name="one"), Client(id=2, name="two"))
    accounts = [dense_account(source, number, networks, bare) for number in range(1, source.count(2, 40) + 1)]
    options = IdentifyOptions(
        rank=source.pick(("mask_first", "tech_prefix_first")),
        match_port=source.pick(("always", "never")),
        match_protocol=source.pick(("always", "never")),
        strict_ambiguity=source.chance(40),
        require_password=source.chance(20),
    )
    return Case(Rows(clients, tuple(sorted(accounts, key=lambda _: source.count(0, 99)))), options)


def dense_request(source: Seeded) -> Request:
    return Request(
        call_id="1",
        direction="termination" if source.chance(25) else None,
        src_ip=source.pick(ADDRESSES),
        src_port=maybe(source, 80, (*PORTS, 1)),
        protocol=maybe(source, 80, (*PROTOCOLS, "SIP", "iax2")),
        gateway=maybe(source, 80, (*GATEWAYS, "G2", "g4")),
        dst_number=source.pick(NUMBERS),
        password=maybe(source, 30, PASSWORDS),
    )


@pytest.mark.parametrize("books", amounts(200, 5_000, seconds=900))
def test_dense_books_are_decided_as_by_the_oracle(books: int) -> None:
    decided: Counter[str] = Counter()
    for number in range(books):
        source = Seeded(f"dense {number}")
        case = dense_case(source)
        engine = engine_of(case, crowded=INDEXED_FROM[number % 2])
        for _ in range(REQUESTS):
            request, options = dense_request(source), case.options_for(source.pick(SWITCHES))
            expected = compare(engine, case, request, options, "identify")
            decided.update(expected.rules)
            decided[expected.fields.get("reason") or "accepted"] += 1
    rare = [name for name in ("accepted", *REASONS, *RANK_RULES) if decided[name] < books * REQUESTS / 200]
    assert not rare, decided


@pytest.mark.parametrize("books", amounts(200, 5_000, seconds=900))
def test_a_plain_candidate_is_picked_by_its_prefix_alone(books: int) -> None:
    """A walk that looks only at prefixes and :attr:`Candidate.plain` finds what :func:`first_fit` finds."""
    plain = varying = 0
    for number in range(books):
        source = Seeded(f"plain {number}")
        dense = number % 2 == 0
        case = dense_case(source) if dense else random_case(source)
        book = engine_of(case, crowded=INDEXED_FROM[number // 2 % 2]).book
        assert book is not None
        for _ in range(REQUESTS):
            request = dense_request(source) if dense else random_request(source, case)
            options = case.options_for(source.pick(SWITCHES))
            asked = read(request, book)
            if not isinstance(asked, Query):
                continue
            lookup = book.enabled[asked.direction]
            for kind in book.classes:
                head = matching.head_of(kind, lookup, asked, asked.source)
                if head is None:
                    continue
                found = walked(book, head, asked, options)
                assert shown(found) == shown(matching.best_of(book, head, asked, options))
                plain += found is not None and found.plain
                varying += head.varies and options != book.options
    assert plain > books
    assert varying > books


def walked(book: Book, head: Candidate, asked: Query, options: IdentifyOptions) -> Candidate | None:
    found: Candidate | None = head
    while found is not None and not asked.dst_number.startswith(found.tech_prefix):
        found = found.next
    reordered = counted_by(options) != counted_by(book.options)
    if found is not None and (not found.plain or (found.varies and reordered)):
        ordered = matching.for_switch(book, found, options)
        constraints = asked.gateway, asked.protocol, asked.src_port
        return matching.first_fit(ordered, asked.dst_number, *constraints, options)
    return found


def shown(found: Candidate | None) -> object:
    return found and (found.matched, found.mask, [entry.account.id for entry in found.entries()])


def test_each_account_is_in_the_chain_of_its_ident_once() -> None:
    for number in range(100):
        case = dense_case(Seeded(f"chain {number}"))
        book = engine_of(case, crowded=INDEXED_FROM[number % 2]).book
        assert book is not None
        for direction, lookup in book.enabled.items():
            nodes = [*outwards(lookup.source("10.0.0.5"))]
            assert [node.mask for node in nodes] == sorted((node.mask for node in nodes), reverse=True)
            listed = [(node.matched, entry.account.id) for node in nodes for entry in node.entries()]
            assert len(listed) == len(set(listed))
            assert {account_id for _, account_id in listed} == {
                account.id
                for account in case.rows.accounts
                if (account.orig_enabled if direction == "origination" else account.term_enabled) and account.ident
            }
