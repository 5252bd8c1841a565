"""Calls under random faults: crashes of the decider, lost stops, duplicate and late messages (engine.md 5).

Several threads use a real server while its decider is killed again and again. For each call they record when it
certainly or possibly holds a slot. Every answer must respect these bounds. After all leases have expired, the
count is zero on every level. The test takes seconds, a minute in CI, and ten minutes with ``-m long``.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from math import inf
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import Switch, request
from support.thorough import amounts, times
from support.waiting import wait_for

from identengine.model.records import Client

THREADS = 4
RESERVED, ACTIVE, INTERVAL = 2, 3, 1
LEASE = max(RESERVED, ACTIVE, 3 * INTERVAL)
SOUND = 11.0
"""Seconds after which a decider that dies is replaced at once."""
SLACK = 4.0
"""Delay of a lapse after the end of its lease, in seconds: one second, and the absence of the decider."""

CLIENTS = [
    Client(id=1, name="reseller", capacity=50),
    Client(id=2, name="a", parent_id=1, orig_capacity=25),
    Client(id=3, name="b", parent_id=1, capacity=30),
    Client(id=4, name="c"),
]
ACCOUNTS = [
    ip_account(1, "10.0.0.1", client_id=2, orig_capacity=10),
    ip_account(2, "10.0.0.2", client_id=2),
    ip_account(3, "10.0.0.3", client_id=3, term_enabled=True, term_capacity=20),
    ip_account(4, "10.0.0.4", client_id=4),
]
GLOBAL = 60
LIMITS = {
    ("account_capacity", 1): 10,
    ("client_capacity", 2): 25,
    ("client_capacity", 3): 30,
    ("account_capacity", 3): 20,
    ("reseller_capacity", 1): 50,
    ("global_capacity", 0): GLOBAL,
}
"""By reason of the reject, and by the owner of the limit."""
KINDS = {
    "1": (("account_capacity", 1), ("client_capacity", 2), ("reseller_capacity", 1), ("global_capacity", 0)),
    "2": (("client_capacity", 2), ("reseller_capacity", 1), ("global_capacity", 0)),
    "3": (("client_capacity", 3), ("reseller_capacity", 1), ("global_capacity", 0)),
    "3 term": (
        ("account_capacity", 3),
        ("client_capacity", 3),
        ("reseller_capacity", 1),
        ("global_capacity", 0),
    ),
    "4": (("global_capacity", 0),),
}
"""By kind of call: the limits that apply to it."""


class Call:
    """One call, and the times at which it may hold a slot, by the monotonic clock."""

    def __init__(self, call_id: str, kind: str) -> None:
        self.id, self.kind = call_id, kind
        self.sure_from, self.sure_until = inf, -inf
        """It certainly holds a slot during this time."""
        self.maybe_from, self.maybe_until = inf, -inf
        """It certainly holds no slot outside this time."""
        self.active = False
        self.fields: dict[str, object] = {"dst_number": f"44{random.randrange(10**8)}"}
        if kind == "3 term":
            self.fields |= {"direction": "termination", "account_id": 3}
        else:
            self.fields |= {"src_ip": f"10.0.0.{kind}"}


class Soak:
    """All calls and the observed answers."""

    def __init__(self, server: Server, seconds: int) -> None:
        self.server = server
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.calls: list[Call] = []
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self.work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        pauses = itertools.chain(
            (1.0, 1.0, 2.0), itertools.repeat(SOUND)
        )  # two soon after a start, then later ones
        while (left := self.end - time.monotonic()) > 0:
            time.sleep(min(left, next(pauses) + random.uniform(0.0, 1.0)))
            if time.monotonic() < self.end:
                self.kill()
        for thread in threads:
            thread.join()
        assert not self.wrong, self.wrong[:5]

    def kill(self) -> None:
        """Kill the decider process."""
        with self.server.udp() as peer:
            pid = exchange(peer, "ping")["pid"]
        assert pid != self.server.process.pid, "the decider is a process of its own"
        os.kill(pid, signal.SIGKILL)
        self.seen["killed"] += 1

    def work(self, number: int) -> None:
        """Send messages about calls that no other thread uses."""
        try:
            chance = random.Random(number)
            mine: list[Call] = []
            with self.server.udp() as peer:
                while time.monotonic() < self.end:
                    self.act(peer, chance, mine)
                    if len(mine) > 50:
                        del mine[:25]  # their stops are lost
        except BaseException as error:
            self.wrong.append(repr(error))
            raise

    def act(self, peer: Switch, chance: random.Random, mine: list[Call]) -> None:
        what = chance.random()
        if not mine or what < 0.55:
            mine.append(Call(f"c{chance.randrange(10**12)}", chance.choice(list(KINDS))))
            with self.lock:
                now = time.monotonic()
                self.calls = [call for call in self.calls if call.maybe_until > now - 10]
            if not self.authorize(peer, mine[-1]) and chance.random() < 0.9:
                mine.pop()  # usually no message follows for a call that was rejected
            return
        some = chance.choice(mine)
        if what < 0.60:
            self.authorize(peer, some)  # a duplicate, or a much delayed message
        elif what < 0.62:
            some.fields = Call("", some.kind).fields  # other content under the same id
            self.authorize(peer, some)
        elif what < 0.75:
            self.progress(peer, some, "start")
        elif what < 0.84:
            self.progress(peer, some, "update", interval=INTERVAL)
        elif what < 0.87:
            self.progress(peer, some, "update", **some.fields)
        elif what < 0.98:
            self.stop(peer, some)
        else:
            mine.remove(some)  # its stop is lost

    def authorize(self, peer: Switch, call: Call) -> bool:
        began, before = self.begin(call)
        result = exchange(peer, "authorize", call_id=call.id, **call.fields)
        ended = time.monotonic()
        reason = None if result["accepted"] else result["reason"]
        with self.lock:
            self.seen[reason or "accepted"] += 1
            call.maybe_until = ended + LEASE + SLACK
            if reason is None:
                if before < began:  # else it may be a retransmission, which takes no slot and renews no lease
                    self.check_room(call, began, ended)
                    call.sure_from, call.sure_until = ended, began + RESERVED
                    call.active = False
            elif reason == "invalid_request":
                assert result["field"] == "call_id"
            else:
                call.maybe_until = max(before, ended) if before > began else ended
                self.check_full(call, reason, began, ended)
        return reason is None

    def begin(self, call: Call) -> tuple[float, float]:
        """Begin a time in which the call may hold a slot. Return the start, and the end of the time before."""
        with self.lock:
            began = time.monotonic()
            before = call.maybe_until
            if all(call is not each for each in self.calls):  # the call had ended, and returns
                self.calls.append(call)
            if before < began:
                call.maybe_from = began
            call.maybe_until = inf
            return began, before

    def check_room(self, call: Call, began: float, ended: float) -> None:
        """Check that no level of the call was certainly full the whole time."""
        for level in KINDS[call.kind]:
            held = sum(
                each is not call
                and level in KINDS[each.kind]
                and each.sure_from <= began
                and each.sure_until > ended
                for each in self.calls
            )
            if held >= LIMITS[level]:
                self.wrong.append(f"{call.id} was accepted when {level} held {held}")

    def check_full(self, call: Call, reason: str, began: float, ended: float) -> None:
        """Check that the level that the reason names may have been full."""
        (level,) = [level for level in KINDS[call.kind] if level[0] == reason]
        held = sum(
            each is not call
            and level in KINDS[each.kind]
            and each.maybe_from <= ended
            and each.maybe_until >= began
            for each in self.calls
        )
        if held < LIMITS[level]:
            self.wrong.append(f"{call.id} was refused for {level} where at most {held} were held")

    def progress(self, peer: Switch, call: Call, method: str, **more: object) -> None:
        began, before = self.begin(call)
        result = exchange(peer, method, call_id=call.id, **more)
        ended = time.monotonic()
        with self.lock:
            unknown = result.get("unknown", False)
            self.seen[f"{method} unknown" if unknown else method] += 1
            self.seen["overcommit"] += result.get("overcommit", False)
            if unknown:
                call.maybe_until = ended if before < began else max(before, ended)
                return
            call.maybe_until = ended + LEASE + SLACK
            if method == "update" or not call.active:  # a second start changes nothing
                if call.sure_until < began:
                    call.sure_from = ended
                call.sure_until = began + ACTIVE
            call.active = True

    def stop(self, peer: Switch, call: Call) -> None:
        with self.lock:
            call.sure_until = min(call.sure_until, time.monotonic())
        result = exchange(peer, "stop", call_id=call.id)
        with self.lock:
            call.maybe_until = min(call.maybe_until, time.monotonic())
            call.active = False
            self.seen["stop unknown" if result.get("unknown") else "stop"] += 1


_numbers = itertools.count(1)


def exchange(peer: Switch, method: str, **params: object) -> Any:
    """Repeat a message until it is answered, as switches do. Return the result."""
    number = next(_numbers)
    message = request(method, number, **params)
    peer.socket.settimeout(0.3)
    for _ in range(100):
        try:
            peer.send(message)
            while (answer := peer.receive())["id"] != number:
                pass  # a repeated message may be answered twice
        except (TimeoutError, ConnectionRefusedError):
            continue
        return answer["result"]
    raise AssertionError(f"no answer to {message!r}")


@pytest.mark.parametrize("seconds", amounts(times(60, 5), 600, seconds=660))
def test_no_slot_leaks_under_random_faults(tmp_path: Path, seconds: int) -> None:
    put_rows(tmp_path / "store", ACCOUNTS, CLIENTS)
    config = (
        f"[calls]\npath = 'calls'\nmax_legs = 1000\nreserved = {RESERVED}\nactive = {ACTIVE}\n"
        f"lapsed_max = 500\nglobal_capacity = {GLOBAL}\n"
    )
    with serving(tmp_path, config) as server:
        soak = Soak(server, seconds)
        soak.run()
        print(dict(soak.seen))
        assert {"accepted", "account_capacity", "client_capacity", "global_capacity"} <= set(soak.seen)
        wait_for(lambda: nothing_is_held(server), LEASE + 2 * SLACK)


def nothing_is_held(server: Server) -> bool:
    """Fill every level and free it again. An empty set takes exactly as many calls as each limit allows."""
    asked = [("4", 10), ("1", 10), ("2", 15), ("3", 25)]
    refused = {"1": "account_capacity", "2": "client_capacity", "3": "reseller_capacity", "4": "global_capacity"}
    let_in: list[str] = []
    with server.udp() as peer:
        for kind, most in asked:
            for _ in range(most):
                call = Call(f"end {next(_numbers)}", kind)
                if exchange(peer, "authorize", call_id=call.id, **call.fields)["accepted"]:
                    let_in.append(call.id)
        right = len(let_in) == sum(most for _, most in asked) == GLOBAL
        for kind, reason in refused.items():
            call = Call(f"end {next(_numbers)}", kind)
            right &= exchange(peer, "authorize", call_id=call.id, **call.fields).get("reason") == reason
        for call_id in let_in:
            exchange(peer, "stop", call_id=call_id)
    return right
