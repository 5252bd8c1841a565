"""Kinds of requests: each reason of a reject, and each setting of an account that changes the way of a request.

Each kind has accounts and clients of its own, next to those of :mod:`benchmarks.workload`, at addresses that no
other account covers. Its requests are spread evenly over its accounts. Admitted calls are stopped, so that the
requests of a kind can be repeated. A kind is a row of :data:`KINDS`.

Texts of a kind may hold these names in braces:

- ``kind``: the number of the kind. ``place``: the number of the account in the kind.
- ``high`` and ``low``: the two bytes of ``place``. ``first``: the number of the group of ten accounts.
- ``id``: the id of the account. ``did``: a number that it owns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import md5
from random import Random
from typing import NamedTuple

import msgspec

from benchmarks import books
from benchmarks.messages import DONE, FREED, Message
from benchmarks.workload import Method
from identengine.model.reasons import Reason
from identengine.model.records import Account, Client, Did
from identengine.store.vault import Vault

ACCOUNTS = 1_000
"""Number of accounts of a kind."""
CROWD = 10_000
"""Number of accounts that share one address in the kinds that have a crowd."""
_ADDRESS = "10.{kind}.{high}.{low}"
_PASSWORD = "secret of {place}"  # noqa: S105 - of a made-up account
_DIDS = 3
"""Number of DIDs of an account in the kinds that have some."""
_LIMIT = 1_000_000

Fields = Mapping[str, object]


class Kind(NamedTuple):
    """A kind of requests."""

    name: str
    account: Fields = {}  # noqa: RUF012 - nothing changes it
    """Fields of its accounts, which by default have one address each."""
    request: Fields = {}  # noqa: RUF012 - as above
    """Parameters of its requests, which by default have the address of the account, and two numbers."""
    reason: Reason | None = None
    """The reason of the rejects, or None if the calls are admitted."""
    method: str = "authorize"
    client: Fields = {}  # noqa: RUF012 - as above
    reseller: Fields | None = None
    """Fields of the reseller above the clients, or None if they have no reseller."""
    password: str | None = None
    """Password of the accounts, before it is encrypted."""
    digest: bool = False
    """True if requests carry a digest of the password."""
    dids: bool = False
    """True if the accounts own DIDs."""
    repeats: int = 1
    """Number of times that each request is sent in a row."""
    again: Fields | None = None
    """Parameters of a second request for the same leg, with other content, or None."""
    result: Fields | None = None
    """The result of the requests, if it is no decision."""
    between: tuple[Method, ...] = ()
    """Messages between ``authorize`` and ``stop``."""
    crowd: bool = False
    """True if there are :data:`CROWD` accounts."""
    lowest: bool = False
    """True if the account with the lowest id receives all calls."""

    def size(self, accounts: int, crowd: int) -> int:
        """Return the number of accounts, from the number in most kinds and the number in a crowd."""
        return crowd if self.crowd else accounts


_BY_NAME: Fields = {"ident_by": "name", "ident": ["trunk of {kind} {place}"]}
_NAME: Fields = {"name": "trunk of {kind} {place}"}
_ONE_ADDRESS: Fields = {"ident": ["10.{kind}.0.1"]}
_FROM_ONE: Fields = {"src_ip": "10.{kind}.0.1"}
_VENDOR: Fields = {"term_enabled": True, "term_port": 5060, "term_protocol": "SIP", "term_capacity": _LIMIT}
KINDS = (
    Kind("unknown_source", request={"src_ip": "11.{kind}.{high}.{low}"}, reason=Reason.UNKNOWN_SOURCE),
    Kind("tech_prefix_mismatch", {"tech_prefix": "77#"}, reason=Reason.TECH_PREFIX_MISMATCH),
    Kind("gateway_mismatch", {"gateways": ["G1"]}, {"gateway": "G2"}, Reason.GATEWAY_MISMATCH),
    Kind("protocol_mismatch", {"term_protocol": "SIP"}, {"protocol": "H323"}, Reason.PROTOCOL_MISMATCH),
    Kind("port_mismatch", {"term_port": 5070}, {"src_port": 5060}, Reason.PORT_MISMATCH),
    Kind("account_disabled", {"orig_enabled": False}, reason=Reason.ACCOUNT_DISABLED),
    Kind("client_blocked", reason=Reason.CLIENT_BLOCKED, client={"status": "blocked"}),
    Kind("account_capacity", {"orig_capacity": 0}, reason=Reason.ACCOUNT_CAPACITY),
    Kind("client_capacity", reason=Reason.CLIENT_CAPACITY, client={"capacity": 0}),
    Kind("reseller_capacity", reason=Reason.RESELLER_CAPACITY, reseller={"orig_capacity": 0}),
    Kind("cps_exceeded", {"orig_cps": 0}, reason=Reason.CPS_EXCEEDED),
    Kind("src_not_allowed", {"src_policy": "reject"}, reason=Reason.SRC_NOT_ALLOWED, dids=True),
    Kind("no_did", {"src_policy": "overwrite"}, reason=Reason.NO_DID),
    Kind("invalid_destination", request={"dst_number": "44\t20"}, reason=Reason.INVALID_DESTINATION),
    Kind("invalid_request", request={"src_ip": _ADDRESS + ":5060"}, reason=Reason.INVALID_REQUEST),
    Kind("bad_password", _BY_NAME, {**_NAME, "password": "wrong"}, Reason.BAD_PASSWORD, password=_PASSWORD),
    Kind("auth_required", _BY_NAME, _NAME, Reason.AUTH_REQUIRED, password=_PASSWORD),
    Kind("names with passwords", _BY_NAME, {**_NAME, "password": _PASSWORD}, password=_PASSWORD),
    Kind(
        "ten passwords a name",
        {"ident_by": "name", "ident": ["trunk of {kind} {first}"]},
        {"name": "trunk of {kind} {first}", "password": _PASSWORD},
        password=_PASSWORD,
    ),
    Kind("names with digests", _BY_NAME, _NAME, password=_PASSWORD, digest=True),
    Kind("addresses with passwords", request={"password": _PASSWORD}, password=_PASSWORD),
    Kind("names without password", _BY_NAME, _NAME),
    Kind(
        "numbers",
        {"ident_by": "ani", "ident": ["999{kind:03}{place:05}"]},
        {"src_number": "999{kind:03}{place:05}"},
    ),
    Kind("IPv6", {"ident": ["2001:db8:{place:x}::{kind:x}"]}, {"src_ip": "2001:db8:{place:x}::{kind:x}"}),
    Kind("retransmissions", repeats=4),
    Kind("other content for the same leg", again={"dst_number": "442079460999"}),
    Kind("Src Policy overwrites", {"src_policy": "overwrite"}, dids=True),
    Kind("Src Policy keeps a DID", {"src_policy": "overwrite"}, {"src_number": "{did}"}, dids=True),
    Kind(
        "constraints",
        {"gateways": ["G1", "G2"], "term_port": 5060, "term_protocol": "SIP"},
        {"gateway": "g2", "src_port": 5060, "protocol": "sip"},
    ),
    Kind(
        "limits of clients and resellers",
        {"orig_capacity": _LIMIT},
        client={"capacity": _LIMIT, "orig_capacity": _LIMIT},
        reseller={"capacity": _LIMIT, "orig_capacity": _LIMIT},
    ),
    Kind("CPS", {"orig_cps": _LIMIT}, client={"orig_cps": _LIMIT}),
    Kind("termination by account_id", _VENDOR, {"direction": "termination", "account_id": "{id}", "src_ip": None}),
    Kind("termination by address", _VENDOR, {"direction": "termination", "src_port": 5060, "protocol": "SIP"}),
    Kind("leg ids", request={"leg_id": "leg {place}"}),
    Kind("start", between=("start",)),
    Kind("start and updates", between=("start", "update", "update")),
    Kind("stop of unknown calls", method="stop", result={"ok": True, "unknown": True, "freed": 0}),
    Kind("no call_id", request={"call_id": None}),
    Kind("identify", method="identify"),
    Kind(
        "crowd by tech prefix",
        {**_ONE_ADDRESS, "tech_prefix": "{place:05}#"},
        {**_FROM_ONE, "dst_number": "{place:05}#442079460123"},
        crowd=True,
    ),
    Kind(
        "crowd by gateway",
        {**_ONE_ADDRESS, "gateways": ["G{place}"]},
        {**_FROM_ONE, "gateway": "G{place}"},
        crowd=True,
    ),
    Kind("crowd of equals", _ONE_ADDRESS, _FROM_ONE, crowd=True, lowest=True),
)
"""All kinds, in the order of the tables."""


class Made(NamedTuple):
    """The rows of kinds, and the requests of each."""

    clients: list[Client]
    accounts: list[Account]
    dids: list[Did]
    messages: dict[str, list[Message]]


def make(above: books.Book, vault: Vault, accounts: int = ACCOUNTS, crowd: int = CROWD) -> Made:
    """Return the rows of all kinds with ids above those of a book. The vault encrypts the passwords."""
    made = Made([], [], [], {})
    random = Random(2)
    client_id = max(client.id for client in above.clients)
    account_id = max(account.id for account in above.accounts)
    for number, kind in enumerate(KINDS, 1):
        reseller_id = None
        if kind.reseller is not None:
            client_id += 1
            reseller_id = client_id
            made.clients.append(_client(client_id, kind.reseller, None))
        client_id += 1
        made.clients.append(_client(client_id, kind.client, reseller_id))
        size = kind.size(accounts, crowd)
        first = account_id + 1
        messages: list[Message] = []
        made.messages[kind.name] = messages
        for place in range(1, size + 1):
            account_id += 1
            names = {
                "kind": number,
                "place": place,
                "high": place >> 8,
                "low": place & 255,
                "first": (place - 1) // 10 * 10,
                "id": account_id,
                "did": _dids(account_id)[0].number,
            }
            made.accounts.append(_account(kind, account_id, client_id, names, vault))
            if kind.dids:
                made.dids.extend(_dids(account_id))
            messages += _requests(kind, first if kind.lowest else account_id, names, random)
    return made


def _dids(account_id: int) -> list[Did]:
    return [Did(number=f"888{account_id:09}{did}", account_id=account_id) for did in range(_DIDS)]


def _client(client_id: int, fields: Fields, parent_id: int | None) -> Client:
    plain = {"id": client_id, "name": f"Carrier {client_id}", "parent_id": parent_id}
    return msgspec.convert(plain | dict(fields), Client)


def _account(kind: Kind, account_id: int, client_id: int, names: Fields, vault: Vault) -> Account:
    plain = {
        "id": account_id,
        "client_id": client_id,
        "name": f"account {account_id}",
        "ident_by": "ip",
        "ident": [_ADDRESS],
        "password": None if kind.password is None else vault.encrypt(kind.password.format_map(names)),
    }
    return msgspec.convert(_filled(plain | dict(kind.account), names), Account)


def _requests(kind: Kind, account_id: int, names: Fields, random: Random) -> Iterator[Message]:
    """Yield the requests of one call."""
    place = int(str(names["place"]))
    asked: dict[str, object] = {
        "call_id": f"{random.getrandbits(64):016x}@10.{names['kind']}.0.1",
        "src_ip": _ADDRESS,
        "src_number": "0" + books.number_of(random),  # no ANI of a book begins like this
        "dst_number": books.number_of(random),
    }
    params = _filled(asked | dict(kind.request), names)
    if kind.digest and kind.password is not None:
        params["digest"] = _digest(str(params["name"]), kind.password.format_map(names))
    result: Fields = kind.result or {"accepted": True, "account_id": account_id}
    if kind.reason is not None:
        result = {"reason": kind.reason}
    for _ in range(kind.repeats):
        yield Message(kind.method, params, result, place)
    if kind.again is not None:
        yield Message(kind.method, params | dict(kind.again), result, place)
    if kind.reason is None and kind.method == "authorize" and params["call_id"] is not None:
        leg = {name: params.get(name) for name in ("call_id", "leg_id", "direction")}
        for method in kind.between:
            yield Message(method, leg, DONE, place)
        yield Message("stop", leg, FREED, place)


def _digest(name: str, password: str) -> dict[str, str]:
    """Return the fields of a digest (RFC 7616) without qop."""
    digest = {"username": name, "realm": "carrier", "nonce": "5f2c", "uri": "sip:carrier", "method": "INVITE"}
    secret = _md5(f"{name}:{digest['realm']}:{password}")
    request = _md5(f"{digest['method']}:{digest['uri']}")
    return digest | {"response": _md5(f"{secret}:{digest['nonce']}:{request}")}


def _md5(text: str) -> str:
    return md5(text.encode()).hexdigest()  # noqa: S324 - the algorithm of the digest


def _filled(fields: Fields, names: Fields) -> dict[str, object]:
    """Return fields whose texts are filled with names."""
    return {name: _fill(value, names) for name, value in fields.items()}


def _fill(value: object, names: Fields) -> object:
    if isinstance(value, str):
        return value.format_map(names)
    return [_fill(each, names) for each in value] if isinstance(value, list) else value
