"""The store compared with a dict for each version: random edits, and every possible question about them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from identengine.model.records import Account, Client, Did, DidStatus, IdentBy
from identengine.store import draft as storedraft
from identengine.store import file as storefile
from identengine.store import history as storehistory
from identengine.store import keys as storekeys
from identengine.store.draft import Draft
from identengine.store.format import Change, Changes
from identengine.store.snapshot import Snapshot
from identengine.store.vault import Vault
from identengine.store.verify import examine
from identengine.store.versions import Store

Row = Client | Account | Did
Key = tuple[str, int | str]
State = dict[Key, Row]
TABLES = ("client", "account", "did")

small = st.integers(1, 4)
big = st.sampled_from([1, 2, 255, 256, 1 << 32])
clients = st.builds(Client, id=small, name=st.sampled_from("ab"), notes=st.sampled_from([None, "n"]))
accounts = st.builds(
    Account,
    id=big,
    client_id=small,
    name=st.sampled_from("ab"),
    ident_by=st.just(IdentBy.NAME),
    ident=st.just(("x",)),
    password=st.sampled_from([None, "one", "two"]),
)
dids = st.builds(
    Did, number=st.text("12#", min_size=1, max_size=3), account_id=big, status=st.sampled_from(list(DidStatus))
)
rows = st.one_of(clients, accounts, dids)
keys = st.one_of(
    st.tuples(st.just("client"), small),
    st.tuples(st.just("account"), big),
    st.tuples(st.just("did"), st.text("12#", min_size=1, max_size=3)),
)
edits = st.lists(st.one_of(rows, keys), max_size=12)


def check_store_here(store: Store) -> int:
    """Return the number of items of damage."""
    with store._opened().reading() as txn:
        return examine(txn, store.hash_key).total


def key_of(row: Row) -> Key:
    match row:
        case Client():
            return "client", row.id
        case Account():
            return "account", row.id
        case Did():
            return "did", row.number


def place(key: Key) -> tuple[int, int | str]:
    return TABLES.index(key[0]), key[1]


def differences(a: State, b: State) -> list[tuple[Key, Row | None, Row | None]]:
    changed = sorted((key for key in a.keys() | b.keys() if a.get(key) != b.get(key)), key=place)
    return [(key, a.get(key), b.get(key)) for key in changed]


def concerns(row: Row | None, state: State, client: int | None, account: int | None) -> bool:
    """Return True if a row of this state concerns the client and the account (engine.md 8.4)."""
    match row:
        case None:
            return False
        case Client():
            return account is None and client == row.id
        case Account():
            return client in (None, row.client_id) and account in (None, row.id)
        case Did():
            if account not in (None, row.account_id):
                return False
            owner = state.get(("account", row.account_id))
            return client is None or (isinstance(owner, Account) and owner.client_id == client)


class StoreAgainstDicts(RuleBasedStateMachine):
    versions = Bundle("versions")

    @initialize(target=versions, listed=st.sampled_from([0, 3, 1000]), tiny=st.booleans())
    def start(self, listed: int, tiny: bool) -> int:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(storedraft, "MAX_LISTED_KEYS", listed)
        self.patch.setattr(storehistory, "MAX_LISTED_KEYS", listed)
        self.patch.setattr(storekeys, "_BATCH", 3)
        if tiny:
            self.patch.setattr(storefile, "INITIAL_MAP", 32 << 10)
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.vault = Vault.from_file(self.folder / "key", create=True)
        self.store = Store.open(self.folder / "store", create=True)
        self.states: list[State] = [{}]
        self.tokens: dict[tuple[int, str], str] = {}
        return 0

    @rule(target=versions, edit=edits)
    def change(self, edit: list[Row | Key]) -> int:
        state = dict(self.states[-1])
        for item in edit:
            if isinstance(item, tuple):
                state.pop(item, None)
            else:
                state[key_of(item)] = item

        def apply(draft: Draft) -> None:
            assert draft.version == len(self.states)
            for item in edit:
                match item:
                    case Client():
                        draft.put_client(item)
                    case Account():
                        draft.put_account(self.sealed(item))
                    case Did():
                        draft.put_did(item)
                    case ("client", int(key)):
                        draft.delete_client(key)
                    case ("account", int(key)):
                        draft.delete_account(key)
                    case (_, key):
                        draft.delete_did(str(key))
            assert {key_of(row): row for row in self.everything(draft)} == state

        info, _ = self.store.change("me", "edit", apply)
        if differences(self.states[-1], state):
            self.states.append(state)
        assert info.version == len(self.states) - 1
        return info.version

    @rule(target=versions, version=versions)
    def roll_back(self, version: int) -> int:
        if version:
            info = self.store.rollback(version, "me")
            if differences(self.states[-1], self.states[version]):
                self.states.append(self.states[version])
            assert info.version == len(self.states) - 1
        return len(self.states) - 1

    @rule()
    def rotate(self) -> None:
        self.vault = Vault((bytes([len(self.vault.key_ids)]) * 32, *self.vault._keys))
        self.store.rekey(self.vault)
        self.tokens.clear()
        for row in self.everything_sealed():
            if row.password is not None:
                self.tokens[row.id, self.vault.decrypt(row.password)] = row.password

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "store")

    @rule(a=versions, b=versions)
    def compare(self, a: int, b: int) -> None:
        found = [((c.table, c.key), self.opened(c.before), self.opened(c.after)) for c in self.store.diff(a, b)]
        assert found == differences(self.states[a], self.states[b])

    @rule(version=versions)
    def read(self, version: int) -> None:
        state = self.states[version]
        with self.store.read(version) as snapshot:
            assert [key_of(row) for row in self.everything(snapshot)] == sorted(state, key=place)
            for (table, key), row in state.items():
                if table == "client":
                    assert snapshot.client(int(key)) == row
                elif table == "account":
                    assert self.opened(snapshot.account(int(key))) == row
                else:
                    assert snapshot.did(str(key)) == row
            counts = tuple(sum(1 for table, _ in state if table == name) for name in TABLES)
            assert snapshot.counts == counts
            owned = sorted((r.account_id, r.number, r) for r in state.values() if isinstance(r, Did))
            for account in (1, 2, 255, 256, 1 << 32):
                assert list(snapshot.account_dids(account)) == [r for owner, _, r in owned if owner == account]
            active = [(owner, number) for owner, number, r in owned if r.status is DidStatus.ACTIVE]
            assert list(snapshot.active_numbers()) == active

    @rule(client=st.none() | small, account=st.none() | big)
    def audit(self, client: int | None, account: int | None) -> None:
        wanted = []
        for version in range(1, len(self.states)):
            a, b = self.states[version - 1], self.states[version]
            for key, before, after in differences(a, b):
                if (client is None and account is None) or (
                    concerns(before, a, client, account) or concerns(after, b, client, account)
                ):
                    wanted.append((version, key, before, after))
        found = []
        for entry in self.store.audit(client, account):
            if isinstance(entry.change, Change):
                change = entry.change
                key = change.table, change.key
                found.append((entry.version, key, self.opened(change.before), self.opened(change.after)))
        assert found == wanted

    @invariant()
    def sound(self) -> None:
        assert check_store_here(self.store) == 0

    @invariant()
    def counts(self) -> None:
        infos = self.store.versions()
        assert len(infos) == len(self.states) - 1
        if infos:
            changed = differences(self.states[-2], self.states[-1])
            for table, told in zip(
                TABLES, (infos[-1].client_changes, infos[-1].account_changes, infos[-1].did_changes), strict=True
            ):
                these = [(before, after) for key, before, after in changed if key[0] == table]
                assert told == Changes(
                    sum(before is None for before, _ in these),
                    sum(None not in pair for pair in these),
                    sum(after is None for _, after in these),
                )

    def sealed(self, row: Account) -> Account:
        """Encrypt a password as the loader does: an unchanged password keeps its token."""
        if row.password is None:
            return row
        key = row.id, row.password
        if key not in self.tokens:
            self.tokens[key] = self.vault.encrypt(row.password)
        return msgspec.structs.replace(row, password=self.tokens[key])

    def opened(self, row: Row | None) -> Row | None:
        if isinstance(row, Account) and row.password is not None:
            return msgspec.structs.replace(row, password=self.vault.decrypt(row.password))
        return row

    def everything(self, view: Snapshot | Draft) -> list[Row]:
        found: list[Row | None] = [*view.clients(), *map(self.opened, view.accounts()), *view.dids()]
        return [row for row in found if row is not None]

    def everything_sealed(self) -> list[Account]:
        found = []
        for version in range(len(self.states)):
            with self.store.read(version) as snapshot:
                found += list(snapshot.accounts())
        return found

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)
            self.patch.undo()


TestStoreAgainstDicts = StoreAgainstDicts.TestCase
TestStoreAgainstDicts.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
