"""The command-line options by which every command takes a network, and what comes of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from export import labels
from export.checkpoint import carried_spec, load_network
from export.loading import arguments
from export.loading.published import FIELDS, published
from export.loading.resolve import FORMS, Source, check_name, resolve
from export.models import MODELS
from export.onnx_export.refusals import explain
from export.recognition import FIXED_POINT, FixedPoint, Swap, swap_layers
from export.spec import CompleteSpec, Spec, complete
from runtime.core.errors import ShiftAddError, one_line
from runtime.core.metadata import NO_IMAGE

_CHECKPOINT = "carried by the checkpoint"


@dataclass(frozen=True)
class OpenedModel:
    """A network that is ready to be exported, trained or compared with.

    Attributes:
        network: in eval mode, the authors' layers replaced.
        original: the same network before that.
        sha256: of the file its weights are from; "" for none.
        spec: complete and checked.
        chosen: a line an entry of the spec, which says where it is from; none for a network of the
            registry as it is.
    """

    source: Source
    network: nn.Module
    original: nn.Module
    sha256: str
    spec: CompleteSpec
    swaps: Sequence[Swap]
    chosen: Sequence[str]


def add_model(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Adds MODEL, its arguments and its name: what says which network is meant."""
    parser.add_argument(
        "model",
        nargs="?" if optional else None,
        metavar="MODEL",
        help=f"{FORMS}; a file is run with your rights (registered: {', '.join(MODELS)})",
    )
    parser.add_argument(
        "--model-args",
        default="",
        metavar="'NAME=VALUE ...'",
        help="keyword arguments of the callable, such as 'width=0.5 num_classes=10'",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="what the model is called in its file and in file names (default: the callable's "
        "name)",
    )


def add_spec(parser: argparse.ArgumentParser) -> None:
    """Adds the options for what has to be known of a network beside its weights."""
    parser.add_argument(
        "--input", type=_size, metavar="CxHxW", help="the input's channels, height and width"
    )
    parser.add_argument(
        "--mean", type=_numbers, metavar="R,G,B", help="subtracted from pixels scaled to [0, 1]"
    )
    parser.add_argument(
        "--std", type=_numbers, metavar="R,G,B", help="divided by, after the mean is subtracted"
    )
    parser.add_argument(
        "--resize",
        type=int,
        metavar="PIXELS",
        help="the length that an image's shorter side is brought to before the centre crop",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE|FOLDER|imagenet|cifar10",
        help="the classes' names: a text file with one a line, a JSON list, an ImageFolder",
    )


def add_fixed_point(parser: argparse.ArgumentParser) -> None:
    """Adds the choice of what becomes of DeepShift's rounding of inputs."""
    parser.add_argument(
        "--fixed-point",
        choices=FIXED_POINT,
        default="drop",
        help="what becomes of the rounding of inputs to fixed point in DeepShift's layers and "
        "their kin: left out, or kept as nodes of the graph (default: %(default)s)",
    )


def find_source(options: argparse.Namespace) -> Source:
    """The network that the options name, under the name that they give it. Raises ShiftAddError."""
    source = resolve(options.model, arguments.parse(options.model_args or ""))
    name = check_name(options.name or source.name)
    return Source(name, source.build, source.registered, source.function, source.arguments)


def open_model(
    options: argparse.Namespace,
    checkpoint: Path | None = None,
    fixed_point: FixedPoint = "drop",
) -> OpenedModel:
    """The network that the options name, with its weights and its complete spec.

    Raises ShiftAddError, in one line, for whatever of it cannot be had or does not fit.
    """
    source = find_source(options)
    original, sha256 = load_network(source, checkpoint)
    carried = {} if checkpoint is None else carried_spec(checkpoint)
    try:
        network, swaps = swap_layers(original, fixed_point)
        spec, origins = _spec(options, source, network, original, carried)
        whole = _complete(spec, network)
    except ValueError as error:
        raise ShiftAddError(f"cannot use {source.name}: {one_line(error)}") from error
    plain = source.registered is not None and not given_spec(options) and not carried
    chosen = [] if plain else list(_shown(whole, origins))
    return OpenedModel(source, network, original, sha256, whole, swaps, chosen)


