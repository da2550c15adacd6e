"""`python -m infogail.cli`, the same as `python -m infogail`."""

from infogail.cli import main

main()
