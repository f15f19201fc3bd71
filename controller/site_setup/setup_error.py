"""Errors of the setup."""

from __future__ import annotations


class SetupError(Exception):
    """Base class of the errors of this package. Its text is for a person."""


class AnswerError(SetupError):
    """An answer that cannot be used; the text states what is accepted, in the person's language."""
