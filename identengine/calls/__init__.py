"""The set of calls: who holds which slot (engine.md 5).

:mod:`~identengine.calls.levels` where a leg counts; :mod:`~identengine.calls.legs` what is known of one;
:mod:`~identengine.calls.backend` what is asked of the set and what it answers: the interface, by the batch;
:mod:`~identengine.calls.memory` the set itself, in memory; :mod:`~identengine.calls.journal` its mirror in LMDB.
"""
