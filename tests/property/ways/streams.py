"""Random scenarios by seed: a setup, and reads of random messages with all that can happen between them."""

from __future__ import annotations

from fuzz.rounds import Case as Chance
from property.books import Case, Seeded
from property.oracle import decide
from property.ways.books import calm_case, later_case, limited_case
from property.ways.drafts import Draft, Peers
from property.ways.scenario import (
    CONNECTIONS,
    MIXED,
    OFTEN,
    OFTEN_USED,
    OTHER,
    TOKEN,
    TOKENS,
    Datagrams,
    Restart,
    Room,
    Scenario,
    Sent,
    Serve,
    Setup,
    Step,
    Stream,
    Wait,
)
from property.ways.spelling import array_of, damaged, spelled

from identengine.calls.backend import Settings
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec

SIZES = (1, 1, 2, 3, 5, 8, 16, 32, 64)
"""Numbers of messages in a read. 64 is the most datagrams of one system call."""
PAUSES = (*(0.0,) * 10, *(0.004,) * 30, 0.02, 0.3, 1.0, 5.0, 30.0)
LONG_PAUSES = (59.0, 61.0, 201.0, 201.0, 600.0, 7300.0, 90_000.0)
ORACLE_PERCENT = 20
"""Share of datagrams with a new call that are compared with the oracle too."""
CALM_LEGS = 600
"""Room of the set of calls in a calm scenario: enough for a call of 256 legs, and for all others."""
ORDERLY_PERCENT = 90
"""Share of calm scenarios in which nearly all messages are plain. With it, half of all messages are usual."""
CALM_PERCENT = 88
"""Share of scenarios in which most calls pass, so that the usual way decides most messages."""
ODD_SPELLING_PERCENT, DAMAGED_PERCENT, ARRAY_PERCENT, OLD_PERCENT = 2, 1.5, 0.7, 1


def scenario(seed: int, messages: int, orderly: int = ORDERLY_PERCENT) -> Scenario:
    """Return the scenario of a seed, with at least this number of messages.

    ``orderly`` is the share of calm scenarios in which nearly all messages are plain, in percent.
    """
    return _Maker(seed, orderly).make(messages)


def random_setup(source: Seeded) -> Setup:
    """Return random settings, and one to three versions of a random book."""
    calm = source.chance(CALM_PERCENT)
    versions = [calm_case(source) if calm else limited_case(source)]
    for _ in range(source.pick((0, 1, 1, 2, 2))):
        versions.append(later_case(source, versions[-1], calm=calm))
    calls = Settings(
        max_legs=CALM_LEGS if calm else source.pick((200, 200, 200, 30, 4)),
        lapsed_max=source.pick((200, 200, 3)),
        reserved=source.pick((200.0, 200.0, 20.0)),
        active=source.pick((7200.0, 7200.0, 60.0)),
        grace=source.pick((60.0, 60.0, 1.0)),
        global_capacity=None if calm else source.pick((*(None,) * 9, 40, 3, 0)),
    )
    return Setup(
        tuple(versions),
        calls,
        require_call_id=source.chance(10),
        match=(source.pick((None, "always", "never")), source.pick((None, "always", "never")))
        if source.chance(30)
        else (None, None),
        has_key=source.chance(95),
        begins_empty=source.chance(5),
    )


