"""Random books for the differential suite: :mod:`property.books` with limits, crowds and later versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from property.books import (
    CROWD,
    GATEWAYS,
    PARTS,
    PASSWORDS,
    PORTS,
    PROTOCOLS,
    Case,
    Seeded,
    maybe,
    random_account,
    random_case,
    random_client,
    random_options,
    shuffled,
)

from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, ClientStatus, Did, IdentBy, SrcPolicy

CAPACITIES = (*(None,) * 9, 40, 20, 8, 4, 2, 1, 0)
RATES = (*(None,) * 18, 200.0, 50.0, 20.0, 5.0, 0.5, 0.0)
BROKEN_PASSWORD = "enc:broken"
"""A token that no key decrypts: each look at it is a fault."""
SIZES = (9, 12, 33, 65, 80)
"""Numbers of accounts in a crowd: on both sides of the bounds at which an index is made."""


def limited_client(source: Seeded, client: Client) -> Client:
    """Return a client with random limits. Few clients are blocked, so that most calls pass."""
    if source.chance(50):
        client = msgspec.structs.replace(client, status=ClientStatus.ACTIVE)
    if source.chance(35):
        return client
    return msgspec.structs.replace(
        client,
        capacity=source.pick(CAPACITIES),
        orig_capacity=source.pick(CAPACITIES),
        term_capacity=source.pick(CAPACITIES),
        orig_cps=source.pick(RATES),
    )


def limited_account(source: Seeded, account: Account) -> Account:
    """Return an account with random limits."""
    if source.chance(55):
        return account
    return msgspec.structs.replace(
        account,
        orig_capacity=source.pick(CAPACITIES),
        term_capacity=source.pick(CAPACITIES),
        orig_cps=source.pick(RATES),
    )


def crowd(source: Seeded, case: Case, first_id: int) -> list[Account]:
    """Return many accounts with one ident value. They differ in one part, in all parts, or in nothing."""
    model = source.pick(case.rows.accounts)
    kind = source.pick(("prefixes", "gateways", "ties", "all", "all"))
    accounts = []
    for account_id in shuffled(source, range(first_id, first_id + source.pick(SIZES))):
        changes: dict[str, Any] = {"id": account_id, "name": f"crowd {account_id}", "ident": model.ident[:1]}
        changes["client_id"] = source.pick(case.rows.clients).id
        changes["orig_enabled"] = source.chance(90)
        if kind in ("prefixes", "all"):
            changes["tech_prefix"] = source.pick((None, *CROWD, f"{account_id}#"))
        if kind in ("gateways", "all"):
            changes["gateways"] = (source.pick((*GATEWAYS, f"gw{account_id}")),) if source.chance(60) else ()
        if kind == "all":
            changes["term_port"] = maybe(source, 30, PORTS)
            changes["term_protocol"] = maybe(source, 30, PROTOCOLS)
            changes["password"] = maybe(source, 30, PASSWORDS)
        accounts.append(limited_account(source, msgspec.structs.replace(model, **changes)))
    return accounts


def limited_case(source: Seeded) -> Case:
    """Return a random book with limits, and with a crowd in a quarter of the cases."""
    case = random_case(source)
    rows = case.rows
    clients = tuple(limited_client(source, client) for client in rows.clients)
    accounts = [limited_account(source, account) for account in rows.accounts]
    if source.chance(50):
        accounts = [without_password(account) for account in accounts]
    if source.chance(3):
        spoiled = source.pick(accounts)
        accounts[accounts.index(spoiled)] = msgspec.structs.replace(spoiled, password=BROKEN_PASSWORD)
    if source.chance(25):
        accounts += crowd(source, case, len(accounts) + 1)
    options = IdentifyOptions() if source.chance(50) else case.options
    return replace(case, rows=replace(rows, clients=clients, accounts=tuple(accounts)), options=options)


def calm_case(source: Seeded) -> Case:
    """Return a random book that accepts most calls: wide limits, few closed accounts, no forced passwords."""
    case = random_case(source)
    rows = case.rows
    clients = tuple(
        msgspec.structs.replace(
            client,
            status=ClientStatus.ACTIVE,
            capacity=maybe(source, 15, (500, 100)),
            orig_capacity=maybe(source, 15, (500, 60)),
            orig_cps=maybe(source, 10, (10_000.0, 10_000.0, 50.0)),
        )
        for client in rows.clients
    )
    accounts = [_opened(source, account) for account in rows.accounts]
    if source.chance(25):
        accounts += [_opened(source, account) for account in crowd(source, case, len(accounts) + 1)]
    options = IdentifyOptions(
        rank=case.options.rank if source.chance(30) else "mask_first",
        match_port=case.options.match_port if source.chance(30) else "always",
        match_protocol=case.options.match_protocol if source.chance(30) else "always",
        international_prefixes=case.options.international_prefixes if source.chance(30) else (),
    )
    return replace(case, rows=replace(rows, clients=clients, accounts=tuple(accounts)), options=options)


def _opened(source: Seeded, account: Account) -> Account:
    """Return an account that accepts most calls."""
    changes: dict[str, Any] = {
        "src_policy": account.src_policy if source.chance(20) else SrcPolicy.ALLOW_ANY,
        "orig_capacity": maybe(source, 15, (500, 100, 20)),
        "term_capacity": maybe(source, 15, (500, 100, 20)),
        "orig_cps": maybe(source, 8, (10_000.0, 50.0)),
    }
    if account.disabled and source.chance(85):
        changes["orig_enabled"] = True
    if account.ident_by is not IdentBy.NAME and source.chance(95):
        changes["password"] = None
    return msgspec.structs.replace(account, **changes)


def later_case(source: Seeded, case: Case, *, calm: bool) -> Case:
    """Return a later version of a book: some rows changed, added, disabled or removed."""
    rows = case.rows
    clients = [
        limited_client(source, client) if source.chance(0 if calm else 30) else client for client in rows.clients
    ]
    if source.chance(30):
        above = [client.id for client in clients]
        clients.append(random_client(source, max(above) + 1, above))
    accounts = []
    for account in rows.accounts:
        if source.chance(15):
            continue
        changed = account
        if source.chance(25):
            changed = msgspec.structs.replace(changed, **PARTS[source.pick(tuple(PARTS))](source))
        if source.chance(25):
            changed = _opened(source, changed) if calm else limited_account(source, changed)
        if source.chance(8):
            changed = msgspec.structs.replace(changed, client_id=source.pick(clients).id)
        if source.chance(5):
            changed = msgspec.structs.replace(changed, orig_enabled=False, term_enabled=False)
        accounts.append(changed)
    accounts = accounts or list(rows.accounts)
    if source.chance(40):
        newest = max(account.id for account in rows.accounts) + 1
        accounts.append(limited_account(source, random_account(source, newest, clients, accounts)))
    kept = {account.id for account in accounts}
    dids = tuple(did for did in rows.dids if did.account_id in kept and source.chance(85))
    options = random_options(source) if source.chance(0 if calm else 25) else case.options
    changed_rows = replace(
        rows, clients=tuple(clients), accounts=tuple(accounts), dids=dids, version=rows.version + 1
    )
    return replace(case, rows=changed_rows, options=options)


def without_rows(case: Case, dropped: set[Account | Did]) -> Case:
    """Return a book without these rows."""
    rows = case.rows
    accounts = tuple(account for account in rows.accounts if account not in dropped)
    kept = {account.id for account in accounts}
    dids = tuple(did for did in rows.dids if did not in dropped and did.account_id in kept)
    needed = {client.id for account in accounts for client in rows.chain(account.client_id)}
    clients = tuple(client for client in rows.clients if client.id in needed)
    return replace(case, rows=replace(rows, clients=clients, accounts=accounts, dids=dids))


def without_password(account: Account) -> Account:
    """Return an account that needs no password, unless its name identifies it."""
    return account if account.ident_by is IdentBy.NAME else msgspec.structs.replace(account, password=None)


def is_usual(account: Account) -> bool:
    """Return True if the usual way can be expected to decide a plain call of the account."""
    return account.password is None and account.ident_by is not IdentBy.NAME and not account.disabled
