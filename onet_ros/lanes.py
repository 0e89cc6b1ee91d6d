"""What loops are made of that must stay in the vector registers: for `numba.extending.intrinsic`, which lets code be
written as LLVM has it, for any processor.

The functions here run once, while a loop is compiled, and write the code that runs later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 8  # of a vector: one register of AVX2, two of NEON
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_CONTRACT = ("contract",)  # a product and a sum may be rounded once


def index(number: int) -> ir.Constant:
    """A number that is known while the code is written."""
    return ir.Constant(ir.IntType(64), number)


class Lanes:
    """`LANES` numbers, float32."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fadd(self.value, other.value, flags=_CONTRACT))

    def __sub__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fsub(self.value, other.value, flags=_CONTRACT))

    def __mul__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fmul(self.value, other.value, flags=_CONTRACT))

    def __rmul__(self, factor: float) -> Lanes:
        factors = ir.Constant(_VECTOR, [ir.Constant(ir.FloatType(), factor)] * LANES)
        return Lanes(self.builder, self.builder.fmul(factors, self.value, flags=_CONTRACT))

    def plus_product(self, one: Lanes, other: Lanes) -> Lanes:
        """self + one * other, rounded once where the processor can."""
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
        return Lanes(self.builder, self.builder.call(function, [one.value, other.value, self.value]))

    def at_least(self, floor: Lanes) -> Lanes:
        """The larger ones; NaN stays NaN."""
        larger = self.builder.fcmp_unordered(">", self.value, floor.value)
        return Lanes(self.builder, self.builder.select(larger, self.value, floor.value))

    def at_most(self, other: Lanes) -> Lanes:
        """The smaller ones; NaN stays NaN."""
        smaller = self.builder.fcmp_unordered("<", self.value, other.value)
        return Lanes(self.builder, self.builder.select(smaller, self.value, other.value))

    def least(self) -> ir.Value:
        """The smallest of the numbers."""
        kind = ir.FunctionType(ir.FloatType(), [_VECTOR])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.vector.reduce.fmin.v{LANES}f32")
        return self.builder.call(function, [self.value])

    def equal(self, number: Lanes) -> ir.Value:
        """Which are equal, a bit for each, the lowest for the first."""
        same = self.builder.fcmp_ordered("==", self.value, number.value)
        return self.builder.zext(self.builder.bitcast(same, ir.IntType(LANES)), ir.IntType(64))

    @classmethod
    def of_one(cls, builder: ir.IRBuilder, number: ir.Value) -> Lanes:
        """A number in all lanes."""
        nothing, kind = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(nothing, number, ir.Constant(kind, 0))
        return cls(
            builder, builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(kind, LANES), [0] * LANES))
        )


class Matrix:
    """A C-contiguous float32 array of Numba, (rows, ...), whose rows' numbers are counted through.

    One of one dimension has all rows alike.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder, self._data = builder, array.data
        self.shape = cgutils.unpack_tuple(builder, array.shape, kind.ndim)
        self._row = reduce(builder.mul, self.shape[1:]) if kind.ndim > 1 else index(0)

    def pointer(self, row: ir.Value, column: ir.Value) -> ir.Value:
        """To an element."""
        return self._builder.gep(self._data, [self._builder.add(self._builder.mul(row, self._row), column)])

    def lanes(self, row: ir.Value, column: ir.Value) -> Lanes:
        """`LANES` elements from one on."""
        return Lanes(self._builder, self._builder.load(self._wide(row, column), align=4))

    def put(self, row: ir.Value, column: ir.Value, values: Lanes) -> None:
        """Write as many."""
        self._builder.store(values.value, self._wide(row, column), align=4)

    def _wide(self, row: ir.Value, column: ir.Value) -> ir.Value:
        return self._builder.bitcast(self.pointer(row, column), _VECTOR.as_pointer())


def repeated(
    builder: ir.IRBuilder,
    count: ir.Value,
    start: list[Lanes],
    step: Callable[[ir.Value, list[Lanes]], list[Lanes]],
    stride: int = 1,
) -> list[Lanes]:
    """A loop over 0, stride, ... below `count`, of once at least.

    Args:
        start: what is kept in registers from one turn to the next.
        step: writes a turn: out of its number and what is kept, what is kept then.

    Returns:
        What is kept in the end.
    """
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    number, *kept = (builder.phi(kind) for kind in (count.type, *[_VECTOR] * len(start)))
    for phi, value in zip((number, *kept), (index(0), *[one.value for one in start]), strict=True):
        phi.add_incoming(value, before)
    made = step(number, [Lanes(builder, phi) for phi in kept])
    following = builder.add(number, index(stride))
    for phi, value in zip((number, *kept), (following, *[one.value for one in made]), strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    return made
