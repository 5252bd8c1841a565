"""The check ``near_typo``: a name that is used once, and that differs by a letter from one that is used often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from identengine.errors import quoted
from identengine.lint.findings import Trouble
from identengine.model.records import Account, Client

OFTEN = 5
"""Least number of uses of a common name."""
_PROTOCOLS = frozenset(
    "sip sips pjsip h323 h.323 iax iax2 sccp mgcp udp tcp tls ws wss sctp dtls rtp srtp isup webrtc".split()  # noqa: SIM905
)
"""Names of real protocols, some of which differ by a letter."""


class Use(NamedTuple):
    """The first use of a name."""

    table: str
    """``account`` or ``client``."""
    id: int
    client_id: int
    column: str
    value: str


class Names:
    """The names of a kind (rate tables, say) with the number of their uses."""

    def __init__(self, *, fold: bool) -> None:
        self._fold = fold
        self._uses: dict[str, Use | int] = {}
        """First use of a name that is used once, or the number of its uses."""

    def add(self, use: Use) -> None:
        """Count a use."""
        name = use.value.casefold() if self._fold else use.value
        before = self._uses.get(name)
        self._uses[name] = use if before is None else (before + 1 if isinstance(before, int) else 2)

    def near(self) -> Iterator[tuple[Use, str]]:
        """Yield each name that is used once with the common name that it resembles."""
        common: dict[str, str] = {}
        for name, uses in self._uses.items():
            if isinstance(uses, int) and uses >= OFTEN:
                for shorter in _shorter(name.casefold()):
                    common.setdefault(shorter, name)
        if not common:
            return
        for name, uses in self._uses.items():
            if isinstance(uses, Use):
                for shorter in _shorter(name.casefold()):
                    other = common.get(shorter)
                    if other is not None and _is_typo(name, other):
                        yield uses, other
                        break


def _shorter(name: str) -> Iterator[str]:
    """Yield a name, and the name without each of its letters. Names that differ by a letter share one of these."""
    yield name
    if len(name) > 2:
        for place in range(len(name)):
            yield name[:place] + name[place + 1 :]


def _is_typo(name: str, common: str) -> bool:
    """Return True if two names differ by one letter, or by two that changed places.

    Digits that number names are no difference, and neither are letters that enumerate them (plan-A, plan-B).
    """
    if name == common or {name.casefold(), common.casefold()} <= _PROTOCOLS:
        return False
    if name.casefold() == common.casefold():
        return True
    shorter = min(len(name), len(common))
    begin = next((place for place in range(shorter) if name[place] != common[place]), shorter)
    rest = shorter - begin
    end = next((place for place in range(rest) if name[-1 - place] != common[-1 - place]), rest)
    one, other = name[begin : len(name) - end], common[begin : len(common) - end]
    if len(one) == 2 and one == other[::-1]:
        return one.isalpha()
    if len(one) > 1 or len(other) > 1 or not (one + other).strip("0123456789"):
        return False
    before, after = name[begin - 1 : begin], name[len(name) - end : len(name) - end + 1]
    return not (one + other).isalnum() or before.isalpha() or after.isalpha()


class Typos:
    """All names of a book."""

    def __init__(self) -> None:
        self._kinds = {
            "rate table": Names(fold=False),
            "routing plan": Names(fold=False),
            "protocol": Names(fold=True),
            "gateway": Names(fold=True),
        }

    def add_client(self, client: Client) -> None:
        """Count the names of a client."""
        for column, kind in _CLIENT_COLUMNS:
            if value := getattr(client, column):
                self._kinds[kind].add(Use("client", client.id, client.id, column, value))

    def add_account(self, account: Account) -> None:
        """Count the names of an account."""
        for column, kind in _ACCOUNT_COLUMNS:
            if value := getattr(account, column):
                self._kinds[kind].add(Use("account", account.id, account.client_id, column, value))
        for gateway in account.gateways:
            self._kinds["gateway"].add(Use("account", account.id, account.client_id, "gateways", gateway))

    def near(self) -> Iterator[tuple[Trouble, Use, str]]:
        """Yield the troubles, each with the use and the common name."""
        for kind, names in self._kinds.items():
            for use, common in names.near():
                text = (
                    f"{use.table} {use.id}: {use.column}: the {kind} {quoted(use.value)} is used once; "
                    f"did you mean {quoted(common)}?"
                )
                accounts = (use.id,) if use.table == "account" else ()
                yield Trouble("near_typo", "warning", text, None, accounts, (use.client_id,)), use, common


_CLIENT_COLUMNS = (
    ("rate_table", "rate table"),
    ("term_rate_table", "rate table"),
    ("routing_plan", "routing plan"),
)
_ACCOUNT_COLUMNS = (
    ("orig_rate_table", "rate table"),
    ("term_rate_table", "rate table"),
    ("orig_routing_plan", "routing plan"),
    ("term_protocol", "protocol"),
)
