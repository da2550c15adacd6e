"""Progress on the terminal (standard error), so that results on standard output stay clean."""

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
    """A bar from 0 to `total`; the function it gives moves it on by so many. It vanishes should the work fail.

    Without a terminal, `title` is printed at the first move instead: once all input has been accepted.
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
            bars.live.transient = True  # the one line that says why is to stand alone
            raise
        bars.update(task, completed=total)


@contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done, until it is; the function it gives changes it.

    Without a terminal, `title` is printed at the first change instead.
    """
    if not console.is_interactive:
        yield _once(title)
        return
    with console.status(Text(title), spinner="line") as line:
        yield lambda message: line.update(Text(message))


def note(message: str) -> None:
    """A line of plain text beside the progress."""
    console.print(Text(message), soft_wrap=True)


def _once(title: str) -> Callable[[object], None]:
    """A function that says `title` when it is called for the first time."""
    left = [title]

    def say(_: object) -> None:
        if left:
            note(left.pop())

    return say
