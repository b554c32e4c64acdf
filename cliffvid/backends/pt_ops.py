"""ONNX operators in PyTorch: inputs are positional, attributes keywords, as the ONNX specification names them.

Those that cliffvid's exports are made of, no others.
"""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

DTYPES = {1: torch.float32, 2: torch.uint8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}


def ints(value: Tensor | list[int]) -> list[int]:
    return value if isinstance(value, list) else value.tolist()


def cast(x, *, to, saturate=1):
    return x.to(DTYPES[to])


def divide(x, y):
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def concat(*parts, axis):
    return torch.cat(parts, dim=axis)


def conv(
    x, weight, bias=None, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, kernel_shape=0, auto_pad=""
):
    x = padded(x, pads, 0.0, auto_pad)
    return functional.conv2d(x, weight, bias, strides, 0, dilations, group)


def max_pool(
    x, *, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), ceil_mode=0, storage_order=0, auto_pad=""
):
    return functional.max_pool2d(
        padded(x, pads, -torch.inf, auto_pad), kernel_shape, strides, 0, dilations, bool(ceil_mode)
    )


def padded(x, pads, value, auto_pad):
    if auto_pad not in ("", "NOTSET"):
        raise NotImplementedError(f"auto_pad {auto_pad}")
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def pad(x, pads, value=None, axes=None, *, mode="constant"):
    if mode != "constant" or axes is not None:
        raise NotImplementedError("Pad other than of all axes by a constant")
    pads = ints(pads)
    sides = [side for both in reversed(list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))) for side in both]
    return functional.pad(x, sides, value=0.0 if value is None else value.item())


def resize(
    x, roi, scales, sizes=None, *, mode, coordinate_transformation_mode, nearest_mode="round_prefer_floor", **unused
):
    if (mode, coordinate_transformation_mode) == ("linear", "half_pixel") and x.ndim == 4:
        if sizes is None:
            sizes = [int(side * scale) for side, scale in zip(x.shape, scales.tolist(), strict=True)]
        return functional.interpolate(x, size=ints(sizes)[2:], mode="bilinear", align_corners=False)
    kind = mode, coordinate_transformation_mode, nearest_mode
    factors = [int(scale) for scale in scales.tolist()]
    if kind != ("nearest", "asymmetric", "floor") or sizes is not None or factors != scales.tolist():
        raise NotImplementedError("Resize other than by repeating cells, or linear between centres of pixels")
    for axis, factor in enumerate(factors):
        x = x.repeat_interleave(factor, dim=axis)
    return x


def gather(x, index, *, axis=0):
    axis %= x.ndim
    index = index % x.shape[axis]
    return x.index_select(axis, index.flatten()).reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def gather_nd(x, index, *, batch_dims=0):
    where = [
        torch.arange(x.shape[axis], device=x.device).reshape([-1 if axis == a else 1 for a in range(index.ndim - 1)])
        for axis in range(batch_dims)
    ]
    return x[(*where, *index.unbind(-1))]


def gemm(a, b, c=0, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    return alpha * ((a.T if transA else a) @ (b.T if transB else b)) + beta * c


def layer_normalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    return functional.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def reduction(function):
    """A reduction over axes, which older operators have as an attribute and newer ones as an input."""

    def reduced(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
        if axes is None or not len(axes):
            raise NotImplementedError("a reduction without axes")
        return function(x, dim=ints(axes), keepdim=bool(keepdims))

    return reduced


def arg_max(x, *, axis=0, keepdims=1, select_last_index=0):
    if not select_last_index:
        return first_max(x, axis, keepdims)
    return x.shape[axis] - 1 - first_max(x.flip(axis), axis, keepdims)


def first_max(x, axis, keepdims):
    """The first of equal ones: torch.argmax promises none in particular."""
    largest = x == x.amax(dim=axis, keepdim=True)
    return (
        torch.sort(largest.int(), dim=axis, descending=True, stable=True)[1]
        .narrow(axis, 0, 1)
        .squeeze(() if keepdims else axis)
    )


def reshape(x, shape, *, allowzero=0):
    return x.reshape([x.shape[at] if n == 0 and not allowzero else n for at, n in enumerate(ints(shape))])


def expand(x, shape):
    return x.broadcast_to(torch.broadcast_shapes(x.shape, ints(shape)))


def shape_of(x, *, start=0, end=None):
    return torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


def cut(x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else ints(axes)
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(
        axes, ints(starts), ints(ends), [1] * len(starts) if steps is None else ints(steps), strict=True
    ):
        where[axis] = slice(start, end, step)
    return x[tuple(where)]


def split(x, sizes=None, *, axis=0, num_outputs=None):
    return torch.split(x, -(-x.shape[axis] // num_outputs) if sizes is None else ints(sizes), dim=axis)


def squeeze(x, axes):
    return x.squeeze(tuple(ints(axes)))


def unsqueeze(x, axes):
    axes = ints(axes)
    ndim = x.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        x = x.unsqueeze(axis)
    return x


def top_k(x, k, *, axis=-1, largest=1, sorted=1):
    """Of equal ones those of lower index, as other runtimes do; torch.topk promises none in particular."""
    values, order = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, int(k)), order.narrow(axis, 0, int(k))


OPS = {
    "Abs": torch.abs,
    "Add": torch.add,
    "ArgMax": arg_max,
    "Cast": cast,
    "Clip": torch.clamp,
    "Concat": concat,
    "Conv": conv,
    "Div": divide,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": expand,
    "Gather": gather,
    "GatherND": gather_nd,
    "Gemm": gemm,
    "GreaterOrEqual": torch.ge,
    "Identity": lambda x: x,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda x, *, alpha=0.01: functional.leaky_relu(x, alpha),
    "Less": torch.lt,
    "MatMul": torch.matmul,
    "Max": lambda *parts: reduce(torch.maximum, parts),
    "MaxPool": max_pool,
    "Min": lambda *parts: reduce(torch.minimum, parts),
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Pad": pad,
    "Pow": torch.pow,
    "ReduceL2": reduction(torch.linalg.vector_norm),
    "ReduceMax": reduction(torch.amax),
    "ReduceMean": reduction(torch.mean),
    "ReduceMin": reduction(torch.amin),
    "ReduceSum": reduction(torch.sum),
    "Relu": torch.relu,
    "Reshape": reshape,
    "Resize": resize,
    "Shape": shape_of,
    "Sigmoid": torch.sigmoid,
    "Slice": cut,
    "Softmax": lambda x, *, axis=-1: torch.softmax(x, axis),
    "Split": split,
    "Sqrt": torch.sqrt,
    "Squeeze": squeeze,
    "Sub": torch.sub,
    "TopK": top_k,
    "Transpose": lambda x, *, perm: x.permute(perm),
    "Unsqueeze": unsqueeze,
    "Where": torch.where,
}