def _complete(spec: Spec, network: nn.Module) -> CompleteSpec:
    try:
        return complete(spec, network)
    # The second is for a library of ours that cannot be loaded: it is not the network's fault.
    except (ValueError, ShiftAddError):
        raise
    # What a network raises for an input that does not suit it is its author's choice.
    except Exception as error:
        size = "x".join(str(extent) for extent in spec.input_size)
        raise ValueError(f"on an input of {size}: {explain(error, network, [])}") from error


def given_spec(options: argparse.Namespace) -> dict[str, Any]:
    """The spec's entries that were given as options. Raises ShiftAddError for unreadable labels."""
    given = {name: getattr(options, name, None) for name in ("mean", "std", "resize")}
    given["input_size"] = getattr(options, "input", None)
    if getattr(options, "labels", None) is not None:
        given["labels"] = labels.read(options.labels)
    return {name: value for name, value in given.items() if value is not None}


def _spec(
    options: argparse.Namespace,
    source: Source,
    network: nn.Module,
    original: nn.Module,
    carried: dict[str, Any],
) -> tuple[Spec, list[str]]:
    """Each entry from the first place that has it, and the names of those places, "" for none.

    What the checkpoint carries is what the weights were trained with, whatever the network's source
    says.
    """
    places = [("given", given_spec(options)), (_CHECKPOINT, carried)]
    if source.registered is not None:
        entry = source.registered
        places.append(("the registry", {name: getattr(entry, name) for name in FIELDS}))
    places += published(source.function, original, source.arguments)
    found: dict[str, Any] = {}
    origins = dict.fromkeys(FIELDS, "")
    for origin, facts in places:
        for name in FIELDS:
            if name in facts and name not in found:
                found[name], origins[name] = facts[name], origin
    if "input_size" not in found:
        raise ValueError(
            "nothing says which input it takes: give its channels, height and width, such as "
            "--input 3x224x224 (INPUT=3x224x224)"
        )
    if origins["labels"] not in ("", "given", _CHECKPOINT, "the registry"):
        _drop_labels_of_others(found, origins, network)
    return Spec(name=source.name, **found), list(origins.values())


def _drop_labels_of_others(
    found: dict[str, Any], origins: dict[str, str], network: nn.Module
) -> None:
    """What a source says of its classes is of the network as it was published: one that was made
    with another number of outputs has others."""
    unnamed = Spec(found["input_size"], **{k: found[k] for k in ("mean", "std") if k in found})
    if len(_complete(unnamed, network).labels) != len(found["labels"]):
        del found["labels"]
        origins["labels"] = ""


def _shown(spec: CompleteSpec, origins: Sequence[str]) -> Iterator[str]:
    """The entries of the spec for the eye, each with the place it is from."""
    size = ", ".join("x".join(map(str, shape)) for shape in spec.inputs.values())
    if spec.input_size == NO_IMAGE:
        yield f"{'input':11} {size}, an array ({origins[0]})"
        return
    values = {
        "input": size,
        "mean": ", ".join(map(str, spec.mean)),
        "std": ", ".join(map(str, spec.std)),
        "resize": f"{spec.resize} pixels",
        "labels": f"{len(spec.labels)}: {_first_of(spec.labels)}",
    }
    defaults = {
        "mean": "nothing says it: pixels stay as they are",
        "std": "nothing says it: pixels stay as they are",
        "resize": "nothing says it: the longer side of the input",
        "labels": "nothing names them; --labels does",
    }
    for (name, value), origin in zip(values.items(), origins, strict=False):
        if name == "labels" and spec.classes is None:
            yield f"{name:11} none: no output holds classes ({', '.join(spec.outputs)})"
            continue
        yield f"{name:11} {value} ({origin or defaults[name]})"


def _first_of(labels: Sequence[str]) -> str:
    """The first three, and "..." where there are more."""
    return ", ".join([*labels[:3], *(["..."] if len(labels) > 3 else [])])


def _size(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        sizes = ()
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form CxHxW, such as 3x224x224")
    return sizes


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number a channel, such as 0.485,0.456,0.406"
        ) from None
