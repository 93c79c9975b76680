"""What the pages name exists: links, targets of the Makefile, modules, files, sections."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
ROOMS = {
    path.name
    for path in REPOSITORY.iterdir()
    if path.is_dir() and not path.name.startswith(".") and path.name != "build"
}
"""The folders of the repository itself: paths that begin with another name are not its files."""

_SOURCES = (".py", ".cpp", ".h", ".cu", ".cuh", ".sh", ".cmake", ".toml")
_LONGEST_README = 70  # lines: one screen

Check = Callable[[Path, str], Iterator[str]]
"""What is wrong with a page at a path, given its text: one line for each fault."""


def _files() -> set[str]:
    """Paths of the repository's files, relative to it."""
    found = [path for room in ROOMS for path in (REPOSITORY / room).rglob("*")]
    found += list(REPOSITORY.iterdir())
    return {path.relative_to(REPOSITORY).as_posix() for path in found if path.is_file()}


FILES = _files()


def _fenced(text: str) -> list[str]:
    """The contents of the fenced blocks, without the shell's comments."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"(^|\s)#.*", "", block) for block in blocks]


def _prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _code(text: str) -> list[str]:
    """Everything that is set as code: spans and blocks."""
    return re.findall(r"`([^`]+)`", _prose(text)) + _fenced(text)


def _anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ +(.*?) *$", _prose(text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Relative links to files that are not there, or to headings that they do not have."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and anchor not in _anchors(text if target == page else target.read_text()):
            yield f"{link}: no such heading"


def _targets() -> set[str]:
    makefile = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))


def unknown_targets(_page: Path, text: str) -> Iterator[str]:
    """Calls of make with a target or a variable that the Makefile does not have."""
    makefile = (REPOSITORY / "Makefile").read_text()
    for code in _code(text):
        for target, rest in re.findall(r"\bmake ([a-z][a-z0-9-]*)([^\n]*)", code):
            if target not in _targets():
                yield f"make {target}: no such target"
            outside = re.sub(r'"[^"]*"', "", rest)
            for name in re.findall(r"\b([A-Z][A-Z0-9_]*)=", outside):
                if not re.search(rf"\b{name}\b", makefile):
                    yield f"make {target} {name}=: no such variable"


def missing_modules(_page: Path, text: str) -> Iterator[str]:
    """Modules of the repository that `python -m` could not run."""
    for module in re.findall(r"python3? -m ([\w.]+)", "\n".join(_code(text))):
        path = module.replace(".", "/")
        ours = path.split("/")[0] in ROOMS
        if ours and not {f"{path}.py", f"{path}/__main__.py"} & FILES:
            yield f"python -m {module}: no such module"


_READERS = "mine/"
"""Where a page has its reader put files of their own."""


def missing_files(_page: Path, text: str) -> Iterator[str]:
    """Paths within the repository, and names of source files, that lead to nothing."""
    for token in " ".join(_code(text)).split():
        name = token.strip(".,;:()")
        if not re.fullmatch(r"[\w./*-]+", name) or name.startswith(_READERS):
            continue
        if "/" in name and name.split("/")[0] in ROOMS:
            if not list(REPOSITORY.glob(name.rstrip("/"))):
                yield f"{name}: no such path"
        elif name.endswith(_SOURCES) and not any(f"/{file}".endswith(f"/{name}") for file in FILES):
            yield f"{name}: no file of that name"


CHECKS = [broken_links, unknown_targets, missing_modules, missing_files]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
@pytest.mark.parametrize("check", CHECKS)
def test_what_a_page_names_exists(page: Path, check: Check) -> None:
    assert list(check(page, page.read_text())) == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (broken_links, "[a page](docs/nowhere.md)"),
        (broken_links, "[a heading](docs/operators.md#no-such-heading)"),
        (broken_links, "# One heading\n\n[another](#two-headings)"),
        (unknown_targets, "`make coffee`"),
        (unknown_targets, "```\nmake export COLOUR=red\n```"),
        (missing_modules, "`python -m export.coffee`"),
        (missing_modules, "`python -m export.operators`"),
        (missing_files, "`export/coffee.py`"),
        (missing_files, "```\npython runtime/coffee.py photo.jpg\n```"),
        (missing_files, "`coffee_machine.cpp`"),
    ],
)
def test_what_does_not_exist_is_found(check: Check, text: str) -> None:
    assert len(list(check(REPOSITORY / "README.md", text))) == 1


def test_readme_is_one_screen() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= _LONGEST_README


def test_the_page_of_commands_has_all_of_them() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    helped = re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE)
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", (REPOSITORY / "docs/commands.md").read_text()))
    assert helped
    assert sorted(set(helped) - named) == []


def _citations() -> list[tuple[str, str]]:
    """File and section of each "docs/operators.md, section 5.2" in the sources."""
    found = []
    for file in sorted(FILES):
        if file.endswith((*_SOURCES, "CMakeLists.txt")) and file != "tests/docs/test_pages.py":
            # A citation may be broken over two lines of a comment.
            text = re.sub(r"\s*\n\s*(//|#)?\s*", " ", (REPOSITORY / file).read_text())
            cited = re.findall(
                r"operators\.md, sections? ([\d.]*\d(?:(?: and |, )[\d.]*\d)*)", text
            )
            found += [(file, section) for group in cited for section in re.split(" and |, ", group)]
    return found


def test_cited_sections_of_the_specification_exist() -> None:
    page = (REPOSITORY / "docs" / "operators.md").read_text()
    sections = set(re.findall(r"^##+ ([\d.]*\d)\.? ", page, re.MULTILINE))
    citations = _citations()
    assert len(citations) > 10
    assert [citation for citation in citations if citation[1] not in sections] == []
