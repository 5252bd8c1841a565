"""Warnings about a config that has no mistakes but is easy to attack.

Rule: such a config is used. Each warning names all tables that it concerns, what an attacker could do, and the
remedy. docs/config.md lists the warnings.
"""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from identengine.calls.folder import hazard
from identengine.config.schema import Config, Switch
from identengine.config.secret import Secret
from identengine.errors import quoted
from identengine.model.addresses import Network, format_network

LEAST_TOKEN = 16
"""Length of the shortest token or secret that is not weak, in characters (RFC 2865 section 3)."""
LEAST_DIFFERENT = 6
"""Number of different characters in a token or secret that is not weak."""
KNOWN_WORDS = (
    "123456",
    "admin",
    "changeme",
    "cisco",
    "default",
    "eltex",
    "example",
    "identengine",
    "letmein",
    "password",
    "passwort",
    "qwerty",
    "radius",
    "secret",
    "testing",
    "token",
)
"""Words that attackers try first. A token or secret that contains one of them is weak."""
WIDE = {4: 16, 16: 48}
"""Mask of the widest network that may be trusted without a warning, by the length of its addresses in bytes."""
_NAMED = 5
"""Largest number of tables or networks that a warning names."""


def weaknesses(config: Config) -> list[str]:
    """Return the warnings."""
    return [
        *_weak_tokens(config),
        *_weak_secrets(config),
        *_shared_tokens(config.switches),
        *_shared_secrets(config.switches),
        *_unused_radius(config),
        *_wide_networks(config),
        *_bypassed_tokens(config.switches),
        *_switches_as_proxies(config),
        *_readable_files(config),
        *_replaceable_files(config),
    ]


def _weak_tokens(config: Config) -> Iterator[str]:
    tables = [(f"[[switch]] {quoted(one.name)}", one.name, one.token) for one in config.switches]
    tables += [(f"[[token]] {quoted(one.name)}", one.name, one.token) for one in config.tokens]
    weak = [label for label, name, token in tables if token is not None and _is_weak(token.reveal(), name)]
    if weak:
        yield f"token: a program can guess the token of {_list(weak)}. {_STRONG}"


def _weak_secrets(config: Config) -> Iterator[str]:
    """Warn of secrets that a reader of a single packet can guess, since he can try each guess on that packet."""
    weak = [
        f"[[switch]] {quoted(one.name)}"
        for one in config.switches
        if one.secret is not None and _is_weak(one.secret.reveal(), one.name)
    ]
    if weak:
        yield f"secret: with one RADIUS packet, a program can guess the secret of {_list(weak)}. {_STRONG}"


_STRONG = (
    f"Use at least {LEAST_TOKEN} characters, {LEAST_DIFFERENT} of them different, without the name or a common "
    "word. `openssl rand -hex 16` prints a strong one."
)


def _is_weak(token: str, name: str) -> bool:
    lower = token.lower()
    words = [*KNOWN_WORDS, name.lower()] if len(name) > 3 else KNOWN_WORDS
    return len(token) < LEAST_TOKEN or len(set(lower)) < LEAST_DIFFERENT or any(word in lower for word in words)


def _shared_tokens(switches: Iterable[Switch]) -> Iterator[str]:
    for names in _sharing((one.name, one.token) for one in switches):
        yield (
            f"[[switch]] token: {_list(names)} have the same token, so each can act as the other. Give each "
            "its own token."
        )


def _shared_secrets(switches: Iterable[Switch]) -> Iterator[str]:
    for names in _sharing((one.name, one.secret) for one in switches):
        yield (
            f"[[switch]] secret: {_list(names)} have the same secret, so each can act as the other and read its "
            "passwords. Give each its own secret."
        )


def _sharing(secrets: Iterable[tuple[str, Secret | None]]) -> list[list[str]]:
    """Return the quoted names of switches for each secret that several of them have."""
    names: dict[Secret, list[str]] = {}
    for name, secret in secrets:
        if secret is not None:
            names.setdefault(secret, []).append(quoted(name))
    return [shared for shared in names.values() if len(shared) > 1]


def _unused_radius(config: Config) -> Iterator[str]:
    listen = config.listen
    keys = [key for key in ("radius_auth", "radius_acct") if getattr(listen, key)]
    secrets = [f"[[switch]] {quoted(one.name)}" for one in config.switches if one.secret is not None]
    if keys and not secrets:
        yield (
            f"[listen] {' and '.join(keys)}: no [[switch]] has a secret, so every RADIUS packet is dropped. "
            'Set secret = { env = "NAME" } for each switch that uses RADIUS.'
        )
    if secrets and not keys:
        yield (
            f"secret: [listen] has neither radius_auth nor radius_acct, so the secret of {_list(secrets)} has no "
            "effect. Set the addresses for RADIUS, or remove the secret."
        )


