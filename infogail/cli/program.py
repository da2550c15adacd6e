"""Run `infogail COMMAND` and turn errors into exit statuses."""

from __future__ import annotations

import os
import re
import sys
from typing import NoReturn

from infogail.cli.parsing import parse
from infogail.cli.training import Train
from infogail.envs.catalogue import import_here
from infogail.envs.errors import BadInput
from infogail.parallel.launch import launched
from infogail.parallel.signals import Stopped
from infogail.parallel.terminal import write_plainly

OUT_OF_MEMORY = "out of memory; give a smaller --num-envs, --hidden or other size"


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status: 0, 2 for bad input (with one line on standard error), or 130 for Ctrl-C."""
    # Let idle threads sleep: on shared cores, spinning threads slow each other down a hundredfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    write_plainly()
    try:
        words = sys.argv[1:] if arguments is None else arguments
        command = parse(import_named(words) or ["--help"])
        if launched() and not isinstance(command, Train):
            raise BadInput(f"{type(command).__name__.lower()}: torchrun is only for training; run this without it")
        command.run()
    except Stopped as stop:
        fail(stop.message, stop.status)
    except KeyboardInterrupt:
        fail("interrupted; nothing was left half-written", 130)
    except BadInput as error:
        fail(str(error), 2)
    except MemoryError:
        fail(OUT_OF_MEMORY, 2)
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # torch's wording
            raise
        fail(OUT_OF_MEMORY, 2)
    except UnicodeEncodeError as error:
        fail(f"{error.object}: contains bytes that are not text in this locale; set PYTHONUTF8=1, or rename it", 2)
    except OSError as error:
        if not error.filename:
            fail(str(error), 2)
        name = re.sub(r"\.([^/]*)\.\d+\.partial$", r"\1", str(error.filename))  # the final file name
        fail(f"{name}: {error.strerror}; give a writable path", 2)
    finally:
        if launched():
            from infogail.parallel.distributed import leave

            leave()


def import_named(arguments: list[str]) -> list[str]:
    """Import each MODULE after `--import`, such as one that registers environments; returns the other arguments.

    Raises:
        BadInput: there is no such module.
    """
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word != "--import":
            others.append(word)
            continue
        module = next(words, "")
        import_here(module, f"--import {module}")
    return others


def fail(problem: str, status: int) -> NoReturn:
    """Print one line on standard error and exit."""
    problem = " ".join(problem.splitlines())
    if launched():
        from infogail.parallel.distributed import print_once

        print_once(f"infogail: {problem}")
    else:
        print(f"infogail: {problem}", file=sys.stderr)
    sys.exit(status)
