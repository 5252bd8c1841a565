"""Counters and gauges: counted for all interfaces alike, kept in a mapped file, exported to Prometheus.

Rule: :mod:`~identengine.stats.registry` is the one list of all numbers. The file and the metrics derive from it.
"""
