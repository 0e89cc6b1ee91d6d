"""Mesh files of other people: what is read, which unit is found, and what is refused in which words."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.learning.mesh_files import RefusedMeshError, find_mesh_files, metres_per_unit, read_mesh


class TestUnits:
    @pytest.mark.parametrize("extents", [(0.2, 0.1, 0.05), (0.01, 0.004, 0.003), (0.6, 0.1, 0.1)])
    def test_up_to_0_6_is_metres(self, extents):
        assert metres_per_unit(extents, "auto")[:2] == ("m", 1.0)

    @pytest.mark.parametrize("extents", [(200.0, 90.0, 40.0), (61.0, 60.0, 5.0), (600.0, 1.0, 1.0)])
    def test_60_to_600_is_millimetres_and_said_so(self, extents):
        unit, factor, said = metres_per_unit(extents, "auto")
        assert (unit, factor) == ("mm", 0.001)
        assert f"{extents[0]:.4g} x {extents[1]:.4g} x {extents[2]:.4g}, taken as millimetres" in said

    @pytest.mark.parametrize(
        ("longest", "readings"),
        [
            (30.0, "30 mm if mm, 300 mm if cm, 30 m if m"),
            (5.0, "5 mm if mm, 50 mm if cm, 5 m if m"),
            (0.9, "0.9 mm if mm, 9 mm if cm, 900 mm if m"),
            (4000.0, "4 m if mm, 40 m if cm, 4e+03 m if m"),
        ],
    )
    def test_what_could_be_several_units_or_none_is_refused_with_all_readings(self, longest, readings):
        with pytest.raises(
            RefusedMeshError, match=f"unit unclear.*{longest:.4g}.*{readings.replace('+', '.')}.*--unit"
        ):
            metres_per_unit((longest, longest / 2, longest / 2), "auto")

    def test_the_users_word_counts(self):
        assert metres_per_unit((30.0, 20.0, 10.0), "mm")[1] == 0.001
        assert metres_per_unit((30.0, 20.0, 10.0), "cm")[1] == 0.01
        assert metres_per_unit((0.9, 0.2, 0.1), "m")[1] == 1.0

    def test_the_users_word_does_not_make_a_building_an_object(self):
        with pytest.raises(RefusedMeshError, match=r"200 x 90 x 40 m make it 2e\+05 mm long; 5 to 1000 mm are taken"):
            metres_per_unit((200.0, 90.0, 40.0), "m")

    def test_no_size_is_refused(self):
        with pytest.raises(RefusedMeshError, match="no size: its extents are 0 x 0 x 0"):
            metres_per_unit((0.0, 0.0, 0.0), "auto")

    def test_an_unknown_unit_is_quoted(self):
        with pytest.raises(ValueError, match="got 'inch'"):
            metres_per_unit((1.0, 1.0, 1.0), "inch")


class TestFiles:
    @pytest.mark.parametrize("ending", [".stl", ".obj", ".ply", ".glb", ".STL"])
    def test_each_format_gives_the_same_solid(self, tmp_path, ending):
        box = trimesh.creation.box((0.1, 0.06, 0.04))
        path = tmp_path / f"box{ending}"
        box.export(path)
        mesh = read_mesh(path)
        assert len(mesh.vertices) == 8  # STL writes each corner once per triangle
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(0.1 * 0.06 * 0.04, rel=1e-5)

    def test_all_parts_of_a_scene_are_read_where_they_stand(self, tmp_path):
        scene = trimesh.Scene()
        scene.add_geometry(trimesh.creation.box((0.1, 0.1, 0.1)))
        shifted = trimesh.transformations.translation_matrix((0.3, 0.0, 0.0))
        scene.add_geometry(trimesh.creation.box((0.1, 0.1, 0.1)), transform=shifted)
        scene.export(tmp_path / "two.glb")
        np.testing.assert_allclose(read_mesh(tmp_path / "two.glb").extents, (0.4, 0.1, 0.1), atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("empty.stl", b"", "STL|no triangles"),
            ("text.stl", b"solid nothing\nendsolid nothing\n", "STL|no triangles"),
            ("cut.ply", b"ply\nformat ascii", "cannot be read as PLY"),
            ("noise.glb", b"glTF\x02noise and more noise", "cannot be read as GLB"),
            ("points.ply", None, "holds no triangles"),
            ("beyond.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "OBJ|corrupt"),
        ],
    )
    def test_what_is_no_mesh_is_refused(self, tmp_path, name, content, message):
        path = tmp_path / name
        if content is None:
            trimesh.PointCloud(np.eye(3)).export(path)
        else:
            path.write_bytes(content)
        with pytest.raises(RefusedMeshError, match=message):
            read_mesh(path)

    def test_a_truncated_file_is_refused(self, tmp_path):
        path = tmp_path / "cut.stl"
        path.write_bytes(trimesh.creation.icosphere().export(file_type="stl")[:2000])
        with pytest.raises(RefusedMeshError, match=r"STL|no triangles"):
            read_mesh(path)

    def test_folders_are_searched_through_in_order(self, tmp_path):
        (tmp_path / "b" / "c").mkdir(parents=True)
        for name in ("b/c/two.STL", "a.obj", "b/one.ply", "readme.txt"):
            (tmp_path / name).touch()
        found = [path.relative_to(tmp_path).as_posix() for path in find_mesh_files(tmp_path)]
        assert found == ["a.obj", "b/c/two.STL", "b/one.ply"]

    def test_a_folder_without_meshes_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match=f"{tmp_path} holds no mesh files"):
            find_mesh_files(tmp_path)

    def test_a_folder_that_does_not_exist_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
            find_mesh_files(tmp_path / "nowhere")
        (tmp_path / "file.stl").touch()
        with pytest.raises(FileNotFoundError, match="is not a folder"):
            find_mesh_files(tmp_path / "file.stl")
