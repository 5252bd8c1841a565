"""Undoing of random changes of random books: the rules of engine.md 8.3, and exactness with all options."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.provisioning.undo import Undoing, Undone, revert, roll_back
from identengine.store.draft import Draft
from identengine.store.versions import Store

EXACT = Undoing(remove=True, passwords=True, yes=True)
IDS = (1, 2, 3, 4)
NUMBERS = ("441", "442", "443")
Row = Client | Account | Did
State = dict[tuple[str, int | str], Row]


@st.composite
def books(draw: st.DrawFn) -> State:
    """Return a book whose references are right. The chains of resellers are up or down by ids."""
    state: State = {}
    clients = draw(st.sets(st.sampled_from(IDS), min_size=1))
    up = draw(st.booleans())
    for one in clients:
        above = sorted(other for other in clients if (other > one if up else other < one))
        state["client", one] = Client(
            id=one,
            name=draw(st.sampled_from("ab")),
            status=draw(st.sampled_from(ClientStatus)),
            parent_id=draw(st.none() | st.sampled_from(above)) if above else None,
            capacity=draw(st.sampled_from([None, 0, 5])),
        )
    accounts = draw(st.sets(st.sampled_from(IDS)))
    for one in accounts:
        state["account", one] = Account(
            id=one,
            client_id=draw(st.sampled_from(sorted(clients))),
            name=draw(st.sampled_from("ab")),
            ident_by=IdentBy.IP,
            ident=draw(st.sampled_from([("192.0.2.1",), ("192.0.2.0/24", "198.51.100.1")])),
            tech_prefix=draw(st.sampled_from([None, "7#"])),
            password=draw(st.sampled_from([None, "enc:one", "enc:two"])),
            orig_enabled=draw(st.booleans()),
            term_enabled=draw(st.booleans()),
            src_policy=draw(st.sampled_from(SrcPolicy)),
        )
    for number in draw(st.sets(st.sampled_from(NUMBERS))) if accounts else ():
        owner = draw(st.sampled_from(sorted(accounts)))
        state["did", number] = Did(number=number, account_id=owner, status=draw(st.sampled_from(DidStatus)))
    return state


def turning_into(state: State) -> Callable[[Draft], None]:
    def edit(draft: Draft) -> None:
        for did in list(draft.dids()):
            if ("did", did.number) not in state:
                draft.delete_did(did.number)
        for account in list(draft.accounts()):
            if ("account", account.id) not in state:
                draft.delete_account(account.id)
        for client in list(draft.clients()):
            if ("client", client.id) not in state:
                draft.delete_client(client.id)
        put: dict[type[Row], Any] = {
            Client: draft.put_client,
            Account: draft.put_account,
            Did: draft.put_did,
        }
        for row in state.values():
            put[type(row)](row)

    return edit


def content(store: Store) -> State:
    with store.read() as book:
        book.verify()
        state: State = {("client", one.id): one for one in book.clients()}
        state |= {("account", one.id): one for one in book.accounts()}
        return state | {("did", one.number): one for one in book.dids()}


def without_password(row: Row | None) -> Row | None:
    return msgspec.structs.replace(row, password=None) if isinstance(row, Account) else row


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(states=st.lists(books(), min_size=2, max_size=4), data=st.data())
def test_undoing(states: list[State], data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        with Store.open(folder / "store", create=True) as store:
            held: dict[int, State] = {0: {}}
            for state in states:
                held[store.change("ann", "edit", turning_into(state))[0].version] = state
            newest = store.head()
            revert(store, newest, "bob", EXACT, Undone())
            assert content(store) == held[newest - 1], "revert of the newest version gives the book before it"
            version = data.draw(st.integers(1, newest))
            before, now = held[version], content(store)
            undone = Undone()
            roll_back(store, version, "bob", Undoing(yes=True), undone)
            check_rules(before, now, content(store))
            assert (undone.left.total, undone.restored) == (0, False)
            assert (undone.info is None) == (content(store) == now)
            roll_back(store, version, "bob", EXACT, Undone())
            assert content(store) == before, "rollback with all options gives exactly the version"
            roll_back(store, version, "bob", EXACT, undone)
            assert (undone.info, undone.total) == (None, 0)
    finally:
        shutil.rmtree(folder)


def check_rules(before: State, now: State, after: State) -> None:
    """Compare the result of a roll back without options with the rules, row by row."""
    assert {key for key in after if key[0] == "did"} == {key for key in before if key[0] == "did"}
    for key in before.keys() | now.keys():
        row = after.get(key)
        if key in before:
            assert without_password(row) == without_password(before[key])
            if isinstance(row, Account):
                kept = now.get(key, before[key])
                assert isinstance(kept, Account)
                assert row.password == kept.password, "passwords stay; those of removed accounts are restored"
        elif key[0] == "client":
            assert row == now[key], "clients that were added are kept"
        elif key[0] == "account":
            assert isinstance(row, Account)
            assert row == msgspec.structs.replace(now[key], orig_enabled=False, term_enabled=False)
