"""Sphinx builds the documentation: `make docs`, then open docs/_build/index.html."""

project = "InfoGAIL driving suite"
author = "The InfoGAIL driving suite's authors"
copyright = f"2026, {author}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project

myst_heading_anchors = 3  # links to headings as on GitHub: results.md#pass-and-turn

default_role = "code"  # docstrings write `name`, in Markdown's manner
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Other projects' names are not linked, so that building needs no network; our own must exist.
nitpick_ignore_regex = [("py:.*", r"(?!infogail).*")]


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_first_line, priority=0)


def keep_first_line(app, what, name, obj, options, lines):
    """Napoleon takes what is before a colon in an attribute's first line for its type; here it is a sentence."""
    if lines and lines[0].startswith("Alias for field number"):  # of a named tuple, and says nothing
        lines.clear()
    elif what in ("attribute", "data", "property"):
        lines.insert(0, "\\")  # with the line break, an escaped space: nothing
