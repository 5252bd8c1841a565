"""Detects a Python that was built without profile-guided optimization, of which ``serve`` warns at start.

Such a build decides the same, only slower. Rule: an interpreter whose build record is unclear counts as optimized.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping

COST_PERCENT = 12
"""Additional processor time of a message in such a build, in percent, from its bytes to its answer.

Measured with CPython 3.11.7, built with no option of configure, against Debian's 3.11.2.
"""
_PROFILED = ("-fprofile-use", "-fprofile-instr-use")
"""Flags of gcc and clang that use a profile."""
_FLAGS = ("CFLAGS", "CFLAGS_NODIST", "PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS", "OPT")


def is_plain_build(variables: Mapping[str, object] | None = None) -> bool:
    """Return True if the interpreter was certainly built without profile-guided optimization.

    ``variables`` are those of :func:`sysconfig.get_config_vars`, by default this interpreter's. A plain build was
    configured without ``--enable-optimizations`` and compiled without a flag that uses a profile. It still has the
    flags that configure prepared for a profile (``PGO_PROF_USE_FLAG``). Debian optimizes by its own rules and
    leaves these flags empty.
    """
    known = sysconfig.get_config_vars() if variables is None else variables
    arguments, prepared = known.get("CONFIG_ARGS"), known.get("PGO_PROF_USE_FLAG")
    if not isinstance(arguments, str) or not isinstance(prepared, str) or not prepared.strip():
        return False
    if "--enable-optimizations" in arguments:
        return "--enable-optimizations=no" in arguments
    used = " ".join(str(known.get(name) or "") for name in _FLAGS)
    return not any(flag in used for flag in _PROFILED)
