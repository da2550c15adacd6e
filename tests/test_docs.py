"""README and docs: links lead somewhere, commands parse, examples import what exists. No network."""

import ast
import importlib
import re
import shlex
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from infogail.cli import parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LARGEST_README = 9_000  # [bytes]


def tokens(page):
    """All Markdown tokens of a page, inline ones after the block that holds them."""
    for block in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        yield block
        yield from block.children or ()


def anchors(page):
    """Of a page's headings, as GitHub and MyST name them."""
    found = []
    for opening, title in pairwise(tokens(page)):
        if opening.type == "heading_open":
            text = "".join(part.content for part in title.children if part.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return found


def links(page):
    """Where links and pictures lead to that are not on the network."""
    for token in tokens(page):
        target = token.attrGet("href") or token.attrGet("src")
        if target and not urlsplit(target).scheme:
            yield unquote(target)


def blocks(page, language):
    """Contents of the fenced blocks in `language`."""
    return [token.content for token in tokens(page) if token.type == "fence" and token.info == language]


def commands(page):
    """Arguments of each `infogail …`, or `python -m infogail …`, in the page's shell blocks."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            starts = [k for k, word in enumerate(words) if word == "infogail" and (k == 0 or words[k - 1] == "-m")]
            if starts:
                yield words[starts[0] + 1 :]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= LARGEST_README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(ROOT) and file.exists(), f"{page.name}: {target}: no such file"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_source_files_and_tests_exist(page):
    text = page.read_text()
    for name in re.findall(r"\b(?:infogail|envs|baselines|tests)/[\w/]+\.py\b", text):
        assert (ROOT / name).is_file(), f"{page.name}: {name}: no such file"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page):
    for arguments in commands(page):
        if "--resume" in arguments:  # its defaults are those of a run that is not here
            k = arguments.index("--resume")
            arguments = arguments[:k] + arguments[k + 2 :]
        if "--import" in arguments:  # of a module that is not here
            k = arguments.index("--import")
            arguments = arguments[:k] + arguments[k + 2 :]
        assert parse(arguments), arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_import_what_exists(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"


def test_every_page_is_in_the_table_of_contents():
    (contents,) = blocks(ROOT / "docs/index.md", "{toctree}")
    listed = {line for line in contents.splitlines() if line and not line.startswith(":")}
    assert listed == {page.stem for page in PAGES} - {"README", "index"}


def test_readme_shows_few_commands_and_pictures():
    readme = ROOT / "README.md"
    assert len(list(commands(readme))) <= 6
    assert sum(token.type == "image" for token in tokens(readme)) <= 4
