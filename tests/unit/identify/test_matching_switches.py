"""A switch with its own ``match_port`` does not pay for the order of its candidates with every request."""

from __future__ import annotations

import time

from identengine.identify import matching, query
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy, Request

OPTIONS = IdentifyOptions()


def test_a_switch_with_its_own_options_is_about_as_fast_as_the_others() -> None:
    accounts = [
        Account(
            id=1 + 7 * nth + port,
            client_id=1,
            name=f"{nth} {port}",
            ident_by=IdentBy.IP,
            ident=(f"10.0.0.0/{32 - nth}",),
            term_port=5060 + port,
            tech_prefix=f"{port}{nth}#",
        )
        for nth in range(24)
        for port in range(7)
    ]
    accounts.append(Account(id=1000, client_id=1, name="plain", ident_by=IdentBy.IP, ident=("10.0.0.0",)))
    book = build(OPTIONS, 1, bytes(32), [Client(id=1, name="c")], accounts, [])
    asked = query.read(Request(src_ip="10.0.0.0", dst_number="44"), book)
    assert isinstance(asked, query.Query)

    def seconds(options: IdentifyOptions) -> float:
        began = time.process_time()
        for _ in range(100):
            assert isinstance(matching.identify(book, asked, options, None), matching.Match)
        return time.process_time() - began

    own = OPTIONS.for_switch("never", None)
    seconds(own)
    assert seconds(own) < 10 * seconds(OPTIONS) + 0.001