class _Maker:
    """The choices of one scenario."""

    def __init__(self, seed: int, orderly: int) -> None:
        self._seed = seed
        self._source = source = Seeded(f"ways {seed}")
        self._chance = Chance(seed)
        self._setup = random_setup(source)
        calm = self._setup.calls.max_legs == CALM_LEGS
        self._peers = Peers(source, seed, orderly=calm and source.chance(orderly))
        self._case: Case = self._setup.versions[0]
        self._raw: list[Sent] = []
        """Recent datagrams, which their senders repeat byte for byte."""
        self._full = False

    def make(self, messages: int) -> Scenario:
        """Return the scenario."""
        steps: list[Step] = []
        made = 0
        if self._setup.begins_empty:
            steps += (self._read(), self._read(), Serve(0))
        while made < messages:
            steps += self._between()
            read = self._read()
            steps.append(read)
            made += sum(sent.messages for sent in read.sent)
        return Scenario(self._seed, self._setup, tuple(steps))

    def _between(self) -> list[Step]:
        """Return the steps between two reads."""
        source = self._source
        if source.chance(3 if len(self._setup.versions) > 1 else 1):
            return [self._served()]
        if source.chance(1):
            return [Restart(source.chance(50))]
        if self._full:
            self._full = source.chance(50)
            return [Room(self._full)]
        if source.chance(0.7):
            self._full = True
            return [Room(True)]
        if source.chance(3):
            pause = Wait(source.pick(LONG_PAUSES))
            return [pause, self._served()] if source.chance(50) else [pause]
        return [Wait(source.pick(PAUSES))] if source.chance(50) else []

    def _served(self) -> Serve:
        """Return the step to a random version. Messages are then made for its book."""
        version = self._source.count(0, len(self._setup.versions) - 1)
        self._case = self._setup.versions[version]
        return Serve(version)

    def _read(self) -> Datagrams | Stream:
        source = self._source
        size = source.pick(SIZES)
        if source.chance(60):
            return Datagrams(tuple(self._datagram() for _ in range(size)))
        is_bulk = source.chance(0.7)
        number = 0 if is_bulk else source.pick(OFTEN_USED)
        spec = CONNECTIONS[number]
        drafts: list[Draft | None] = [None] * size
        if is_bulk:
            many = self._peers.many_legs if source.chance(70) else self._peers.many_explanations
            drafts = [*many(self._case)]
        sent = [self._sent(spec.codec, spec.host, connected=True, draft=draft) for draft in drafts]
        if spec.interface == "http" or (spec.host in (TOKEN, MIXED) and source.chance(15)):
            sent.insert(0, self._auth(spec.codec, spec.interface == "http"))
        return Stream(
            number, tuple(sent), source.pick(("", "too large")) if source.chance(2) else None, source.chance(2)
        )

    def _auth(self, codec: Codec, by_name: bool) -> Sent:
        """Return a message that authenticates a connection."""
        source = self._source
        params = {"switch": source.pick(("one", "two", "three"))} if by_name else {"token": source.pick(TOKENS)}
        members = {"jsonrpc": "2.0", "method": "auth", "id": 0, "params": params}
        return Sent(spelled(source, self._chance, codec, members, odd=False), "")

    def _datagram(self) -> Sent:
        source = self._source
        if self._raw and source.chance(5):
            return source.pick(self._raw)
        draft = self._peers.draft(self._case)
        host = draft.host or source.pick(OFTEN)
        sent = self._sent(source.pick((JSON, MESSAGEPACK, MESSAGEPACK)), host, connected=False, draft=draft)
        if source.chance(10):
            self._raw.append(sent._replace(expected=None))
        return sent._replace(too_old=True, expected=None) if source.chance(OLD_PERCENT) else sent

    def _sent(self, codec: Codec, host: str, *, connected: bool, draft: Draft | None = None) -> Sent:
        """Return a message, or an array of messages, of a peer."""
        source = self._source
        draft = draft or self._peers.draft(self._case)
        if source.chance(ARRAY_PERCENT):
            drafts = [draft, *(self._peers.draft(self._case) for _ in range(source.pick((0, 1, 3, 20))))]
            if source.chance(20):
                drafts[-1].message_id, drafts[-1].method = 1, source.pick(("ping", "half \ud800 of a pair"))
            raw = array_of(codec, [self._spell(codec, one, host, connected)[0] for one in drafts])
            return Sent(raw, host, messages=len(drafts))
        raw, plain = self._spell(codec, draft, host, connected)
        if source.chance(DAMAGED_PERCENT if not connected else 0.3):
            return Sent(damaged(source, self._chance, raw), host)
        expected = None
        if draft.fresh is not None and not connected and source.chance(ORACLE_PERCENT):
            options = self._case.options_for(self._setup.match if host == OTHER else (None, None))
            expected = decide(self._case.rows, options, self._case.overrides, draft.fresh, "identify")
        return Sent(raw, host, plain=plain, expected=expected)

    def _spell(self, codec: Codec, draft: Draft, host: str, connected: bool) -> tuple[bytes, bool]:
        """Return an encoded message, and True if the usual way can be expected to decide it."""
        source, plain = self._source, draft.plain
        members = draft.members()
        needs_token = host == TOKEN or (host == MIXED and source.chance(30))
        if needs_token and isinstance(draft.params, dict) and source.chance(60 if connected else 90):
            token = TOKENS[0] if host == TOKEN else TOKENS[1]
            members["params"] = draft.params | {"token": token}
        elif needs_token and isinstance(draft.params, dict) and source.chance(70):
            members["params"] = draft.params | {"padding": "x" * 5000}  # more than a peer without a token may send
        if odd := source.chance(ODD_SPELLING_PERCENT):
            plain, draft.fresh = False, None
        return spelled(source, self._chance, codec, members, odd=odd), plain
