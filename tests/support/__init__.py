"""Helpers that tests share: servers and their clients, books, operators, certificates, programs, clocks."""

from __future__ import annotations

from pathlib import Path

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[2]
"""Root folder of the repository."""
