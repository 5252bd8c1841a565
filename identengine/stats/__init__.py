"""Counters and gauges: counted for all interfaces alike, kept in a mapped file, shown to Prometheus."""
