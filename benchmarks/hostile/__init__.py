"""Attacks on a server, and the cost of the worst messages. ``python -m benchmarks.hostile`` runs them.

Rule: all traffic stays on loopback, every loop has a limit, and every process ends by its own pid.
"""
