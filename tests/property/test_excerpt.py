"""The excerpt of a stored version explains each request exactly as the whole version does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock  # only the size from which accounts on one address are indexed

from property.books import Seeded, random_case
from property.requests import random_request, random_switch
from property.subject import engine_of, fields, sealed
from support.books import put_rows

from identengine.identify import chains
from identengine.provisioning.excerpt import excerpt
from identengine.store.versions import Store

REQUESTS = 30


def test_an_excerpt_explains_its_request_as_the_whole_version_does(tmp_path: Path) -> None:
    found = 0
    for number in range(20):
        source = Seeded(f"excerpt {number}")
        case = random_case(source)
        rows = case.rows
        path = tmp_path / str(number)
        put_rows(path, map(sealed, rows.accounts), rows.clients, rows.dids)
        with Store.open(path, readonly=True) as store, store.read() as snapshot:
            in_order = tuple(sorted(rows.accounts, key=lambda account: account.id))  # as the store has them
            rows = replace(rows, accounts=in_order, version=snapshot.version)
            crowded = (1, chains.INDEXED_FROM)[number % 2]
            whole = engine_of(case, rows, store.hash_key, crowded)
            part = engine_of(case, rows, store.hash_key)
            for _ in range(REQUESTS):
                request, options = random_request(source, case), case.options_for(random_switch(source))
                if request.call_id is None:
                    continue  # the choice of a number is then random (engine.md 4.3)
                with mock.patch.object(chains, "INDEXED_FROM", crowded):
                    part.take_up(excerpt(snapshot, [request], case.options))
                expected = fields(whole.explain(request, options))
                assert fields(part.explain(request, options)) == expected, f"{request}\n{options}"
                found += len(expected["candidates"])
    assert found > 500
