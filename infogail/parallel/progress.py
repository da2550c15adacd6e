"""Progress on standard error, to keep standard output clean for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from infogail.parallel.launch import leads

console = Console(stderr=True, quiet=not leads())


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Callable[[float], None]]:
    """A progress bar from 0 to `total`; yields a function that advances it by an amount. It vanishes on failure.

    Without a terminal, `title` is printed on the first advance instead, when all input has been accepted.
    """
    if not console.is_interactive:
        yield _once(title)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)
    task = bars.add_task(title, total=total)
    with bars.live:
        try:
            yield lambda count: bars.advance(task, count)
        except BaseException:
            bars.live.transient = True  # leave only the one-line error
            raise
        bars.update(task, completed=total)


@contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """A status line for work in progress; yields a function that changes its text.

    Without a terminal, `title` is printed on the first change instead.
    """
    if not console.is_interactive:
        yield _once(title)
        return
    with console.status(Text(title), spinner="line") as line:
        yield lambda message: line.update(Text(message))


def note(message: str) -> None:
    """Print a line of plain text without disturbing the progress display."""
    console.print(Text(message), soft_wrap=True)


def _once(title: str) -> Callable[[object], None]:
    """A function that prints `title` the first time it is called."""
    left = [title]

    def say(_: object) -> None:
        if left:
            note(left.pop())

    return say
