"""ONNX function bodies of the operators, in standard operators of opset 13 (docs/operators.md,
section 8).

With them in the file, a runtime without the operator library runs it too; one with the library uses
its kernels. ONNX Runtime 1.10 sets the rules: a body imports the file's opset, uses every input,
and reaches a list attribute only by handing it to an operator that has one of its own. A body does
not compute the activation: the attribute has to be "none".
"""

from __future__ import annotations

import onnx

from export.onnx_export.graph import attribute, is_custom
from export.operator_table import DOMAIN, OPERATORS

# The decoding stays in int32. The result of Mod has the sign of the divisor, so word - Mod(word,
# unit) is a multiple of the unit and never below the least int32: the sign bit of the topmost code
# does no harm.
#
# The kernel's size is had from what MaxPool makes of a blank square: kernel_shape cannot be read
# as numbers. A row's codes over the input channels are at least kH*kW, so it fits the square.
# scale is multiplied into the weights. That is exact, since they are powers of two, and where the
# weights are constants only one Conv is left.
_SHIFT_CONV = """
{
    zero = Constant <value = int32 {0}> ()
    one = Constant <value = int32 {1}> ()
    two = Constant <value = int32 {2}> ()
    word_bits = Constant <value = int32 {32}> ()
    float_two = Constant <value = float {2.0}> ()
    index_0 = Constant <value = int64[1] {0}> ()
    index_1 = Constant <value = int64[1] {1}> ()
    index_2 = Constant <value = int64[1] {2}> ()
    index_4 = Constant <value = int64[1] {4}> ()
    row = Constant <value = int64[2] {0, -1}> ()
    column = Constant <value = int64[4] {-1, 1, 1, 1}> ()

    bits_64 = Constant <value_int: int = @weight_bits> ()
    bits = Cast <to = 6> (bits_64)
    codes_a_word = Div (word_bits, bits)
    place = Range (zero, codes_a_word, one)
    offset = Mul (place, bits)
    unit = Pow (two, offset)
    code_end = Pow (two, bits)
    k_bits = Sub (bits, one)
    sign_bit = Pow (two, k_bits)

    words = Unsqueeze (W, index_2)
    lower = Mod (words, unit)
    upper = Sub (words, lower)
    shifted = Div (upper, unit)
    codes = Mod (shifted, code_end)
    k = Mod (codes, sign_bit)
    negative = Div (codes, sign_bit)
    exponent = Sub (one, k)
    float_exponent = Cast <to = 1> (exponent)
    magnitude = Pow (float_two, float_exponent)
    present = Cast <to = 9> (k)
    float_present = Cast <to = 1> (present)
    twice_negative = Mul (two, negative)
    sign = Sub (one, twice_negative)
    float_sign = Cast <to = 1> (sign)
    signed = Mul (magnitude, float_sign)
    decoded = Mul (signed, float_present)
    rows = Reshape (decoded, row)

    group_scalar = Constant <value_int: int = @group> ()
    x_shape = Shape (X)
    channels = Gather (x_shape, index_1)
    depth = Div (channels, group_scalar)
    rows_shape = Shape (rows)
    outputs = Gather (rows_shape, index_0)
    row_codes = Gather (rows_shape, index_1)
    side = Div (row_codes, depth)
    square = Concat <axis = 0> (index_1, index_1, side, side)
    blank = ConstantOfShape (square)
    pooled = MaxPool <kernel_shape: ints = @kernel_shape> (blank)
    pooled_shape = Shape (pooled)
    pooled_size = Slice (pooled_shape, index_2, index_4)
    side_and_one = Add (side, index_1)
    kernel = Sub (side_and_one, pooled_size)
    kernel_size = ReduceProd <axes = [0]> (kernel)
    row_weights = Mul (depth, kernel_size)
    exact_rows = Slice (rows, index_0, row_weights, index_1)
    weight_shape = Concat <axis = 0> (outputs, depth, kernel)
    weight = Reshape (exact_rows, weight_shape)

    scale_column = Reshape (scale, column)
    scaled_weight = Mul (weight, scale_column)
    Y = Conv <
        kernel_shape: ints = @kernel_shape, strides: ints = @strides, pads: ints = @pads,
        dilations: ints = @dilations, group: int = @group
    > (X, scaled_weight, bias)
}
"""

