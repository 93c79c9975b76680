"""The pages' numbers of the shipped models are those of their cards, export/weights/*.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from export.models import MODELS

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/support.md", "docs/benchmarks.md", "docs/int8.md")
SHIPPED = [spec.name for spec in MODELS.values() if spec.weights is not None]
_OF_ITSELF = "ghostshiftaddnet"
"""The model of a row about top-1 that names none."""
_FLOAT, _INTEGER = {"float", "float32"}, {"int8", "8 bits"}
_PERCENT = re.compile(r"(\d+\.\d+) ?%")


@dataclass(frozen=True)
class Claim:
    """An accuracy in a table: `kind` is the card's row, `value` as the page writes it."""

    model: str
    kind: str
    value: str


def _card(model: str, kind: str) -> str | None:
    """The card's number in percent, such as "89.57"; None where it has none."""
    text = (REPOSITORY / "export" / "weights" / f"{model}.md").read_text()
    found = re.search(rf"^\| {re.escape(kind)} \| \**([\d.]+)%", text, re.MULTILINE)
    return found.group(1) if found else None


TOP1, INT8, TOP5 = "top-1, 10,000 test images", "top-1, int8", "top-5"


def _tables(text: str) -> Iterator[list[list[str]]]:
    """The cells of each table, row by row, the header first."""
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip()[1:-1].split("|")]
            for line in table.split("\n")
            if line
        ]
        yield [rows[0], *rows[2:]]


def _kind(header: str, first: str) -> str | None:
    """Which accuracy a column has in the row that begins with `first`; None for another thing."""
    if header.startswith("top-1"):
        return INT8 if "int8" in header else TOP1
    # A calibration method other than the default one has no number on a card.
    if "top-1" not in first and not _named(first):
        return None
    if re.search("minmax|percentile|entropy", first):
        return None
    if header in _INTEGER or (header == "number" and re.search("8-bit|int8", first)):
        return INT8
    return TOP1 if header in _FLOAT or header == "number" else None


def _named(cell: str) -> str | None:
    return next((name for name in SHIPPED if f"`{name}`" in cell), None)


def claims(text: str) -> Iterator[Claim]:
    """The accuracies of shipped models in a page's tables."""
    for header, *rows in _tables(text):
        for first, *cells in rows:
            for title, cell in zip(header[1:], cells, strict=True):
                kind = _kind(title, first)
                numbers = _PERCENT.findall(cell)
                if kind is None or not numbers:
                    continue
                model = _named(first) or _named(title) or _OF_ITSELF
                yield Claim(model, kind, numbers[0])
                if "top-5" in first and kind == TOP1:
                    yield Claim(model, TOP5, numbers[1])


def _others(text: str) -> Iterator[str]:
    """Numbers in the first cells of rows about top-1: they are of another model, for comparison."""
    for _, *rows in _tables(text):
        for first, *_ in rows:
            if "top-1" in first:
                yield from _PERCENT.findall(first)


def wrong(text: str) -> list[str]:
    """A line for each accuracy that a card contradicts, or that is on none."""
    known = {_card(name, TOP1) for name in SHIPPED}
    unknown = [f"{number} %: on no card" for number in _others(text) if number not in known]
    return unknown + [
        f"{claim.model}, {claim.kind}: {claim.value} %, on its card {number}"
        for claim in claims(text)
        if claim.value != (number := _card(claim.model, claim.kind))
    ]


@pytest.mark.parametrize("page", PAGES)
def test_accuracies_are_those_of_the_cards(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    assert {claim.kind for claim in claims(text)} & {TOP1, INT8}, "the page has no accuracy"
    assert wrong(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "| `MODEL` | top-1 |\n|---|---|\n| `ghostshiftaddnet` | 10.00 % |\n",
        "| x | float32 | 8 bits |\n|---|---|---|\n| top-1 | 10.00 % | |\n",
        "| x | float32 | 8 bits |\n|---|---|---|\n| top-1 | | 10.00 % |\n",
        "| what | number |\n|---|---|\n| `ghostnet_cifar10`, the baseline | 10.00 % |\n",
        "| x | float32 |\n|---|---|\n| top-1 (a GhostNet: 10.00 %) | |\n",
        "| what | number |\n|---|---|\n| on 8-bit integers, top-1 | 10.00 % |\n",
    ],
)
def test_a_wrong_accuracy_is_found(text: str) -> None:
    assert len(wrong(text)) == 1


def test_the_table_of_models_has_all_of_them() -> None:
    """With what is known of their weights."""
    rows = {
        cells[0].strip("`"): cells
        for header, *body in _tables((REPOSITORY / "docs/support.md").read_text())
        if header[0] == "`MODEL`"
        for cells in body
    }
    assert set(rows) == set(MODELS)
    for spec in MODELS.values():
        *_, weights, top1 = rows[spec.name]
        assert rows[spec.name][1] == "x".join(map(str, spec.input_size))
        assert weights == ("shipped" if spec.weights else "none shipped")
        assert bool(top1) == (spec.weights is not None)


COUNTS = {
    "parameters": "parameters",
    "multiplied terms": "terms multiplied an image",
    "shifted": "terms shifted and added",
    "adder terms": "absolute differences added",
}
"""Columns of the table of models, and the rows of the cards that have them in full."""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_table_of_models_rounds_the_counts_of_the_cards(name: str) -> None:
    tables = _tables((REPOSITORY / "docs/support.md").read_text())
    header, *rows = next(table for table in tables if table[0][0] == "`MODEL`")
    (row,) = (cells for cells in rows if cells[0] == f"`{name}`")
    card = (REPOSITORY / "export" / "weights" / f"{name}.md").read_text()
    for column, count in COUNTS.items():
        (number,) = re.findall(rf"^\| {count} \| ([\d,]+) \|", card, re.MULTILINE)
        millions = int(number.replace(",", "")) / 1e6
        digits = 2 if column == "parameters" else 1
        expected = f"{millions:.{digits}f} M" if millions else "0"
        assert row[header.index(column)] == expected
