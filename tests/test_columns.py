"""Reductions column by column give what NumPy's own give."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros import columns


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 3), (7, 2), (1000, 3)])
def test_they_are_numpys_own(shape, dtype):
    points = np.random.default_rng(0).normal(size=shape).astype(dtype)
    low, high = columns.bounds(points)
    np.testing.assert_array_equal(low, points.min(axis=0))
    np.testing.assert_array_equal(high, points.max(axis=0))
    np.testing.assert_array_equal(columns.centre(points), (low + high) / 2)
    np.testing.assert_allclose(columns.mean(points), points.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(columns.lengths(points), np.linalg.norm(points, axis=1), rtol=1e-6)
    mask = points > -0.5
    np.testing.assert_array_equal(columns.in_all(mask), mask.all(axis=1))
    np.testing.assert_array_equal(columns.rows(points, mask[:, 0]), points[mask[:, 0]])
    for result in (low, columns.centre(points), columns.mean(points), columns.lengths(points)):
        assert result.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (2,), (1001,), (1, 3), (300, 2)])
def test_percentiles_are_numpys_own(shape, dtype):
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    percents = 0.0, 0.5, 33.3, 50.0, 99.5, 100.0
    expected = np.percentile(values.astype(np.float64), percents, axis=0)
    np.testing.assert_allclose(columns.percentiles(values, *percents), expected, rtol=1e-12, atol=1e-12)


def test_the_cross_product_is_numpys_own():
    one, other = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(columns.cross(one, other), np.cross(one, other), rtol=1e-12)


def test_of_nothing_there_are_no_percentiles():
    assert np.isnan(columns.percentiles(np.zeros((0, 3)), 5.0, 95.0)).all()


def test_a_mask_stays_what_it_is():
    mask = np.ones((3, 2), dtype=bool)
    columns.in_all(mask)[:] = False
    assert mask.all()
