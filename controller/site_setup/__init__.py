"""First configuration of a site: questions, answers, the file that is made of them, forms. Sans-IO."""


class SetupError(Exception):
    """Base class of the errors of this package. Its text is for a person."""


class AnswerError(SetupError):
    """An answer that cannot be used; the text states what is accepted, in the person's language."""
