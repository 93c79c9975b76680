"""The report of a comparison: two tables and what they mean, for the terminal and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.comparison import page, text
from runtime.console.commandline import show


@dataclass(frozen=True)
class Table:
    """A table by its titles and its rows, which have a cell for each title."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows."""

    png: bytes
    description: str


@dataclass(frozen=True)
class Report:
    """What a comparison of two models found.

    Attributes:
        facts: what was compared with what, name to value.
        summary: the worst layer, the logits and what is broken, a short line each.
        verdicts: what was found, in sentences.
        end_to_end, layers: the figures.
        logits: the picture of the end-to-end comparison.
        method: what the figures of the layers mean, as HTML.
        pictures: what the figures of the layers look like.
    """

    title: str
    facts: Mapping[str, str]
    summary: Sequence[str]
    verdicts: Sequence[str]
    passed: bool
    end_to_end: Table
    logits: Picture
    method: str
    layers: Table
    pictures: Sequence[Picture]

    def lines(self) -> Iterator[str]:
        """The tables and the verdicts, for the terminal."""
        yield from text.table(self.layers.header, self.layers.rows)
        yield ""
        yield from text.table(self.end_to_end.header, self.end_to_end.rows)
        yield ""
        yield from self.verdicts

    def publish(self, path: Path, short: bool = False) -> None:
        """Writes the page to `path` and prints where it is, behind the lines or the summary."""
        self.write(path)
        for line in self.summary if short else self.lines():
            show(line)
        show(f"report: {path}")

    def write(self, path: Path) -> None:
        """Writes the page to `path`, whose folder is made; either all of it or nothing.

        Raises ShiftAddError where the file cannot be written.
        """
        body = [
            page.verdicts(self.verdicts, self.passed),
            "<h2>End to end</h2>",
            page.table(self.end_to_end.header, self.end_to_end.rows),
            page.picture(self.logits.png, self.logits.description),
            "<h2>Layer by layer</h2>",
            self.method,
            *(page.picture(each.png, each.description) for each in self.pictures),
            page.table(self.layers.header, self.layers.rows),
            "<h2>What was compared</h2>",
            page.facts(self.facts),
        ]
        page.write_page(path, self.title, body)
