"""Counters and gauges: counted for all interfaces alike, kept in a mapped file, shown to Prometheus.

Rule: :mod:`~identengine.stats.registry` is the one list of all counters. The file and the metrics derive from it.
"""
