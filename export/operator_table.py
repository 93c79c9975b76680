"""The operator table: every operator of the contract with its inputs and attributes.

The exporter, calibration, validation and the tests take their lists from here.
plugins/include/shiftadd/operators.h is the same table for C++ and CUDA, and a test compares the two
(tests/plugins/test_operator_table.py). What an operator computes is said in docs/operators.md.
Nothing is imported here that a board or calibration lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DOMAIN = "shiftadd"
CONTRACT_VERSION = 1

ElementType = Literal["float32", "uint8", "int32"]
AttributeType = Literal["ints", "int", "string"]


@dataclass(frozen=True)
class Activation:
    """A value of the attribute `activation`.

    Attributes:
        module: the class of torch.nn that computes the same.
        function: the function of torch.nn.functional that does; None for the identity.
    """

    name: str
    module: str
    function: str | None


# A new one goes to the end: TensorRT engines hold an activation as its number here.
_ACTIVATIONS = (
    Activation("none", "Identity", None),
    Activation("relu", "ReLU", "relu"),
    Activation("relu6", "ReLU6", "relu6"),
    Activation("hardswish", "Hardswish", "hardswish"),
)
ACTIVATIONS: dict[str, Activation] = {entry.name: entry for entry in _ACTIVATIONS}
LAYOUTS = ("NCHW", "NHWC")
LARGEST_ATTRIBUTE = 2**31 - 1
"""The greatest value of an integer attribute that has no choices."""


@dataclass(frozen=True)
class Input:
    """An input, which is always present.

    Attributes:
        rank: None for any; 0 for a scale or zero point, of the shape [] or [1].
    """

    name: str
    type: ElementType
    rank: int | None


@dataclass(frozen=True)
class Attribute:
    """An attribute.

    Attributes:
        length: how many integers or strings it holds.
        least: the least value of an integer that has no choices.
        choices: the values that are allowed, as text; empty where `least` rules.
        absent: what a missing attribute means; None where none may be missing.
    """

    name: str
    type: AttributeType
    length: int = 1
    least: int = 0
    choices: tuple[str, ...] = ()
    absent: str | None = None

    @property
    def expected(self) -> str:
        """What a refusal says of the choices: "a, b or c"."""
        *others, last = self.choices
        return f"{', '.join(others)} or {last}" if others else last


@dataclass(frozen=True)
class Operator:
    """An operator of the domain; it has one output, Y.

    Attributes:
        output: the element type of Y.
    """

    name: str
    inputs: tuple[Input, ...]
    output: ElementType
    attributes: tuple[Attribute, ...] = ()

    @property
    def is_integer(self) -> bool:
        """Whether its tensors hold codes; such an operator runs on the CPU alone."""
        return self.output == "uint8"

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.inputs)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.attributes)

    def attribute(self, name: str) -> Attribute:
        """The attribute of that name; KeyError where it has none."""
        return {entry.name: entry for entry in self.attributes}[name]


_WINDOW = (
    Attribute("kernel_shape", "ints", 2, 1),
    Attribute("strides", "ints", 2, 1),
    Attribute("pads", "ints", 4, 0),
    Attribute("dilations", "ints", 2, 1),
    Attribute("group", "int", least=1),
)
_ACTIVATION = Attribute("activation", "string", choices=tuple(ACTIVATIONS))
_LAYOUT = Attribute("layout", "string", choices=LAYOUTS, absent="NCHW")


def _float_inputs(weight: ElementType, rank: int) -> tuple[Input, ...]:
    return (
        Input("X", "float32", 4),
        Input("W", weight, rank),
        Input("scale", "float32", 1),
        Input("bias", "float32", 1),
    )


def _scalars(name: str) -> tuple[Input, Input]:
    return Input(f"{name}_scale", "float32", 0), Input(f"{name}_zero_point", "uint8", 0)


def _integer_inputs(weight: ElementType, rank: int) -> tuple[Input, ...]:
    _, *others = _float_inputs(weight, rank)
    return Input("X", "uint8", 4), *_scalars("x"), *others, *_scalars("y")


_OPERATORS = (
    Operator(
        "ShiftConv",
        _float_inputs("int32", 2),
        "float32",
        (*_WINDOW, Attribute("weight_bits", "int", choices=("4", "8")), _ACTIVATION),
    ),
    Operator("AdderConv", _float_inputs("float32", 4), "float32", (*_WINDOW, _ACTIVATION)),
    Operator(
        "QLinearShiftConv",
        _integer_inputs("int32", 2),
        "uint8",
        (*_WINDOW, Attribute("weight_bits", "int", choices=("4",)), _ACTIVATION, _LAYOUT),
    ),
    Operator(
        "QLinearAdderConv", _integer_inputs("uint8", 4), "uint8", (*_WINDOW, _ACTIVATION, _LAYOUT)
    ),
    Operator(
        "QLinearAdd",
        (
            *(Input("A", "uint8", None), *_scalars("a")),
            *(Input("B", "uint8", None), *_scalars("b")),
            *_scalars("y"),
        ),
        "uint8",
    ),
)
OPERATORS: dict[str, Operator] = {entry.name: entry for entry in _OPERATORS}

FLOAT_OPERATORS = tuple(name for name, entry in OPERATORS.items() if not entry.is_integer)
"""Those that have a PyTorch module, a function body and a GPU kernel."""

INTEGER_CONVOLUTIONS = tuple(
    name for name, entry in OPERATORS.items() if entry.is_integer and entry.attributes
)
