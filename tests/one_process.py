"""For tests that are not about processes: to start one takes longer than their work."""

from contextlib import contextmanager


@contextmanager
def in_this_process(processes, on_report=lambda amount: None):
    """In place of `infogail.parallel.workers.workers`: one task after the other, here."""
    yield map
