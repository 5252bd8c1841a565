"""Benchmarks: seeded books, requests with known answers, ratios measured in one run."""
