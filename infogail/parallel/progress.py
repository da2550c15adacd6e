"""Progress on the terminal (standard error), so that results on standard output stay clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from infogail.parallel.launch import leads

console = Console(stderr=True, quiet=not leads())


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar from 0 to `total`; the function it gives moves it on by so many. It vanishes should the work fail."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)
    task = bars.add_task(title, total=total)
    with bars.live:
        try:
            yield lambda count: bars.advance(task, count)
        except BaseException:
            bars.live.transient = True  # the one line that says why is to stand alone
            raise
        bars.update(task, completed=total)
    if not console.is_interactive:
        console.print()  # ends the bar's line
