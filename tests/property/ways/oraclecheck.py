"""Compares the answers to new calls with the oracle, which knows no limits and no faults."""

from __future__ import annotations

from property.ways.report import decoded
from property.ways.scenario import Datagrams, Scenario
from property.ways.sides import Observed

BEYOND = frozenset(
    (
        *("account_capacity", "client_capacity", "reseller_capacity", "global_capacity", "cps_exceeded"),
        *("overload", "not_ready", "internal_error"),
    )
)
"""Reasons that the oracle does not know."""


class OracleCheck:
    """A watcher of a comparison that holds the first side against the oracle."""

    def __init__(self) -> None:
        self.compared = 0
        """Number of answers that were compared."""

    def __call__(self, scenario: Scenario, number: int, seen: Observed) -> None:
        """Compare the answers of a step."""
        step = scenario.steps[number]
        if not isinstance(step, Datagrams):
            return
        answers = dict(seen["answers"])
        for place, sent in enumerate(step.sent):
            if sent.expected is None or place not in answers:
                continue
            answer = decoded(answers[place])
            result = answer.get("result")
            if result is None or result.get("reason") in BEYOND:
                continue
            fields = {name: value for name, value in result.items() if name != "lease"}
            self.compared += 1
            assert sent.expected.agrees(fields), (
                f"seed {scenario.seed}, step {number}, place {place}: {decoded(sent.raw)}\n"
                f"expected {sent.expected.fields}\nanswered {fields}"
            )