def _wide_networks(config: Config) -> Iterator[str]:
    trusted = [one for one in config.switches if one.trusted_network and not _proves_itself(one)]
    for switch in trusted:
        if wide := _wide(switch.networks):
            yield (
                f"[[switch]] {quoted(switch.name)} trusted_network: every host of {wide} can act as this switch. "
                "List the addresses of the switch alone, or set a token."
            )
    if wide := _wide(config.http.trusted_proxies):
        yield (
            f"[http] trusted_proxies: every host of {wide} can name any address as that of a client. List the "
            "addresses of the proxies alone."
        )


def _bypassed_tokens(switches: Iterable[Switch]) -> Iterator[str]:
    for switch in switches:
        if switch.trusted_network and _proves_itself(switch):
            yield (
                f"[[switch]] {quoted(switch.name)} trusted_network: it has no effect, because the switch has a "
                "token, a certificate or require_message_authenticator = true. Remove trusted_network."
            )
    plain = {network: switch.name for switch in switches if switch.is_plain for network in switch.networks}
    for switch in switches:
        asks = switch.token is not None or switch.certificate is not None
        shared = [network for network in switch.networks if asks and network in plain]
        if shared:
            other = quoted(plain[shared[0]])
            yield (
                f"[[switch]] {quoted(switch.name)} addresses: a message from {_networks(shared)} without a token "
                f"counts as one of {other}, which needs none. Give {other} a token, or other addresses."
            )


def _switches_as_proxies(config: Config) -> Iterator[str]:
    for switch in config.switches:
        both = [
            network
            for network, proxy in itertools.product(switch.networks, config.http.trusted_proxies)
            if _overlap(network, proxy) and not _is_loopback(proxy) and not _is_loopback(network)
        ]
        if both:
            yield (
                f"[http] trusted_proxies: {_networks(both)} of [[switch]] {quoted(switch.name)} is also a proxy. "
                "So this switch can name the address of another one as its own. Use other addresses for proxies."
            )


def _readable_files(config: Config) -> Iterator[str]:
    if config.source is not None and _holds_secrets(config) and _others_read(config.source):
        yield (
            f"{config.source}: it holds secrets, and all users of this machine can read it. Run `chmod o-r "
            f'{config.source}`, or use {{ env = "NAME" }} for the secrets.'
        )
    key = config.tls.key
    if key is not None and _others_read(key):
        yield f"[tls] key: all users of this machine can read {key}. Run `chmod o-r {key}`, and replace the key."


def _replaceable_files(config: Config) -> Iterator[str]:
    tls = config.tls
    files = (config.source, config.store.key_file, tls.certificate, tls.key, tls.client_ca, tls.client_crl)
    for file in dict.fromkeys(files):
        try:
            found = file and hazard(file, [file.stat().st_uid])
        except OSError:  # a missing file is reported elsewhere
            continue
        if found:
            yield f"{file}: another user can change it: {found.why}. Correct its owner or mode, or move the file."


def _holds_secrets(config: Config) -> bool:
    secrets = [config.store.key, config.calls.url, *(one.token for one in config.tokens)]
    for switch in config.switches:
        secrets += [switch.token, switch.secret, switch.radius.ignore_password]
    return any(one is not None and one.variable is None for one in secrets)


def _others_read(path: Path) -> bool:
    """Return True if every user of the machine can read a file: its mode and all its folders permit it."""
    try:
        real = path.resolve()
        return bool(real.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in real.parents
        )
    except OSError:
        return False


def _proves_itself(switch: Switch) -> bool:
    """Return True if the address of a switch is enough nowhere."""
    return not (switch.is_plain or switch.is_plain_over_radius)


def _wide(networks: Iterable[Network]) -> str:
    return _networks([one for one in networks if one.length < WIDE[len(one.address)] and not _is_loopback(one)])


def _is_loopback(one: Network) -> bool:
    if len(one.address) == 4:
        return one.address[0] == 127 and one.length >= 8
    return one.length == 128 and one.address == bytes(15) + b"\1"


def _overlap(one: Network, other: Network) -> bool:
    wider, narrower = sorted((one, other), key=lambda each: each.length)
    return len(one.address) == len(other.address) and wider.covers(narrower.address)


def _networks(networks: Iterable[Network]) -> str:
    return _list([format_network(one) for one in dict.fromkeys(networks)])


def _list(names: list[str]) -> str:
    """Return names as a sentence lists them, at most _NAMED of them."""
    more = len(names) - _NAMED
    *first, last = [*names[:_NAMED], f"{more} more"] if more > 0 else names or [""]
    return f"{', '.join(first)} and {last}" if first else last
