"""What ``/metrics`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from identengine import counters
from identengine.errors import StoreError
from identengine.wire.control import Status, Use


class _Numbers:
    def __init__(self, folder: Path, status: Status | None) -> None:
        self._folder = folder
        self._status = status

    def collect(self):  # type: ignore[no-untyped-def]
        yield GaugeMetricFamily(
            "identengine_up", "1 where the process that decides answers", int(bool(self._status))
        )
        try:
            values = counters.read(self._folder).values
        except StoreError:
            return
        for known in counters.REGISTRY:
            family = CounterMetricFamily if known.kind == "counter" else GaugeMetricFamily
            yield family(f"identengine_{known.name}", known.what, values[known.name])


def exposition(folder: Path, status: Status | None, accounts: Sequence[Use], clients: Sequence[Use]) -> bytes:
    """Return the metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(folder, status))
    return generate_latest(registry)
