"""Reads the peers that may send requests: ``[[switch]]`` and ``[[token]]`` (interfaces.md 3 and 6)."""

from __future__ import annotations

from collections import Counter

from identengine.config.radius import read_radius
from identengine.config.readers import (
    Reader,
    Table,
    bearer,
    boolean,
    certificate_name,
    choice,
    items,
    mistake,
    network,
    shared_secret,
    switch_token,
    word,
)
from identengine.config.schema import Config, HttpToken, Radius, Switch
from identengine.config.secret import Secret
from identengine.errors import quoted
from identengine.model.addresses import Network, format_network, parse_address, parse_network
from identengine.model.options import When

LOOPBACK = (parse_network("127.0.0.0/8")[0], parse_network("::1")[0])
"""The loopback networks of this machine."""


def read_switches(tables: list[Table] | None, warnings: list[str], problems: list[str]) -> tuple[Switch, ...]:
    """Return the switches of ``[[switch]]``, or a switch for loopback if the config has no such table.

    Mistakes are added to ``problems`` and ``warnings``.
    """
    if tables is None:
        return (Switch(name="local", scope="local", networks=LOOPBACK),)
    found = [_switch(table) for table in tables]
    if not found:
        warnings.append("[[switch]] is an empty list, so every request is rejected")
    _repeated_names("switch", [switch.name for switch in found], problems)
    _ambiguous_switches(found, problems)
    return tuple(found)


def _ambiguous_switches(switches: list[Switch], problems: list[str]) -> None:
    """Add a mistake for switches that share an address and have no different secrets, tokens or certificates."""
    seen: dict[tuple[Network, str, Secret | str | None], str] = {}
    for switch in switches:
        proofs: tuple[tuple[str, Secret | str | None], ...]
        proofs = (("secret", switch.secret), ("token", switch.token), ("certificate", switch.certificate))
        shown = [proof for proof in proofs if proof[1] is not None] or [("address", None)]
        for one in dict.fromkeys((at, *proof) for at in switch.networks for proof in shown):
            other = seen.setdefault(one, switch.name)
            if other != switch.name:
                problems.append(
                    f"[[switch]] {quoted(switch.name)} addresses: {format_network(one[0])} is also an address of "
                    f"{quoted(other)}. Give each of the two its own secret, token or certificate, or another "
                    "address."
                )


_MOVED = ("ignore_password", "require_message_authenticator", "limit_proxy_state")
"""Keys of ``[switch.radius]`` that earlier versions read in ``[[switch]]``."""


def _switch(table: Table) -> Switch:
    when: Reader[When | None] = choice("always", "never")
    name = table.take("name", word, "")
    for key in ("name", "addresses"):
        if not table.has(key):
            table.complain(key, "this key is required")
    found = Switch(
        name=name,
        scope=table.take("scope", word, name),
        networks=table.take("addresses", items(network), ()),
        match_port=table.take("match_port", when, None),
        match_protocol=table.take("match_protocol", when, None),
        secret=table.take("secret", shared_secret, None),
        token=table.take("token", switch_token, None),
        certificate=table.take("certificate", certificate_name, None),
        trusted_network=table.take("trusted_network", boolean, False),
        radius=read_radius(table.table("radius", f"{table.label} [switch.radius]")),
    )
    if found.radius != Radius() and not table.has("secret"):
        table.complain("secret", "this key is required, since the switch has a table [switch.radius]")
    table.moved(_MOVED, "[switch.radius], a table of its own after the keys of this [[switch]]")
    if table.has("addresses") and not found.networks and table.values["addresses"] == []:
        table.complain("addresses", mistake("at least one address or network", []))
    _check_away(table, found)
    table.close()
    return found


def _check_away(table: Table, switch: Switch) -> None:
    """Add a mistake if a forged source off loopback would suffice to act as this switch."""
    away = next((one for one in switch.networks if not _on_loopback(one)), None)
    if away is None or switch.trusted_network:
        return
    if switch.is_plain:
        if any(map(table.has, ("secret", "token", "certificate"))):  # unusable, and reported already
            return
        table.complain(
            "addresses",
            f"{format_network(away)} is not loopback, and the source of a datagram can be forged. "
            "Set a token, a certificate or a secret (RADIUS) for the switch, or trusted_network = true if forged "
            "packets cannot enter that network.",
        )
    elif switch.is_plain_over_radius:
        table.complain(
            "secret",
            f"{format_network(away)} is not loopback, and an Access-Request without Message-Authenticator can be "
            "forged. Set require_message_authenticator = true in [switch.radius], or trusted_network = true if "
            "forged packets cannot enter that network.",
        )


def _on_loopback(one: Network) -> bool:
    if len(one.address) == 4:
        return one.address[0] == 127 and one.length >= 8
    return one == LOOPBACK[1]


def is_loopback(host: str) -> bool:
    """Return True if an address is a loopback address. Raise ValueError if it is not an address."""
    return any(one.covers(parse_address(host)) for one in LOOPBACK)


def read_tokens(tables: list[Table] | None, problems: list[str]) -> tuple[HttpToken, ...]:
    """Return the bearer tokens of ``[[token]]``. Mistakes are added to ``problems``."""
    found = []
    for table in tables or ():
        for key in ("name", "role", "token"):
            if not table.has(key):
                table.complain(key, "this key is required")
        found.append(
            HttpToken(
                name=table.take("name", word, ""),
                role=table.take("role", choice("read", "operator"), "read"),
                token=table.take("token", bearer, Secret("")),
            )
        )
        table.close()
    _repeated_names("token", [token.name for token in found], problems)
    return tuple(found)


def same_tokens(config: Config) -> list[str]:
    """Return a mistake for each ``[[token]]`` whose token another table has too: its role would be unclear."""
    problems = []
    owners: dict[Secret, str] = {}
    for switch in config.switches:
        if switch.token is not None:
            owners.setdefault(switch.token, f"[[switch]] {quoted(switch.name)}")
    for token in config.tokens:
        if token.token == Secret(""):  # reported already
            continue
        label = f"[[token]] {quoted(token.name)}"
        owner = owners.setdefault(token.token, label)
        if owner != label:
            problems.append(f"{label} token: the same token as that of {owner}. Use a different one.")
    return problems


def _repeated_names(kind: str, names: list[str], problems: list[str]) -> None:
    problems.extend(
        f"[[{kind}]] {quoted(name)} name: {count} tables have this name. Use each name once."
        for name, count in sorted(Counter(names).items())
        if name and count > 1
    )
