"""Protocols and framings: bytes to requests, answers to bytes.

A protocol is a package or a module here. Rule: no I/O, no clock.
"""
