"""Protocols and framings: bytes to requests, answers to bytes.

A protocol is a room or module here. Rule: no I/O, no clock.
"""
