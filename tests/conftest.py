"""Lets every test folder import :mod:`serving` (pytest puts this folder on the path)."""
