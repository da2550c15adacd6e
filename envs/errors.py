"""What the user gave cannot be used."""


class BadInput(ValueError):
    """What the user gave cannot be used: one line that says what, where, and the remedy."""
