"""What cannot be exported: each in one line, with the module, the reason and what to do."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.onnx.errors import SymbolicValueError, UnsupportedOperatorError

from export.errors import ExportError, place_of
from export.onnx_export.scopes import module_of, title
from export.operators import AdderConv2d, ShiftConv2d
from export.operators.layer import ConvLayer
from runtime.core.errors import one_line

_METHODS = {
    ShiftConv2d: ("forward", "__call__", "sum_terms"),
    AdderConv2d: ("forward", "__call__", "sum_terms"),
}
"""What an exported node stands for. A subclass may have its own `effective_weight`: the file has
the weights that it gives."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")

# A trailing underscore, of what works in place, is left out.
_RANDOM = ("bernoulli", "exponential", "multinomial", "normal", "poisson", "random", "uniform")
_RANDOM_PREFIX = "rand"  # rand, randn, randint, randperm, rand_like and so on
_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


def copy_of(module: nn.Module) -> nn.Module:
    """A copy on the CPU, in float32 and in eval mode, which alone is changed from here on.

    Raises ExportError for a network that cannot be copied, that stays in training mode, or whose
    layers of the contract do something else than the contract's operators.
    """
    module = _unwrapped(module)
    try:
        network = copy.deepcopy(module, _copies_of_results(module)).cpu().float().eval()
        _keep_computed_weights(network)
    # A network is anybody's code.
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} cannot be copied ({_said(error)}): export needs a network "
            "that copy.deepcopy takes"
        ) from error
    for path, layer in network.named_modules():
        if layer.training:
            raise ExportError(
                f"{title(path, layer)} stays in training mode after eval(): let its train() "
                "follow its argument"
            )
        if isinstance(layer, ConvLayer):
            _check_layer(path, layer)
    return network


def _unwrapped(module: nn.Module) -> nn.Module:
    """The network that torch.compile or a data-parallel wrapper holds."""
    inner = getattr(module, "_orig_mod", None)
    if inner is None and isinstance(module, nn.DataParallel):
        inner = module.module
    return _unwrapped(inner) if isinstance(inner, nn.Module) else module


def _keep_computed_weights(network: nn.Module) -> None:
    """Weights that a parametrization computes become weights: they are constants of the file.

    PyTorch's own removal would take the property from a class that the user's network shares.
    """
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer):
            names = list(cast(nn.ModuleDict, layer.parametrizations))
            values = {name: getattr(layer, name).detach().clone() for name in names}
            del layer.parametrizations
            layer.__class__ = type(layer).__bases__[0]
            for name, value in values.items():
                setattr(layer, name, nn.Parameter(value))


def _copies_of_results(module: nn.Module) -> dict[int, Any]:
    """Copies of tensors that were computed (the weights that weight_norm leaves on a module), which
    deepcopy refuses: a network computes them again."""
    values = [value for layer in module.modules() for value in vars(layer).values()]
    return {
        id(value): value.detach().clone()
        for value in values
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }


def _check_layer(path: str, layer: ConvLayer) -> None:
    base = next(kind for kind in (ShiftConv2d, AdderConv2d, ConvLayer) if isinstance(layer, kind))
    for method in _METHODS.get(base, ()):
        own = method in vars(layer) or getattr(type(layer), method) is not getattr(base, method)
        if own:
            raise ExportError(
                f"{title(path, layer)} has its own {method}, which the node of a {base.__name__} "
                f"would leave out: keep the {base.__name__} as it is, and do what comes before or "
                "after it in a module around it"
            )
    if any(getattr(layer, hooks) for hooks in _HOOKS):
        raise ExportError(
            f"{title(path, layer)} has a forward hook, which the node of a {base.__name__} would "
            "leave out: remove it, or do what it does in a module around the layer"
        )


def check_trace(graph: Any) -> None:
    """Raises ExportError, naming the module, for what is random."""
    for node in graph.nodes():
        operator = _operator(node)
        dropout = operator in _DROPOUTS and list(node.inputs())[2].node().i("value") == 1
        if dropout or operator in _RANDOM or operator.startswith(_RANDOM_PREFIX):
            raise ExportError(
                f"{module_of(node)} is random in eval mode, too ({operator}): let it depend on "
                "self.training"
            )


def _operator(node: Any) -> str:
    return str(node.kind().rpartition("::")[2].rstrip("_"))


def explain(error: Exception, network: nn.Module, failed: list[Any]) -> ExportError:
    """The error for what was raised while the network was traced and written.

    `failed` has the operation that the exporter could not write, where it came that far.
    """
    if not failed:
        return ExportError(
            f"{_where(error, network)} cannot be run on a float32 batch of the input size given: "
            f"{_said(error)}{place_of(error)}"
        )
    node = failed[0]
    operator = _operator(node)
    if isinstance(error, UnsupportedOperatorError):
        why = f"{operator} has no counterpart in ONNX opset 13"
    else:
        why = f"{operator} cannot be written in ONNX opset 13 as it is used ({_said(error)})"
    return ExportError(f"{module_of(node)}: {why}: compute the same with other operators")


def _where(error: Exception, network: nn.Module) -> str:
    """The innermost module whose code was running when the error was raised."""
    paths = {id(module): path for path, module in network.named_modules()}
    where, frame = title("", network), error.__traceback__
    while frame is not None:
        module = frame.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in paths:
            where = title(paths[id(module)], module)
        frame = frame.tb_next
    return where


def _said(error: Exception) -> str:
    """The first sentence of an error: PyTorch's go on with dumps and advice."""
    if isinstance(error, SymbolicValueError):
        text = str(error).split("[Caused by")[0]
    else:
        text = str(error)
    first = one_line(text.strip().split("\n")[0]) or type(error).__name__
    return first if len(first) <= 200 else first[:197] + "..."
