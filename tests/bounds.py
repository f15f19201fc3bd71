"""Bound of the waits of tests."""

HANG_S = 60.0
"""Longest wait for what comes at once (s). It ends a hang only: a busy machine must not fail a test."""
