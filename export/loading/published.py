"""What a network's source says of its input and its classes: our `spec`, timm's and torchvision's
ways of saying it."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from export import labels

Facts = dict[str, Any]
"""Entries of a `Spec` by name; what is not known is left out."""

FIELDS = ("input_size", "mean", "std", "resize", "labels")

_IMAGENET_CLASSES = 1000


def published(
    build: Callable[..., Any] | None, network: nn.Module, arguments: Mapping[str, Any]
) -> Iterator[tuple[str, Facts]]:
    """Where something is said and what, the most particular first.

    Args:
        build: the callable that made `network`; None where the network itself was named.
        arguments: those that it was made with.
    """
    for owner, where in ((network, "the network"), (build, "the callable"), (_module(build), "")):
        facts = _of_spec(getattr(owner, "spec", None))
        if facts:
            yield f"the spec of {where or 'its file'}", facts
    for name in ("pretrained_cfg", "default_cfg"):
        facts = _of_timm(getattr(network, name, None) or getattr(build, name, None))
        if facts:
            yield f"timm's {name}", facts
            break
    weights = _torchvision_weights(build, arguments)
    if weights is not None:
        yield f"torchvision's {weights}", _of_torchvision(weights)


def _module(build: Any) -> Any:
    return sys.modules.get(getattr(build, "__module__", "") or "")


def _of_spec(spec: Any) -> Facts:
    """Of a `Spec`, of anything with its attributes, or of a dictionary of them."""
    if isinstance(spec, type) or _entry(spec, "input_size") is None:
        return {}
    return _entries(spec, FIELDS)


def _of_timm(config: Any) -> Facts:
    """Of a `pretrained_cfg`, a dictionary in older versions and a PretrainedCfg in newer ones."""
    if _entry(config, "input_size") is None:
        return {}
    facts = _entries(config, ("input_size", "mean", "std"))
    crop = _entry(config, "crop_pct")
    if crop:
        # The shorter side is scaled so that the crop is this part of it.
        facts["resize"] = int(facts["input_size"][1] / crop)
    names = _entry(config, "label_names")
    if names:
        facts["labels"] = tuple(names)
    elif _entry(config, "num_classes") == _IMAGENET_CLASSES:
        facts["labels"] = labels.imagenet()
    return facts


def _entry(owner: Any, name: str) -> Any:
    """The entry `name` of a dictionary, or the attribute; None where there is none."""
    return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)


def _entries(owner: Any, wanted: Sequence[str]) -> Facts:
    found = {name: _entry(owner, name) for name in wanted}
    return {name: value for name, value in found.items() if value is not None}


def _torchvision_weights(build: Any, arguments: Mapping[str, Any]) -> Any:
    """The member of the builder's weights enumeration that was asked for, else its default."""
    if build is None or not str(getattr(build, "__module__", "")).startswith("torchvision."):
        return None
    wanted = f"{build.__name__}_weights".replace("_", "").lower()
    for name, value in vars(_module(build)).items():
        is_enumeration = isinstance(value, type) and issubclass(value, enum.Enum)
        if is_enumeration and name.replace("_", "").lower() == wanted:
            chosen = str(arguments.get("weights") or "DEFAULT").rpartition(".")[2]
            return value.__members__.get(chosen)
    return None


def _of_torchvision(weights: Any) -> Facts:
    transforms = weights.transforms()
    facts: Facts = {}
    crop = getattr(transforms, "crop_size", None)
    if crop:
        facts["input_size"] = (3, crop[0], crop[-1])
    resize = getattr(transforms, "resize_size", None)
    if resize:
        facts["resize"] = resize[0]
    for name in ("mean", "std"):
        if getattr(transforms, name, None) is not None:
            facts[name] = tuple(getattr(transforms, name))
    if weights.meta.get("categories"):
        facts["labels"] = tuple(weights.meta["categories"])
    return facts
