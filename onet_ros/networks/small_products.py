"""Products of matrices that lie in a core's caches, as small as the layers of a decoder, in loops that Numba compiles.

A library's product of that size spends as long on finding its way as on multiplying, and what becomes of its result
(a bias, what was there before, only what is positive) is one more pass each. Here a tile of the result stays in the
vector registers from its start to its end, for any processor that LLVM knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled

ROWS, LANES, VECTORS = 6, 8, 2  # of a tile: 12 sums, 2 rows of weights and one factor in the 16 registers of AVX2
COLUMNS = LANES * VECTORS

Floats = NDArray[np.float32]


def packed(weights: Floats) -> Floats:
    """Weights (K, M) as `multiply` reads them: `COLUMNS` of them after the other, (M / COLUMNS, K, COLUMNS)."""
    inner, width = weights.shape
    panels = -(-width // COLUMNS)
    padded = np.zeros((inner, panels * COLUMNS), np.float32)
    padded[:, :width] = weights
    return np.ascontiguousarray(padded.reshape(inner, panels, COLUMNS).transpose(1, 0, 2))


@compiled
def multiply(left: Floats, right: Floats, base: Floats, out: Floats | None, active: Floats | None, least: Any) -> None:
    """out = base + left @ right; active = max(out, least).

    Args:
        left: (N, K), C-contiguous as all of them. Fastest where N is a multiple of `ROWS` and M one of `COLUMNS`.
        right: (K, M), packed.
        base: (N, M), which may be `out`, or (M,) for all rows.
        out: (N, M), or None if only what is active is needed.
        active: (N, at least M), of which the first M columns are written, or None.
        least: (M,), for `active`.
    """
    inner, width = right.shape[1], base.shape[-1]
    rows, columns = len(left) - len(left) % ROWS, width - width % COLUMNS
    for column in range(0, columns, COLUMNS):
        for row in range(0, rows, ROWS):
            _tile(left, right[column // COLUMNS], base, out, active, least, row, column)
    for row in range(len(left)):
        for column in range(columns if row < rows else 0, width):
            total = base[column] if base.ndim == 1 else base[row, column]
            for i in range(inner):
                total += left[row, i] * right[column // COLUMNS, i, column % COLUMNS]
            if out is not None:
                out[row, column] = total
            if active is not None:
                active[row, column] = max(total, least[column])


@intrinsic
def _tile(
    typing: Any, left: Any, right: Any, base: Any, out: Any, active: Any, least: Any, row: Any, column: Any
) -> tuple[Any, Callable[..., Any]]:
    """`multiply` for `ROWS` x `COLUMNS` of the result: for the types of its arguments, the code."""
    signature = types.void(left, right, base, out, active, least, types.intp, types.intp)
    return signature, _write_tile


def _write_tile(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    matrices: list[Any] = [
        None if kind == types.none else _Matrix(context, builder, kind, value)
        for kind, value in zip(signature.args[:6], arguments[:6], strict=True)
    ]
    left, right, base, out, active, least = matrices
    row, column = arguments[6:]
    rows = [builder.add(row, _index(i)) for i in range(ROWS)]
    columns = [builder.add(column, _index(LANES * v)) for v in range(VECTORS)]
    start = [base.vector(line, place) for line in rows for place in columns]
    lines = [left.at(line, _index(0)) for line in rows]

    def step(inner: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        weights = [right.vector(inner, _index(LANES * v)) for v in range(VECTORS)]
        factors = [_everywhere(builder, builder.load(builder.gep(line, [inner]))) for line in lines]
        pairs = [(factor, weight) for factor in factors for weight in weights]
        return [_multiply_add(builder, *pair, own) for pair, own in zip(pairs, sums, strict=True)]

    sums = _repeated(builder, right.shape[0], start, step)
    places = [(line, place) for line in rows for place in columns]
    for (line, place), total in zip(places, sums, strict=True):
        if out is not None:
            out.put(line, place, total)
        if active is not None:
            floor = least.vector(line, place)
            active.put(line, place, builder.select(builder.fcmp_unordered(">", total, floor), total, floor))
    return context.get_dummy_value()


class _Matrix:
    """A C-contiguous float32 array of Numba in the code that is written; one of one dimension has all rows alike."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder, self._data, self._same = builder, array.data, kind.ndim == 1
        self.shape = cgutils.unpack_tuple(builder, array.shape, kind.ndim)

    def at(self, row: ir.Value, column: ir.Value) -> ir.Value:
        """Pointer to an element."""
        index = column if self._same else self._builder.add(self._builder.mul(row, self.shape[1]), column)
        return self._builder.gep(self._data, [index])

    def vector(self, row: ir.Value, column: ir.Value) -> ir.Value:
        """`LANES` elements from one on."""
        return self._builder.load(self._wide(row, column), align=4)

    def put(self, row: ir.Value, column: ir.Value, values: ir.Value) -> None:
        """Write as many."""
        self._builder.store(values, self._wide(row, column), align=4)

    def _wide(self, row: ir.Value, column: ir.Value) -> ir.Value:
        return self._builder.bitcast(self.at(row, column), _VECTOR.as_pointer())


_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _index(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), number)


def _everywhere(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A number in all lanes of a vector."""
    nothing, number = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, value, ir.Constant(number, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(number, LANES), [0] * LANES))


def _multiply_add(builder: ir.IRBuilder, one: ir.Value, other: ir.Value, total: ir.Value) -> ir.Value:
    """one * other + total, rounded once where the processor can."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [one, other, total])


def _repeated(
    builder: ir.IRBuilder,
    count: ir.Value,
    start: list[ir.Value],
    step: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """A loop, of once at least: what `step` makes of its number and of what it made before, kept in registers."""
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    number, *kept = (builder.phi(value.type) for value in (count, *start))
    for phi, value in zip((number, *kept), (_index(0), *start), strict=True):
        phi.add_incoming(value, before)
    made = [builder.add(number, _index(1)), *step(number, kept)]
    for phi, value in zip((number, *kept), made, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", made[0], count), loop, after)
    builder.position_at_end(after)
    return made[1:]
