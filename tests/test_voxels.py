"""Voxel grids of one object: from arrays, cells and files, as boxes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.scene import VoxelError, VoxelGrid, load_voxels


def ball(resolution=32, radius=0.35):
    ticks = (np.arange(resolution) + 0.5) / resolution - 0.5
    x, y, z = np.meshgrid(ticks, ticks, ticks, indexing="ij")
    return (x**2 + y**2 + z**2 < radius**2).astype(np.float32)


class TestArrays:
    def test_a_cube_lies_where_it_is_said_to_lie(self):
        grid = VoxelGrid.from_array(ball(8), origin=(1.0, 2.0, 3.0), edge=0.4)
        assert grid.cell_size == pytest.approx(0.05)
        np.testing.assert_allclose(grid.centres[0], [1.025, 2.025, 3.025])
        np.testing.assert_allclose(grid.centres[1], [1.025, 2.025, 3.075])  # z runs fastest
        np.testing.assert_allclose(grid.occupied_centres.mean(axis=0), [1.2, 2.2, 3.2])

    @pytest.mark.parametrize(
        ("values", "origin", "edge", "message"),
        [
            (np.zeros((8, 8)), (0, 0, 0), 1.0, r"\(R, R, R\), got \(8, 8\)"),
            (np.zeros((8, 8, 9)), (0, 0, 0), 1.0, r"got \(8, 8, 9\)"),
            (np.zeros((8, 8, 8), complex), (0, 0, 0), 1.0, "complex128"),
            (np.full((8, 8, 8), 7.0), (0, 0, 0), 1.0, "got 7 to 7"),
            (np.full((8, 8, 8), np.nan), (0, 0, 0), 1.0, "got nan"),
            (np.zeros((8, 8, 8), bool), (0, 0, 0), 1.0, "0 of 512 voxels are occupied"),
            (ball(8), (0, 0), 1.0, r"3 finite numbers, got \[0, 0\]"),
            (ball(8), (0, np.inf, 0), 1.0, "inf"),
            (ball(8), (0, 0, 0), -0.1, r"positive and finite, got -0\.1 m"),
            (ball(8), (0, 0, 0), np.nan, "nan m"),
        ],
    )
    def test_what_is_no_grid_is_refused_with_the_bad_value(self, values, origin, edge, message):
        with pytest.raises(VoxelError, match=message):
            VoxelGrid.from_array(values, origin, edge)


class TestCells:
    def test_points_mark_the_cells_they_lie_in(self):
        points = np.random.default_rng(0).uniform(-0.05, 0.05, (400, 3)) * [1.0, 0.4, 0.2] + [0.3, 0.1, 0.02]
        grid = VoxelGrid.around_cells(points)
        assert grid.values.shape == (32, 32, 32)
        assert set(np.unique(grid.values)) == {0.0, 1.0}
        nearest = np.abs(grid.occupied_centres[:, None] - points[None]).max(axis=2)
        assert (nearest.min(axis=0) <= grid.cell_size / 2 + 1e-9).all()  # every point lies in an occupied cell
        assert (nearest.min(axis=1) <= grid.cell_size / 2 + 1e-9).all()  # every occupied cell holds a point
        np.testing.assert_allclose(grid.origin + grid.edge / 2, (points.min(0) + points.max(0)) / 2)

    def test_large_cells_of_a_map_fill_all_the_small_ones_in_them(self):
        centres = np.stack(np.meshgrid(np.arange(4), np.arange(3), np.arange(2), indexing="ij"), -1).reshape(-1, 3)
        centres = centres * 0.02 + [1.0, -1.0, 0.5]
        grid = VoxelGrid.around_cells(centres, cell_size=0.02)
        volume = grid.values.sum() * grid.cell_size**3
        assert volume == pytest.approx(24 * 0.02**3, rel=0.2)
        assert grid.edge == pytest.approx(0.08 / 0.7)

    def test_what_is_neither_occupied_nor_free_is_unknown_where_the_map_tells(self):
        occupied = np.array([[x, y, 0.0] for x in range(4) for y in range(4)]) * 0.01
        free = occupied + [0.0, 0.0, 0.01]
        grid = VoxelGrid.around_cells(occupied, 0.01, free)
        assert set(np.unique(grid.values)) == {0.0, 0.5, 1.0}
        heights = grid.centres[:, 2]
        inner = (np.abs(grid.centres[:, :2] - 0.015) < 0.015).all(axis=1)
        flat = grid.values.ravel()
        assert (flat[inner & (np.abs(heights) < 0.004)] == 1.0).all()
        assert (flat[inner & (np.abs(heights - 0.01) < 0.004)] == 0.0).all()
        assert (flat[inner & (heights < -0.006)] == 0.5).all()

    @pytest.mark.parametrize(
        ("cells", "size", "message"),
        [
            (np.zeros((2, 3)), 0.01, "2 occupied cells are too few, at least 4"),
            (np.zeros((9, 2)), 0.01, r"shape \(N, 3\), got \(9, 2\)"),
            (np.full((9, 3), np.nan), 0.01, "9 of 9 occupied cells are not finite"),
            (np.random.default_rng(0).random((9, 3)), -1.0, r"not negative, got -1\.0 m"),
        ],
    )
    def test_cells_that_are_none_are_refused(self, cells, size, message):
        with pytest.raises(VoxelError, match=message):
            VoxelGrid.around_cells(cells, size)

    def test_a_grid_of_another_resolution_keeps_its_shape(self):
        fine = VoxelGrid.from_array(ball(64), origin=(0.5, 0.5, 0.0), edge=0.2)
        coarse = fine.resampled(32)
        assert coarse.values.shape == (32, 32, 32)
        volume = [float((g.values > 0.5).sum() * g.cell_size**3) for g in (fine, coarse)]
        assert volume[1] == pytest.approx(volume[0], rel=0.15)
        np.testing.assert_allclose(coarse.occupied_centres.mean(0), fine.occupied_centres.mean(0), atol=0.003)
        assert coarse.resampled(32) is coarse

    def test_what_is_unknown_stays_so_at_another_resolution(self):
        values = np.full((16, 16, 16), 0.5, np.float32)
        values[:, :, 8:] = 0.0
        values[6:10, 6:10, 4:8] = 1.0
        grid = VoxelGrid.from_array(values, np.zeros(3), 0.16)
        finer = grid.resampled(32)
        assert set(np.unique(finer.values)) == {0.0, 0.5, 1.0}
        above = finer.centres[:, 2] > 0.08
        free = finer.values.ravel() == 0.0
        assert not (free & ~above).any()
        assert free[above].mean() > 0.95
        told = VoxelGrid.from_array(np.where(values == 0.5, 0.0, values), np.zeros(3), 0.16).resampled(32)
        assert set(np.unique(told.values)) == {0.0, 1.0}

    def test_a_coarser_grid_is_refined_without_holes(self):
        coarse = VoxelGrid.from_array(ball(8), edge=0.2)
        fine = coarse.resampled(32)
        volume = [float((g.values > 0.5).sum() * g.cell_size**3) for g in (coarse, fine)]
        assert volume[1] == pytest.approx(volume[0], rel=0.15)


def test_boxes_are_a_closed_surface_about_the_occupied_cells():
    grid = VoxelGrid.from_array(ball(16), origin=(1.0, 0.0, 0.0), edge=0.32)
    boxes = grid.boxes()
    assert boxes.is_watertight
    assert boxes.volume == pytest.approx((grid.values > 0.5).sum() * grid.cell_size**3)
    np.testing.assert_allclose(boxes.bounds.mean(axis=0), [1.16, 0.16, 0.16])


class TestFiles:
    def test_npz(self, tmp_path):
        np.savez(tmp_path / "g.npz", voxels=ball(32) > 0, origin=[0.1, 0.2, 0.3], edge=0.25)
        grid = load_voxels(tmp_path / "g.npz")
        np.testing.assert_array_equal(grid.values, ball(32))
        np.testing.assert_allclose(grid.origin, [0.1, 0.2, 0.3])
        assert grid.edge == 0.25

    def binvox(self, path, values):
        """Written by trimesh, whose header says what a cube from 0 is: cells of 1."""
        grid = trimesh.voxel.VoxelGrid(values)
        path.write_bytes(trimesh.exchange.binvox.export_binvox(grid))

    @pytest.mark.parametrize("up", ["y", "z"])
    def test_binvox_with_what_is_up(self, tmp_path, up):
        values = np.zeros((16, 16, 16), dtype=bool)
        values[2:14, 3:6, 4:6] = True  # long in x, low in y, flat in z
        self.binvox(tmp_path / "b.binvox", values)
        grid = load_voxels(tmp_path / "b.binvox", up)
        expected = values if up == "z" else values.transpose(0, 2, 1)[:, ::-1]
        np.testing.assert_array_equal(grid.values > 0.5, expected)

    def test_a_binvox_lies_where_its_header_says(self, tmp_path):
        values = np.zeros((16, 16, 16), dtype=bool)
        values[0, :4, :4] = True
        self.binvox(tmp_path / "b.binvox", values)
        header, _, data = (tmp_path / "b.binvox").read_bytes().partition(b"data\n")
        lines = [line for line in header.split(b"\n") if not line.startswith((b"translate", b"scale"))]
        (tmp_path / "b.binvox").write_bytes(b"\n".join(lines[:-1]) + b"\ntranslate 1 2 3\nscale 0.16\ndata\n" + data)
        grid = load_voxels(tmp_path / "b.binvox", up="z")
        assert grid.edge == pytest.approx(0.16)
        np.testing.assert_allclose(grid.occupied_centres.min(axis=0), [1.005, 2.005, 3.005])

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.vox", b"", r"ends in \.npz or \.binvox, not in '\.vox'"),
            ("a.npz", b"not a zip", "a.npz"),
            ("a.binvox", b"#binvox 1\ndim 900 900 900\ndata\n", "900 x 900 x 900 voxels are more"),
            ("a.binvox", b"hello", "not a binvox file"),
            ("a.binvox", b"#binvox 1\ndim 8 8 8\ntranslate 0 0 0\nscale 1\ndata\n\x01", "a.binvox"),
        ],
    )
    def test_files_that_are_none_are_refused_by_name(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VoxelError, match=message):
            load_voxels(tmp_path / name)

    def test_a_missing_file_and_a_missing_array(self, tmp_path):
        with pytest.raises(VoxelError, match="no such file"):
            load_voxels(tmp_path / "none.npz")
        np.savez(tmp_path / "g.npz", depth=np.zeros(3))
        with pytest.raises(VoxelError, match="needs an array 'voxels', found depth"):
            load_voxels(tmp_path / "g.npz")
