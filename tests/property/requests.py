"""Random requests that nearly match an account of a random book."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import asdict
from property.books import (
    ADDRESS_TEXTS,
    ADDRESSES,
    BAD_ADDRESSES,
    BAD_NUMBERS,
    DIDS,
    GATEWAYS,
    INSIDE,
    LONGER,
    NAMES,
    NUMBERS,
    PASSWORDS,
    PORTS,
    PROTOCOLS,
    Case,
    Drawn,
    Source,
    encased,
    maybe,
    random_case,
    written,
)

from identengine.model.records import (
    Account,
    Digest,
    IdentBy,
    Request,
    SrcPolicy,
)


def hash_of(algorithm: str, *parts: str | None) -> str:
    name = {"SHA-256": "sha256", "SHA-512-256": "sha512_256"}.get(algorithm, "md5")
    return hashlib.new(name, ":".join(part or "" for part in parts).encode()).hexdigest()


def digest_of(
    username: str | None,
    password: str,
    /,
    *,
    algorithm: str | None = None,
    qop: str | None = None,
    **other: str | None,
) -> Digest:
    """Return the digest of a caller with this password.

    ``other`` replaces fields after the hashing, but a blank field before it.
    """
    sent = {
        "realm": "sip.example",
        "nonce": "abc",
        "uri": "sip:44171@sip.example",
        "method": "INVITE",
        "nc": "00000001",
        "cnonce": "xyz",
    }
    sent |= {field: value for field, value in other.items() if field in sent and value and not value.strip()}
    used = (algorithm or "MD5").upper().removesuffix("-SESS")
    quality = (qop or "").strip()
    ha1 = hash_of(used, username, sent["realm"], password)
    ha2 = hash_of(used, sent["method"], sent["uri"])
    middle = (sent["nonce"], sent["nc"], sent["cnonce"], qop) if quality else (sent["nonce"],)
    if not quality:
        del sent["nc"], sent["cnonce"]
    response = hash_of(used, ha1, *middle, ha2)
    values = {"username": username, "qop": qop, "response": response, "algorithm": algorithm}
    return Digest(**(values | sent | other))


def random_digest(source: Source, username: str | None, password: str) -> Digest:
    other: dict[str, str | None] = {}
    if source.chance(15):
        field = source.pick(("realm", "nonce", "uri", "method", "response", "nc", "cnonce", "username"))
        other[field] = source.pick((None, "", " ", "\t\n", "other", "\N{LATIN SMALL LETTER E WITH ACUTE}"))
    sent = digest_of(
        username,
        password,
        algorithm=source.pick((None, "MD5", "SHA-256", "SHA-256", "md5", "", " ", "MD5-sess", "SHA-512-256"))
        if source.chance(70)
        else None,
        qop=source.pick(("auth", "auth", "auth", "AUTH", "", " ", "auth-int")) if source.chance(60) else None,
        **other,
    )
    return quoted(source, sent) if source.chance(10) else sent


def quoted(source: Source, digest: Digest) -> Digest:
    """Return a digest with quotes around some fields, and its response in upper case (engine.md 3.6)."""
    fields = {name: value for name, value in asdict(digest).items() if value is not None}
    fields = {name: f'"{value}"' if source.chance(50) else value for name, value in fields.items()}
    return Digest(**(fields | {"response": fields.get("response", "").upper() or None}))


def random_request(source: Source, case: Case) -> Request:
    """Return a request that carries most of what one account of the book requires."""
    account = source.pick(case.rows.accounts)
    if account.ident_by not in case.options.classes and source.chance(60):  # else too many requests hit nothing
        account = source.pick(case.rows.accounts)
    near = source.chance
    values: dict[str, Any] = {"call_id": source.pick(("call-1", "call-2", "call-3")) if near(90) else None}

    terminates = _directed(source, account, values)
    values["src_ip"] = source.pick(ADDRESSES) if near(80) else None
    values["src_number"] = source.pick(NUMBERS) if near(60) else None
    prefix = account.tech_prefix or ""
    dst = (source.pick(LONGER.get(prefix, (prefix,))) if near(90) else "7") + source.pick(NUMBERS)
    values["name"] = source.pick(("nobody", "442079999", *NAMES)) if near(12) else None
    own = source.pick(account.ident)
    if account.ident_by is IdentBy.IP:
        values["src_ip"] = source.pick(INSIDE[own])
    elif account.ident_by is IdentBy.NAME:
        values["name"] = own
    elif terminates:
        dst = own
    else:
        values["src_number"] = own
    values["src_ip"] = source.pick(ADDRESS_TEXTS.get(values["src_ip"], (values["src_ip"],)))
    if account.src_policy is not SrcPolicy.ALLOW_ANY and near(60):
        own_dids = [did.number for did in case.rows.dids if did.account_id == account.id]
        values["src_number"] = source.pick(own_dids or DIDS) if account.ident_by is not IdentBy.ANI else own

    values["gateway"] = (
        encased(source, source.pick(account.gateways or GATEWAYS))
        if near(85 if account.gateways else 60)
        else None
    )
    values["src_port"] = account.term_port if account.term_port and near(85) else maybe(source, 65, PORTS)
    values["protocol"] = (
        account.term_protocol if account.term_protocol and near(85) else maybe(source, 65, PROTOCOLS)
    )
    if values["src_port"] is not None:
        values["src_port"] = source.pick((values["src_port"], str(values["src_port"])))
    if values["protocol"] is not None:
        values["protocol"] = encased(source, values["protocol"])

    _credentials(source, account, values)
    values["dst_number"] = (
        written(source, dst) if near(95) else source.pick((None, "", "+", "-", account.tech_prefix))
    )
    if values["src_number"] is not None:
        values["src_number"] = written(source, values["src_number"])
    _spoil(source, values)
    return Request(**values)


def _directed(source: Source, account: Account, values: dict[str, Any]) -> bool:
    """Choose the direction and its account id. Return True if the call terminates."""
    terminates = (
        source.chance(85) if not account.orig_enabled else source.chance(35 if account.term_enabled else 12)
    )
    values["direction"] = "termination" if terminates else source.pick((None, "origination"))
    if source.chance(2):
        values["direction"] = source.pick(("Origination", "both", " ", "", " termination "))
    if source.chance(20 if terminates else 8):
        values["account_id"] = source.pick(
            (account.id, str(account.id)) * 4 + (f" {account.id} ", f"0{account.id}", 99, "", 0, -1, "1.0", "x1")
        )
    return terminates


def _credentials(source: Source, account: Account, values: dict[str, Any]) -> None:
    if not source.chance(75 if account.password else 20):
        return
    password = account.password if account.password and source.chance(75) else source.pick(("", *PASSWORDS))
    kind = source.count(0, 9)
    if kind < 6:
        values["password"] = password
    if kind > 4:  # 5 stands for both
        digest = random_digest(source, values["name"] or source.pick(NAMES), password)
        if source.chance(5):
            digest = Digest(username=" ", realm="")  # some switches always send the object
        values["digest"] = digest
        if source.chance(50):
            values["name"] = None  # the user name of the digest stands in for it
        elif source.chance(15):
            values["name"] = source.pick(NAMES)


def _spoil(source: Source, values: dict[str, Any]) -> None:
    """Add spaces that do not count, and occasionally a value that cannot be used."""
    if values["name"] is not None and source.chance(20):
        values["name"] = f"  {values['name']}\t"
    if source.chance(2):
        values["src_ip"] = source.pick(BAD_ADDRESSES)
    if source.chance(2):
        values["src_port"] = source.pick(
            (0, -5060, 65536, 70000, "70000", "0", "sip", "5060.0", "5_060", "0x13c4")
        )
    if source.chance(1):
        values["src_port"] = source.pick((65535, 1, "05060", " 5060 ", "", " "))
    if source.chance(2):
        values["dst_number"] = source.pick(BAD_NUMBERS)
    if source.chance(4):
        values["src_number"] = source.pick((*BAD_NUMBERS, "anonymous", "", " ", "-", "00", "011"))
    if source.chance(3):
        values[source.pick(("name", "gateway", "protocol", "src_ip"))] = source.pick(("", " ", "\t"))


def random_switch(source: Source) -> tuple[str | None, str | None]:
    """Return the match_port and match_protocol of a switch. Most switches have none."""
    if not source.chance(20):
        return None, None
    return source.pick((None, "always", "never")), source.pick((None, "always", "never"))


@st.composite
def asked_cases(
    draw: Callable[[st.SearchStrategy[Any]], Any], most_accounts: int = 8, most_requests: int = 5
) -> tuple[Case, list[tuple[Request, tuple[str | None, str | None]]]]:
    """Draw a case and requests to it, each with the options of its switch."""
    source = Drawn(draw)
    case = random_case(source, most_accounts)
    count = source.count(1, most_requests)
    return case, [(random_request(source, case), random_switch(source)) for _ in range(count)]
