"""docs/operators.md and the operator table say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export.operator_table import ACTIVATIONS, CONTRACT_VERSION, LAYOUTS, OPERATORS, Operator

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operators.md").read_text()
TITLES = {
    "ShiftConv": "2. ShiftConv",
    "AdderConv": "3. AdderConv",
    "QLinearShiftConv": "5. QLinearShiftConv and QLinearAdderConv",
    "QLinearAdderConv": "5. QLinearShiftConv and QLinearAdderConv",
}


def chapter(title: str) -> str:
    """The text below a heading, down to the next one of any level."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a text's first table, without its header."""
    lines = re.search(r"^\|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1].splitlines()]


def type_of(cell: str, operator: str) -> str:
    """The element type that a cell gives; W of the two integer operators differs."""
    kind = "adder" if "Adder" in operator else "shift"
    for part in cell.split(";"):
        name, colon, rest = part.partition(":")
        if not colon or name.strip() == kind:
            return re.match(r"\s*(\w+)", rest if colon else part)[1]  # type: ignore[index]
    raise AssertionError(cell)


@pytest.mark.parametrize("name", TITLES)
def test_inputs(name: str) -> None:
    table = rows(chapter(TITLES[name]))
    said = [(row[0], type_of(row[1], name)) for row in table]
    assert said == [(entry.name, entry.type) for entry in OPERATORS[name].inputs]


def test_inputs_of_the_addition() -> None:
    signature = re.search(r"`QLinearAdd\(([^)]*)\)`", chapter("6. QLinearAdd"))
    assert signature is not None
    assert tuple(signature[1].split(", ")) == OPERATORS["QLinearAdd"].input_names
    assert OPERATORS["QLinearAdd"].attributes == ()


def test_every_convolution_has_a_section_whose_inputs_are_compared() -> None:
    assert list(TITLES) == [name for name, entry in OPERATORS.items() if entry.attributes]


def test_every_operator_is_in_the_first_table() -> None:
    assert [row[0].strip("`") for row in rows(PAGE)] == list(OPERATORS)


def window(operator: Operator) -> list[tuple[str, int, int]]:
    """The attributes of integers without choices: name, length and least value."""
    integers = [a for a in operator.attributes if a.type != "string" and not a.choices]
    return [(a.name, a.length, a.least) for a in integers]


def test_window() -> None:
    said = []
    for name, kind, values in rows(chapter("1.2 Window")):
        length = re.match(r"(\d+) ints", kind)
        least = re.match(r"from (\d+)", values)
        assert least is not None
        said.append((name.strip("`"), int(length[1]) if length else 1, int(least[1])))
    convolutions = [operator for operator in OPERATORS.values() if operator.attributes]
    assert [window(operator) for operator in convolutions] == [said] * len(convolutions)


def test_activations_and_layouts() -> None:
    assert [row[0].strip("`") for row in rows(chapter("1.3 Activation"))] == list(ACTIVATIONS)
    names = ", ".join(f"`{layout}`" for layout in LAYOUTS).replace(", ", " or ")
    assert f"`layout` is a string, {names}" in chapter("5.3 Layout")


def test_version() -> None:
    assert f"it is {CONTRACT_VERSION}." in chapter("7. Versions")
