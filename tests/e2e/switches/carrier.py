"""A carrier on loopback: engines, vendors, and a Kamailio between them that asks in one of its ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from support.books import ip_account, put_rows
from support.kamailio import CONFIGS, Kamailio
from support.operator import held
from support.phones import VENDOR, Callee, Callers, Seen
from support.ports import free_port
from support.server import Server
from support.waiting import wait_for

from identengine.model.records import Account, Client, ClientStatus, Did, SrcPolicy
from identengine.store.vault import Vault, default_key_file

ENGINE = "127.0.0.4"
"""Address of all engines."""
TOKEN, SECRET = "a-long-enough-word", "another-long-enough-word"
PLAIN, FULL, PREFIXED, STRANGER = "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"
"""Addresses of callers: a plain account, one without free slots, one with a prefix and one number, and none."""
OWN_NUMBER = "442079460201"
REJECTED = {
    "403 unknown_source": STRANGER,
    "480 account_capacity": FULL,
    "484 invalid_destination": PREFIXED,
    "403 tech_prefix_mismatch": PREFIXED,
    "403 protocol_mismatch": "127.0.0.15",
    "403 port_mismatch": "127.0.0.16",
    "403 account_disabled": "127.0.0.17",
    "403 client_blocked": "127.0.0.18",
    "403 src_not_allowed": "127.0.0.19",
    "403 no_did": "127.0.0.20",
    "480 cps_exceeded": "127.0.0.21",
    "480 client_capacity": "127.0.0.22",
    "480 reseller_capacity": "127.0.0.23",
    "403 gateway_mismatch": "127.0.0.24",
    "403 ambiguous": "127.0.0.25",
    "403 auth_required": "127.0.0.26",
}
"""Rejects, each with the address of a caller who gets it."""
DIALLED = {"484 invalid_destination": "77%23"}
"""Numbers that are dialled for some of the rejects. For the others any number is dialled."""
_FIRST = ('regexp="^503"', 'regexp="^5"')
_SECOND = ('regexp="^1"', 'regexp="^[156]"')
_SLOWLY = ('<label id="answers"/>', '<label id="answers"/><pause milliseconds="300"/>')
"""Changes of the scenario of two vendors: numbers with 5 fail at the first, and numbers with 6 ring there.

