"""Products of small matrices, in tiles and what is left over beside them, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.networks.small_products import COLUMNS, ROWS, multiply, packed

INNER = 37


def arrays(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(rows + columns)
    shapes = ((rows, INNER), (INNER, columns), (columns,), (rows, columns), (columns,))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


@pytest.mark.parametrize("columns", [1, COLUMNS, 2 * COLUMNS, 2 * COLUMNS + 5])
@pytest.mark.parametrize("rows", [0, 1, ROWS, 5 * ROWS, 3 * ROWS + 2])
def test_products_with_a_bias_or_on_top_of_others_are_those_of_numpy(rows, columns):
    left, right, bias, before, least = arrays(rows, columns)
    product = left.astype(np.float64) @ right
    out = np.full_like(before, 99.0)
    multiply(left, packed(right), bias, out, None, None)
    np.testing.assert_allclose(out, product + bias, atol=1e-4)
    expected = before + product
    active = np.full((rows, columns + 3), 99.0, dtype=np.float32)
    multiply(left, packed(right), before, before, active, least)
    np.testing.assert_allclose(before, expected, atol=1e-4)
    np.testing.assert_allclose(active[:, :columns], np.maximum(expected, least), atol=1e-4)
    assert (active[:, columns:] == 99.0).all()


@pytest.mark.parametrize(("rows", "columns"), [(ROWS, COLUMNS), (3, 5)])
def test_only_what_is_active(rows, columns):
    left, right, bias, _, least = arrays(rows, columns)
    active = np.zeros((rows, columns), dtype=np.float32)
    multiply(left, packed(right), bias, None, active, least)
    np.testing.assert_allclose(active, np.maximum(left @ right + bias, least), atol=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(ROWS, COLUMNS), (3, 5)])
def test_nan_stays_nan(rows, columns):
    left, right, bias, _, least = arrays(rows, columns)
    left[1, 3] = np.nan
    out, active = np.zeros((2, rows, columns), dtype=np.float32)
    multiply(left, packed(right), bias, out, active, least)
    for result in (out, active):
        assert np.isnan(result[1]).all()
        assert np.isfinite(np.delete(result, 1, axis=0)).all()
