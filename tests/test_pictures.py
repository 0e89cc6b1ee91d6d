"""Pictures against known geometry: silhouettes, occlusion, shadows, colours, layout."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image as PillowImage

from onet_ros.pictures import (
    CAPTURE_COLUMNS,
    GUESSED,
    SEEN,
    Comparison,
    Stage,
    View,
    add_scale_bar,
    capture_row,
    colour_legend,
    comparison_row,
    comparison_sheet,
    confidence_colours,
    confidence_legend,
    contact_sheet,
    error_colours,
    error_legend,
    reconstruction_picture,
    render_mesh,
    render_points,
    save_picture,
    shape_picture,
    shape_sheet,
    surface_distances,
)
from onet_ros.pictures.colours import PAPER
from onet_ros.pictures.rendering import corner_normals

GROUND = (0.0, 0.0, 1.0, 0.0)
PAPER_8 = np.round(255 * np.array(PAPER))


def ball(centre=(0.0, 0.0, 0.05), radius=0.05) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    mesh.apply_translation(centre)
    return mesh


def optical_view(width=160, height=120, focal=200.0) -> View:
    """A camera at the origin whose optical frame is the world."""
    K = np.array([[focal, 0, 0.5 * (width - 1)], [0, focal, 0.5 * (height - 1)], [0, 0, 1]])
    return View(K, np.eye(4), width, height)


def luminance(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.2126, 0.7152, 0.0722])


# Views


@pytest.mark.parametrize("size", [(200, 200), (300, 120), (120, 300)])
def test_view_holds_all_points_and_no_more_room_than_asked(size):
    points = np.random.default_rng(0).uniform((-0.1, -0.2, 0), (0.3, 0.2, 0.15), (500, 3))
    view = View.around(points, (1.0, -2.0, 0.8), size=size, margin=1.1)
    offset = np.abs(view.project(points)[:, :2] - view.intrinsics[:2, 2]) / (0.5 * np.array(size))
    assert offset.max() == pytest.approx(1 / 1.1, abs=1e-6)


def test_rays_of_a_view_project_to_their_pixels():
    view = View.around([[0, 0, 0], [0.1, 0.2, 0.1]], (1, 1, 1), size=(40, 30))
    rays = view.rays().reshape(-1, 6)
    projected = view.project(rays[:, :3] + 0.7 * rays[:, 3:])
    v, u = np.mgrid[:30, :40]
    np.testing.assert_allclose(projected[:, 0], u.ravel(), atol=1e-3)
    np.testing.assert_allclose(projected[:, 1], v.ravel(), atol=1e-3)


def test_resized_view_sees_a_point_at_the_same_place_of_the_image():
    view = optical_view()
    point = [[0.03, -0.02, 0.5]]
    before, after = view.project(point)[0, :2] + 0.5, view.resized(3).project(point)[0, :2] + 0.5
    np.testing.assert_allclose(after, 3 * before)


def test_view_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 points"):
        View.around(np.zeros((0, 3)), (1, 0, 0))


# Meshes


def test_silhouette_of_a_ball_has_its_analytic_area():
    depth, radius, focal = 0.5, 0.08, 200.0
    image = render_mesh(ball((0, 0, depth), radius), optical_view(focal=focal), (0.1, 0.1, 0.1))
    covered = (PAPER_8.mean() - image.mean(-1)).clip(0) / (PAPER_8.mean() - 20)
    disc = np.pi * (focal * radius) ** 2 / (depth**2 - radius**2)
    assert np.count_nonzero(covered > 0.25) == pytest.approx(disc, rel=0.02)
    np.testing.assert_array_equal(image[0, 0], PAPER_8)


def test_nearer_mesh_hides_the_farther():
    near, far = ball((0, 0, 0.5), 0.05), ball((0, 0, 0.9), 0.05)
    image = render_mesh([far, near], optical_view(), [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
    red, _, blue = image[60, 80].astype(int)
    assert blue > 100
    assert red < 20


def test_vertex_colours_are_shown_where_the_vertices_are():
    mesh = ball((0, 0, 0.5), 0.08)
    colours = np.where(mesh.vertices[:, :1] < 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]])
    image = render_mesh(mesh, optical_view(), colours).astype(int)
    assert image[60, 65, 0] > image[60, 65, 2] + 50
    assert image[60, 95, 2] > image[60, 95, 0] + 50


def test_light_comes_from_above_and_the_ground_takes_a_shadow():
    mesh = ball()
    view = View.around(mesh.vertices, (0.2, -1.0, 0.6), size=(160, 160), margin=2.0)
    image = luminance(render_mesh(mesh, view, (0.6, 0.6, 0.6), plane=GROUND))
    top, bottom, beside = (
        image[tuple(np.round(view.project([point])[0, [1, 0]]).astype(int))]
        for point in ((0, -0.02, 0.095), (0, -0.045, 0.02), (0.045, 0.02, 0.0))
    )
    assert top > bottom + 30
    assert beside < luminance(PAPER_8) - 25
    assert image[1, 1] > luminance(PAPER_8) - 4


def test_picture_without_meshes_is_an_empty_ground():
    view = optical_view()
    np.testing.assert_array_equal(render_mesh([], view), np.broadcast_to(PAPER_8, (120, 160, 3)))


def test_overlay_changes_only_the_pixels_of_the_mesh():
    picture = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    mesh, view = ball((0, 0, 0.5), 0.05), optical_view()
    image = render_mesh(mesh, view, SEEN, background=picture, opacity=0.8)
    v, u = np.mgrid[:120, :160]
    distance = np.hypot(u - 79.5, v - 59.5)
    np.testing.assert_array_equal(image[distance > 23], picture[distance > 23])
    assert (image[distance < 18] != picture[distance < 18]).any(-1).mean() > 0.95
    np.testing.assert_array_equal(render_mesh(mesh, view, SEEN, background=picture, opacity=0.0), picture)


def test_creases_stay_sharp_and_round_surfaces_smooth():
    box = trimesh.creation.box((1, 1, 1))
    np.testing.assert_allclose(corner_normals(box), np.repeat(box.face_normals[:, None], 3, axis=1), atol=1e-12)
    sphere = trimesh.creation.icosphere(subdivisions=3)
    np.testing.assert_allclose(corner_normals(sphere), sphere.triangles, atol=0.02)


def test_wrong_colours_are_refused_with_what_was_given():
    view, mesh = optical_view(), ball((0, 0, 0.5))
    with pytest.raises(ValueError, match="3 colours for 2 meshes"):
        render_mesh([mesh, mesh], view, [SEEN, SEEN, SEEN])
    with pytest.raises(ValueError, match=r"shape \(7, 3\)"):
        render_mesh(mesh, view, np.zeros((7, 3)))
    with pytest.raises(ValueError, match=r"0\.\.255"):
        render_mesh(mesh, view, [0, 255, 0])
    with pytest.raises(ValueError, match="10 x 10 px, the view 160 x 120"):
        render_mesh(mesh, view, background=np.zeros((10, 10, 3), np.uint8))


# Points


def test_nearest_point_is_on_top_and_missing_points_are_left_out():
    points = np.array([[0, 0, 0.5], [0, 0, 0.9], [np.nan] * 3, [0, 0, -0.5]])
    colours = np.array([[200, 0, 0], [0, 0, 200], [0, 200, 0], [0, 200, 0]], dtype=np.uint8)
    image = render_points(points, optical_view(161, 121), colours, point_size=0.02)
    red, green, blue = image[60, 80].astype(int)
    assert red > 60
    assert green == blue == 0
    radius = 200 * 0.01 / 0.5
    covered = (image != PAPER_8).any(-1).sum()
    assert covered == pytest.approx(np.pi * radius**2, rel=0.35)


def test_point_before_the_lens_does_not_fill_the_picture():
    image = render_points([[0, 0, 1e-5], [0.02, 0, 0.5]], optical_view())
    assert (image != PAPER_8).any(-1).mean() < 0.02


def test_cloud_of_missing_points_is_an_empty_picture():
    image = render_points(np.full((4, 5, 3), np.nan), optical_view())
    np.testing.assert_array_equal(image, np.broadcast_to(PAPER_8, image.shape))


def test_points_are_shaded_by_their_surface():
    points = trimesh.sample.sample_surface(ball((0, 0, 0.5), 0.08), 30_000, seed=0)[0]
    image = luminance(render_points(points, optical_view(), (0.6, 0.6, 0.6), point_size=0.004, up=(0, -1, 0)))
    assert image[40, 80] > image[82, 80] + 20


# Colour maps


def test_confidence_runs_from_guessed_to_seen():
    colours = confidence_colours([0.0, 1.0, 2.0])
    np.testing.assert_allclose(colours, [GUESSED, SEEN, SEEN], atol=1e-2)


def test_errors_grow_darker_up_to_the_maximum():
    brightness = luminance(error_colours(np.linspace(0, 0.01, 50), 0.01))
    assert (np.diff(brightness) < 0).all()
    np.testing.assert_array_equal(error_colours([0.5], 0.01), error_colours([0.01], 0.01))
    with pytest.raises(ValueError, match="-1"):
        error_colours([0.0], -1)


# Sheets


def test_contact_sheet_holds_every_image_unchanged():
    rng = np.random.default_rng(2)
    rows = [
        [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), None],
        [rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)],
    ]
    sheet = contact_sheet(
        rows,
        column_titles=("one", "two"),
        row_captions=("first\nIoU 0.71", "second"),
        cell_captions=(("a", ""), ("b\nc",)),
        title="Title",
        subtitle="below it",
        legends=(confidence_legend(), error_legend(0.01), colour_legend({"truth": (0.5, 0.5, 0.5)})),
    )
    for row in rows:
        inner = row[0][10:-10, 10:-10]  # the corners are round
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (1, inner.shape[1], 3))[..., 0, :, :].squeeze(2)
        starts = np.argwhere((windows == inner[0]).all((-1, -2)))
        assert len(starts) == 1
        y, x = starts[0]
        np.testing.assert_array_equal(sheet[y : y + inner.shape[0], x : x + inner.shape[1]], inner)


def test_captions_and_titles_make_room_for_themselves():
    image = np.zeros((50, 50, 3), dtype=np.uint8)
    plain = contact_sheet([[image]])
    captioned = contact_sheet([[image]], row_captions=("a caption",), cell_captions=(("below",),), title="T")
    assert captioned.shape[0] > plain.shape[0] + 40
    assert captioned.shape[1] > plain.shape[1] + 50
    assert contact_sheet([[image]], title="a title that is wider than the picture").shape[1] > 400


def test_sheet_without_images_is_refused():
    with pytest.raises(ValueError, match="2 rows without any"):
        contact_sheet([[None], []])


def test_scale_bar_is_as_long_as_it_says():
    image = np.full((200, 300, 3), 255, dtype=np.uint8)
    barred = add_scale_bar(image, pixels_per_metre=800.0)
    # A third of 300 px is 124 mm: the bar says 100 mm, which are 80 px.
    longest = max(np.count_nonzero(row) for row in (barred.sum(-1) < 200))
    assert longest == pytest.approx(80, abs=1)
    assert not np.shares_memory(image, barred)
    assert (image == 255).all()
    with pytest.raises(ValueError, match=r"0\.0"):
        add_scale_bar(image, 0.0)


def test_saved_picture_reads_back_and_its_folder_is_made(tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = save_picture(tmp_path / "new" / "picture.png", image)
    np.testing.assert_array_equal(np.asarray(PillowImage.open(path)), image)
    assert save_picture(tmp_path / "picture.jpg", image).stat().st_size > 0
    with pytest.raises(ValueError, match="float64"):
        save_picture(tmp_path / "wrong.png", image / 255.0)


# Reconstructions


@pytest.fixture(scope="module")
def scene():
    """Optical frame: a level table 0.1 m below the axis, a ball on it, its front half seen."""
    mesh = ball((0.0, 0.05, 0.6))
    plane = np.array([0.0, -1.0, 0.0, 0.1])
    points = mesh.vertices[mesh.vertices[:, 2] < 0.6]
    confidence = (mesh.vertices[:, 2] < 0.6).astype(float)
    return mesh, plane, points, confidence


def test_stage_turns_from_the_camera_side_to_behind(scene):
    mesh, plane, _, _ = scene
    stage = Stage.around([mesh], plane)
    front, behind = stage.view(0.0, (100, 80)), stage.view(np.pi, (100, 80))
    assert front.eye[2] < 0.6 < behind.eye[2]
    for view in (front, behind):
        assert view.eye @ plane[:3] + plane[3] > 0.1  # above the table
        assert view.up @ plane[:3] > 0.3


def test_camera_straight_above_has_sides_too():
    stage = Stage.around([ball((0, 0, 0.55))], plane=(0, 0, -1, 0.6))
    front, behind = stage.view(0.0, (100, 80)), stage.view(np.pi, (100, 80))
    assert front.eye[1] > 0.1  # at the lower edge of the camera's image
    assert behind.eye[1] < -0.1


def test_seen_and_guessed_sides_have_their_colours(scene):
    mesh, plane, _, confidence = scene
    stage = Stage.around([mesh], plane)
    for azimuth, warm in ((0.0, False), (np.pi, True)):
        view = stage.view(azimuth, (100, 80))
        image = render_mesh([mesh], view, [confidence_colours(confidence)], plane).astype(int)
        red, _, blue = image[40, 50]
        assert (red > blue + 40) == warm
        assert (blue > red + 40) == (not warm)


def test_reconstruction_picture_has_a_panel_for_everything_given(scene):
    mesh, plane, points, confidence = scene
    size = (120, 90)
    bare = reconstruction_picture(points, [mesh], panel_size=size, columns=5)
    full = reconstruction_picture(
        points,
        [mesh],
        [confidence],
        truth=[mesh],
        plane=plane,
        rgb=np.zeros((48, 64, 3), np.uint8),
        title="Ball",
        panel_size=size,
        columns=5,
    )
    assert bare.shape[1] > 3 * size[0]
    assert full.shape[1] > bare.shape[1] + 1.9 * size[0]
    assert full.dtype == np.uint8
    again = reconstruction_picture(points, [mesh], panel_size=size, columns=5)
    np.testing.assert_array_equal(bare, again)


def test_reconstruction_picture_refuses_what_does_not_fit_together(scene):
    mesh, plane, points, confidence = scene
    with pytest.raises(ValueError, match="2 confidences for 1 meshes"):
        reconstruction_picture(points, [mesh], [confidence, confidence], plane=plane, panel_size=(60, 40))
    with pytest.raises(ValueError, match="0 meshes"):
        reconstruction_picture(points, [], plane=plane)


def test_capture_row_lays_the_mesh_over_the_object(scene):
    mesh, plane, _, confidence = scene
    K = np.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])
    rgb = np.full((240, 320, 3), 90, dtype=np.uint8)
    row = capture_row(rgb, K, [mesh], [confidence], plane, width=160)
    assert len(row) == len(CAPTURE_COLUMNS)
    assert {image.shape for image in row} == {(120, 160, 3)}
    changed = np.argwhere((np.abs(row[1].astype(int) - row[0]) > 8).any(-1))
    expected = (K @ [0, 0.05, 0.6])[:2] / 0.6 / 2  # half the size
    np.testing.assert_allclose(changed.mean(0)[::-1], expected, atol=1.5)


def test_capture_without_a_reconstruction_shows_the_picture_alone():
    row = capture_row(np.zeros((24, 32, 3), np.uint8), np.eye(3), [], width=16)
    assert row[0].shape == (12, 16, 3)
    assert row[1:] == [None, None, None]


def test_shape_sheet_has_a_tile_per_shape():
    shapes = [ball(), trimesh.creation.box((0.1, 0.05, 0.2)), ball(radius=0.02)]
    sheet = shape_sheet(shapes, captions=("ball", "box", "marble"), columns=2, tile=64)
    assert sheet.shape[1] > 2 * 64
    assert sheet.shape[0] > 2 * (64 + 11)
    tile = shape_picture(shapes[0], (64, 64))
    assert tile.shape == (64, 64, 3)
    assert (luminance(tile)[24:40, 24:40] < 235).all()


def test_distances_to_the_truth_are_positive_on_both_sides():
    truth = trimesh.creation.icosphere(subdivisions=5, radius=0.05)
    points = np.array([[0.06, 0, 0], [0, 0.045, 0], [0, 0, 0]])
    np.testing.assert_allclose(surface_distances(points, truth), [0.010, 0.005, 0.050], atol=1e-4)


def test_a_comparison_shows_error_where_the_hidden_side_is_wrong(scene):
    truth, plane, points, _ = scene
    mesh = truth.copy()
    mesh.vertices[:, 2] = np.where(
        mesh.vertices[:, 2] > 0.6, 0.6 + 1.6 * (mesh.vertices[:, 2] - 0.6), mesh.vertices[:, 2]
    )
    _, plain, front, _, behind, true_shape = comparison_row(Comparison(points, mesh, truth, plane), (120, 100))
    assert plain.shape == true_shape.shape == (100, 120, 3)

    def dark_red(image):
        red, green, _ = image[30:70, 40:80].astype(int).reshape(-1, 3).T
        return float(((red - green > 40) & (green < 90)).mean())

    assert dark_red(behind) > 0.5
    assert dark_red(front) < 0.1


def test_a_failed_reconstruction_leaves_its_panels_empty(scene):
    truth, plane, points, _ = scene
    row = comparison_row(Comparison(points, None, truth, plane), (60, 50))
    assert [len(np.unique(image)) > 2 for image in row] == [True, False, False, False, False, True]
    unseen = comparison_row(Comparison(points[:0], None, truth, None), (60, 50))
    assert comparison_sheet([row, unseen], ["lost", "never seen"]).shape[1] > 6 * 60