The second vendor answers them. Numbers with 503 fail at both. An answer must not overtake the ringing of the other
vendor.
"""


def _accounts(vendors: list[Callee], vault: Vault) -> list[Account]:
    at = REJECTED
    rejected = [
        ip_account(15, at["403 protocol_mismatch"], term_protocol="h323"),
        ip_account(16, at["403 port_mismatch"], term_port=1),
        ip_account(17, at["403 account_disabled"], orig_enabled=False),
        ip_account(18, at["403 client_blocked"], client_id=3),
        ip_account(19, at["403 src_not_allowed"], src_policy=SrcPolicy.REJECT),
        ip_account(20, at["403 no_did"], src_policy=SrcPolicy.OVERWRITE),
        ip_account(21, at["480 cps_exceeded"], orig_cps=0),
        ip_account(22, at["480 client_capacity"], client_id=4),
        ip_account(23, at["480 reseller_capacity"], client_id=5),
        ip_account(24, at["403 gateway_mismatch"], gateways=("another",)),
        ip_account(25, at["403 ambiguous"]),
        ip_account(26, at["403 ambiguous"], client_id=2),
        ip_account(27, at["403 auth_required"], password=vault.encrypt("a password")),
    ]
    out = {"orig_enabled": False, "term_enabled": True, "client_id": 2}
    return [
        ip_account(1, PLAIN, orig_tag="gold"),
        ip_account(2, FULL, orig_capacity=0),
        ip_account(3, PREFIXED, tech_prefix="77#", src_policy=SrcPolicy.OVERWRITE),
        *rejected,
        *(ip_account(900 + n, VENDOR, term_port=vendor.port, **out) for n, vendor in enumerate(vendors)),
    ]


_CLIENTS = [
    Client(id=1, name="customer"),
    Client(id=2, name="vendor"),
    Client(id=3, name="blocked", status=ClientStatus.BLOCKED),
    Client(id=4, name="full", capacity=0),
    Client(id=5, name="of the full one", parent_id=4),
]


class Engine:
    """An engine that keeps its ports when it starts again."""

    def __init__(self, folder: Path, vendors: list[Callee], way: str, config: str) -> None:
        """Load the book and start. ``config`` is a part of its config."""
        self.folder = folder
        self.tcp, self.auth, self.acct = (free_port(ENGINE) for _ in range(3))
        radius = ""
        switch = ""
        if way == "radius":
            radius = f'radius_auth = ["{ENGINE}:{self.auth}"]\nradius_acct = ["{ENGINE}:{self.acct}"]\n'
            switch = f"""
                [[switch]]
                name = "sbc1"
                addresses = ["127.0.0.0/8"]
                token = "{TOKEN}"
                secret = "{SECRET}"
                [switch.radius]
                map = {{ interval = ["Cisco-AVPair:interval"] }}
            """
        self._config = f"""
            [listen]
            udp = ["127.0.0.1:0"]
            tcp = ["{ENGINE}:{self.tcp}"]
            {radius}
            [identify]
            strict_ambiguity = true
            require_password = true
            {config or switch}
        """
        vault = Vault.from_file(default_key_file(folder / "store"), create=True)
        put_rows(folder / "store", _accounts(vendors, vault), _CLIENTS, [Did(number=OWN_NUMBER, account_id=3)])
        self.start()

    def start(self) -> None:
        """Start the engine, or start it again on its ports."""
        self.server = Server(self.folder, self._config)

    @property
    def held(self) -> int:
        """Number of held legs."""
        return held(self.server)


class Carrier:
    """One engine or more, one vendor or two, and a switch that asks in one way."""

    def __init__(
        self, folder: Path, stack: ExitStack, way: str, *, vendors: int = 1, engines: int = 1, config: str = ""
    ) -> None:
        """Start engines and vendors. ``config`` replaces the switches in the config of the engines."""
        self.way = way
        self._folder = folder
        self._stack = stack
        changes = [[], []] if vendors == 1 else [[_FIRST], [_SECOND, _SLOWLY]]
        self.vendors = [Callee(folder, f"vendor{n}", *changes[n]) for n in range(vendors)]
        self.vendor = self.vendors[0]
        self.engines = []
        for number in range(engines):
            own = folder / f"engine{number}"
            own.mkdir()
            self.engines.append(Engine(own, self.vendors, way, config))
            stack.callback(self._stop, self.engines[-1])
        self.engine = self.engines[0]
        for vendor in self.vendors:
            stack.callback(vendor.stop)

    @staticmethod
    def _stop(engine: Engine) -> None:
        engine.server.stop()

    def switch(self, **defines: object) -> Kamailio:
        """Start the switch with some lines of its config set."""
        running = Kamailio(self._folder, self.way, self._defines() | defines)
        self._stack.callback(running.stop)
        return running

    def _defines(self) -> dict[str, object]:
        """Return the lines of the config that name engines and vendors."""
        accounts = ",".join(str(900 + n) for n in range(len(self.vendors)))
        ports = [engine.tcp for engine in self.engines]
        if self.way == "radius":
            addresses = ",".join(f"{VENDOR}:{vendor.port}" for vendor in self.vendors)
            return {"RADIUS": f'"{self._radius()}"', "VENDORS": f'"{addresses}"'}
        names: dict[str, object] = {"VENDORS": f'"{accounts}"'}
        for number, port in zip(("", "_2"), ports, strict=False):
            address = f"addr={ENGINE};port={port}"
            named = f'"name=engine{number.strip("_")};{address}"' if self.way == "redis" else address
            names[f"ENGINE{number}"] = named
        return names

    def token(self) -> dict[str, object]:
        """Return the line of the config with the token of the switch."""
        if self.way == "redis":
            return {"ENGINE": f'"name=engine;addr={ENGINE};port={self.engine.tcp};pass={TOKEN}"'}
        return {"TOKEN": f'"{TOKEN}"'}

    def _radius(self) -> Path:
        """Write the config of the library of RADIUS, with the addresses of the engines."""
        text = (CONFIGS / "radius.conf").read_text()
        auth = ",".join(f"{ENGINE}:{engine.auth}:{SECRET}" for engine in self.engines)
        acct = ",".join(f"{ENGINE}:{engine.acct}:{SECRET}" for engine in self.engines)
        known = {
            "127.0.0.1:1812:secret": auth,
            "127.0.0.1:1813:secret": acct,
            "/etc/kamailio/radius.dictionary": str(CONFIGS / "radius.dictionary"),
        }
        for before, after in known.items():
            assert before in text, before
            text = text.replace(before, after)
        written = self._folder / "radius.conf"
        written.write_text(text)
        return written

    def call(self, switch: Kamailio, kind: str, source: str, *dialled: str, **how: float) -> Callers:
        """Call numbers from an address, each by another caller."""
        return self.calls(switch, kind, source, [(caller(n), number) for n, number in enumerate(dialled)], **how)

    def calls(
        self, switch: Kamailio, kind: str, source: str, rows: Iterable[tuple[str, ...]], **how: float
    ) -> Callers:
        """Place a call for each tuple of shown and dialled numbers."""
        callers = Callers(self._folder, switch.address, kind, source, rows, **how)
        self._stack.callback(callers.kill)
        return callers

    def seen(self) -> list[Seen]:
        """Return the calls that arrived at the vendors."""
        return [seen for vendor in self.vendors for seen in vendor.seen()]

    def seen_more_than(self, count: int, seconds: float = 40) -> None:
        """Wait until more than ``count`` calls arrived at the vendors."""
        wait_for(lambda: len(self.seen()) > count, seconds)

    def holds(self, legs: int, seconds: float = 20) -> None:
        """Wait until ``legs`` legs are held by all engines together."""
        self.until(lambda: sum(engine.held for engine in self.engines) == legs, seconds)

    def until(self, what: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until ``what`` is true."""
        wait_for(what, seconds)


def caller(index: int) -> str:
    """Return the number that a caller shows."""
    return f"4420{index:07}"


def plain(*dialled: str) -> list[Seen]:
    """Return the calls that a vendor receives from the plain account, which rewrites no number."""
    return [Seen(number, caller(index), caller(index), "gold") for index, number in enumerate(dialled)]


def numbers(begin: str, count: int) -> list[str]:
    """Return numbers to dial."""
    return [f"{begin}{index:05}" for index in range(count)]