# A convolution with the identity matrix makes the patches, which takes care of groups, pads and
# dilations; a padded position is the value 0, as the contract says.
_ADDER_CONV = """
{
    index_0 = Constant <value = int64[1] {0}> ()
    index_1 = Constant <value = int64[1] {1}> ()
    index_2 = Constant <value = int64[1] {2}> ()
    index_4 = Constant <value = int64[1] {4}> ()
    same = Constant <value = int64[1] {0}> ()
    rest = Constant <value = int64[1] {-1}> ()
    three_ones = Constant <value = int64[3] {1, 1, 1}> ()
    column = Constant <value = int64[3] {-1, 1, 1}> ()

    group_scalar = Constant <value_int: int = @group> ()
    groups = Reshape (group_scalar, rest)
    w_shape = Shape (W)
    outputs = Gather (w_shape, index_0)
    kernel = Slice (w_shape, index_1, index_4)
    depth = ReduceProd <axes = [0]> (kernel)
    square = Concat <axis = 0> (depth, depth)
    blank = ConstantOfShape (square)
    identity = EyeLike <dtype = 1> (blank)
    one_hot_shape = Concat <axis = 0> (depth, kernel)
    one_hot = Reshape (identity, one_hot_shape)
    repeats = Concat <axis = 0> (groups, three_ones)
    one_hot_groups = Tile (one_hot, repeats)
    patches = Conv <
        kernel_shape: ints = @kernel_shape, strides: ints = @strides, pads: ints = @pads,
        dilations: ints = @dilations, group: int = @group
    > (X, one_hot_groups)

    columns_shape = Concat <axis = 0> (same, groups, index_1, depth, rest)
    columns = Reshape (patches, columns_shape)
    group_outputs = Div (outputs, groups)
    filters_shape = Concat <axis = 0> (index_1, groups, group_outputs, depth, index_1)
    filters = Reshape (W, filters_shape)
    differences = Sub (columns, filters)
    distances = ReduceL1 <axes = [3], keepdims = 0> (differences)
    patches_shape = Shape (patches)
    positions = Slice (patches_shape, index_2, index_4)
    maps_shape = Concat <axis = 0> (same, outputs, positions)
    maps = Reshape (distances, maps_shape)

    scale_column = Reshape (scale, column)
    minus_scale = Neg (scale_column)
    scaled = Mul (maps, minus_scale)
    bias_column = Reshape (bias, column)
    Y = Add (scaled, bias_column)
}
"""

_BODIES = {"AdderConv": _ADDER_CONV, "ShiftConv": _SHIFT_CONV}


def body(operator: str) -> onnx.FunctionProto:
    """The function of "ShiftConv" or "AdderConv", for a file of opset 13."""
    described = OPERATORS[operator]
    head = (
        f'<domain: "{DOMAIN}", opset_import: ["" : 13]>\n'
        f"{operator} <{', '.join(described.attribute_names)}>\n"
        f"    ({', '.join(described.input_names)}) => (Y)"
    )
    return onnx.parser.parse_function(head + _BODIES[operator])


def add_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the functions that its custom nodes need.

    Raises ValueError for a node with a fused activation, which a body cannot compute.
    """
    nodes = [node for node in model.graph.node if is_custom(node)]
    for node in nodes:
        if attribute(node, "activation") != "none":
            raise ValueError(
                f"{node.name}: a function body computes activation none, "
                f"got {attribute(node, 'activation')}"
            )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.functions.extend(body(name) for name in sorted({node.op_type for node in nodes}))
    return result
