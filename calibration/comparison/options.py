"""The options that the commands on models have in common."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from runtime.core.places import ROOT

MODELS = Path(ROOT) / "build" / "models"
"""Where the exporter and the calibration write, and where a model is looked for by its name."""


def add_report_dir(parser: ArgumentParser) -> None:
    """`--report-dir`, a Path."""
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path(ROOT) / "build" / "reports",
        metavar="DIR",
        help="where the report goes (default: build/reports of the checkout)",
    )


def add_summary(parser: ArgumentParser) -> None:
    """`--summary`, whether the terminal is to have the summary of a report and not its tables."""
    parser.add_argument(
        "--summary",
        action="store_true",
        help="print the worst layer and the logits only; the report has every layer",
    )


def add_library(parser: ArgumentParser, others: str = "") -> None:
    """`--library`; `others` says which other library it may name."""
    parser.add_argument(
        "--library",
        metavar="PATH",
        help="the operator library (default: $SHIFTADD_ORT_LIBRARY, or build/plugins/ of the "
        f"checkout){others}",
    )
