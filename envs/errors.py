"""The error for input that cannot be used."""


class BadInput(ValueError):
    """User input that cannot be used; the message is one line that says what, where, and the remedy."""
