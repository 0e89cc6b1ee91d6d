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
from numba.extending import intrinsic
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled
from onet_ros.lanes import LANES, Lanes, Matrix, index, repeated

ROWS, VECTORS = 6, 2  # of a tile: 12 sums, 2 rows of weights and one factor in the 16 registers of AVX2
COLUMNS = LANES * VECTORS
PORTION = 21 * ROWS  # points that go through layers together, whose features stay in the innermost caches

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
            panel = right[column // COLUMNS]
            _tile(left, panel, base, out, active, least, row, column)  # type: ignore[call-arg]  # Numba adds one
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
        None if kind == types.none else Matrix(context, builder, kind, value)
        for kind, value in zip(signature.args[:6], arguments[:6], strict=True)
    ]
    left, right, base, out, active, least = matrices
    row, column = arguments[6:]
    rows = [builder.add(row, index(i)) for i in range(ROWS)]
    columns = [builder.add(column, index(LANES * v)) for v in range(VECTORS)]
    places = [(line, place) for line in rows for place in columns]
    lines = [left.pointer(line, index(0)) for line in rows]

    def step(inner: ir.Value, sums: list[Lanes]) -> list[Lanes]:
        weights = [right.lanes(inner, index(LANES * v)) for v in range(VECTORS)]
        factors = [Lanes.of_one(builder, builder.load(builder.gep(line, [inner]))) for line in lines]
        pairs = [(factor, weight) for factor in factors for weight in weights]
        return [own.plus_product(*pair) for own, pair in zip(sums, pairs, strict=True)]

    sums = repeated(builder, right.shape[0], [base.lanes(*place) for place in places], step)
    for place, total in zip(places, sums, strict=True):
        if out is not None:
            out.put(*place, total)
        if active is not None:
            active.put(*place, total.at_least(least.lanes(*place)))
    return context.get_dummy_value()
