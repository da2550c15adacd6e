"""The error for input that cannot be used."""


class BadInput(ValueError):
    """User input that cannot be used; the message is one line that says what, where, and the remedy."""


def one_line(error: Exception) -> str:
    """The error's message on one line, or else the name of its class."""
    return " ".join(str(error).split()) or type(error).__name__
