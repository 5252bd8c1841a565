"""Benchmarks: seeded books, requests with known answers, and ratios measured in one run."""
