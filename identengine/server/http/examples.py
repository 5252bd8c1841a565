"""Example requests and their answers, for the description of the API and for docs/methods.md. No I/O.

They form one session, in this order, with the book of docs/methods.md. Tests send them to a real server.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from identengine.wire.program import PROGRAM

CALL = "sbc1-66f2a1-41"
"""The id of the call whose life the examples show."""
_TRUNK = {"account_id": 1, "account_name": "acme trunk", "client_id": 1, "client_name": "Acme Telecom"}
_PREMIUM = {"account_id": 2, "account_name": "acme premium", "client_id": 1, "client_name": "Acme Telecom"}
_VENDOR = {"account_id": 3, "account_name": "vendor london", "client_id": 2, "client_name": "Vendor Ltd"}
_IDENTIFIED = _PREMIUM | {
    "direction": "origination",
    "version": 1,
    "matched_by": "ip",
    "matched": "192.0.2.5",
    "ambiguous": False,
    "tech_prefix": "77#",
    "src_rewritten": False,
    "dst_number": "442079460123",
    "rate_table": "retail",
}


class Example(NamedTuple):
    """A request and its answer."""

    title: str
    """A sentence about the request."""
    params: dict[str, Any] | None
    """Parameters; None for a method that has none."""
    result: Any
    """Answer. The process differs from server to server: ``program``, ``uptime`` and ``pid`` of ``ping``."""


EXAMPLES: dict[str, tuple[Example, ...]] = {
    "authorize": (
        Example(
            "A customer's call arrives and is accepted.",
            {
                "call_id": CALL,
                "src_ip": "192.0.2.7",
                "src_port": 5060,
                "protocol": "SIP",
                "src_number": "+44 20 7946 0000",
                "dst_number": "+44 20 7946 0123",
            },
            {"accepted": True}
            | _TRUNK
            | {
                "direction": "origination",
                "version": 1,
                "matched_by": "ip",
                "matched": "192.0.2.0/28",
                "ambiguous": False,
                "src_number": "442079460000",
                "src_rewritten": False,
                "dst_number": "442079460123",
                "rate_table": "retail",
                "lease": 200,
            },
        ),
        Example(
            "The same call continues to a vendor that the switch has chosen.",
            {
                "call_id": CALL,
                "leg_id": "1",
                "direction": "termination",
                "account_id": 3,
                "src_number": "442079460000",
                "dst_number": "442079460123",
            },
            {"accepted": True}
            | _VENDOR
            | {
                "direction": "termination",
                "version": 1,
                "matched_by": "account_id",
                "ambiguous": False,
                "src_number": "442079460000",
                "src_rewritten": False,
                "dst_number": "442079460123",
                "lease": 200,
                "host": "198.51.100.20",
                "port": 5060,
                "protocol": "SIP",
            },
        ),
        Example(
            "A second call of the customer is rejected, since its account may have one call at a time.",
            {"call_id": "sbc1-66f2a1-42", "src_ip": "192.0.2.7", "dst_number": "442079460124"},
            {"accepted": False}
            | _TRUNK
            | {
                "direction": "origination",
                "version": 1,
                "reason": "account_capacity",
                "sip_code": 480,
                "q850": 34,
            },
        ),
    ),
    "identify": (
        Example(
            "A call with a tech prefix is decided, and no slot is reserved.",
            {"src_ip": "192.0.2.5", "dst_number": "77#442079460123"},
            {"accepted": True} | _IDENTIFIED,
        ),
    ),
    "explain": (
        Example(
            "The same request shows two accounts; the longer network mask decides between them.",
            {"src_ip": "192.0.2.5", "dst_number": "77#442079460123"},
            {
                "decision": {"accepted": True} | _IDENTIFIED,
                "candidates": [
                    _PREMIUM
                    | {
                        "matched_by": "ip",
                        "matched": "192.0.2.5",
                        "rank": {"mask": 32, "tech_prefix": 3, "gateway": False, "port": False, "protocol": False},
                        "ruled_out_by": None,
                    },
                    _TRUNK
                    | {
                        "matched_by": "ip",
                        "matched": "192.0.2.0/28",
                        "rank": {"mask": 28, "tech_prefix": 0, "gateway": False, "port": False, "protocol": False},
                        "ruled_out_by": "rank",
                    },
                ],
                "cut": False,
                "hidden": 0,
            },
        ),
    ),
    "start": (Example("The call was answered: both legs become active.", {"call_id": CALL}, {"ok": True}),),
    "update": (
        Example(
            "The call continues; the next update follows in 600 seconds.",
            {"call_id": CALL, "interval": 600},
            {"ok": True},
        ),
    ),
    "stop": (
        Example(
            "The vendor's leg has ended; the customer's leg continues.",
            {"call_id": CALL, "direction": "termination", "leg_id": "1"},
            {"ok": True, "freed": 1},
        ),
        Example("The whole call has ended.", {"call_id": CALL}, {"ok": True, "freed": 1}),
        Example("A repeated stop is harmless.", {"call_id": CALL}, {"ok": True, "unknown": True, "freed": 0}),
    ),
    "sync": (
        Example(
            "The switch lists its only call, which the engine does not know.",
            {"list_id": "2026-11-30T12:05", "calls": [["sbc1-66f2a1-43", None, "origination"]]},
            {"ok": True, "missing": 1, "freed": 0},
        ),
    ),
    "switch_up": (Example("The switch has started. It had no older calls.", None, {"ok": True, "freed": 0}),),
    "switch_down": (Example("The switch stops. It had no calls.", None, {"ok": True, "freed": 0}),),
    "ping": (
        Example("The server decides.", None, {"program": PROGRAM, "version": 1, "uptime": 86.531, "pid": 4711}),
    ),
    "healthz": (Example("The process is alive.", None, {"alive": True}),),
    "readyz": (Example("Calls may be sent to this server.", None, {"ready": True, "reasons": []}),),
    "metrics": (
        Example(
            "One of the metrics: the decider answers.",
            None,
            "# TYPE identengine_up gauge\nidentengine_up 1.0\n",
        ),
    ),
}
"""The examples of each operation, by its name."""
