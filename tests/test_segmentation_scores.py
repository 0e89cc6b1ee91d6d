"""Scores of a segmentation on label images that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.learning.segmentation_scores import main, plane_error, score_segmentation
from onet_ros.scene import SupportPlane

TRUE = np.zeros((10, 30), np.uint8)
TRUE[:, 0:10] = 1
TRUE[:, 12:22] = 2


def outcomes(predicted):
    return [score.outcome for score in score_segmentation(predicted, TRUE).objects]


def test_perfect_labels_are_found_whatever_their_numbers():
    scores = score_segmentation(np.choose(TRUE, [0, 5, 3]), TRUE, ("left", "right"), (1.0, 0.5))
    assert [(s.name, s.outcome, s.iou, s.kept, s.visible_fraction) for s in scores.objects] == [
        ("left", "found", 1.0, 1.0, 1.0),
        ("right", "found", 1.0, 1.0, 0.5),
    ]
    assert scores.false_clusters == 0
    assert scores.extra == 0.0


def test_split_merged_missed_and_poor():
    halves = TRUE.copy()
    halves[:, 5:10] = 3
    assert outcomes(halves) == ["split", "found"]
    assert outcomes((TRUE > 0).astype(int)) == ["merged", "merged"]
    assert outcomes(np.where(TRUE == 1, 1, 0)) == ["found", "missed"]
    thin = np.zeros_like(TRUE)
    thin[:, :6] = 1
    assert outcomes(thin) == ["poor", "missed"]


def test_iou_kept_false_clusters_and_extra():
    predicted = np.zeros(TRUE.shape, int)
    predicted[:, 0:9] = 1  # 90 of 100 pixels
    predicted[:, 12:24] = 2  # all 100, and 20 of the table
    predicted[:5, 27:] = 3  # 15 pixels of table
    scores = score_segmentation(predicted, TRUE)
    assert [s.iou for s in scores.objects] == pytest.approx([0.9, 100 / 120])
    assert [s.kept for s in scores.objects] == pytest.approx([0.9, 1.0])
    assert scores.false_clusters == 1
    assert scores.extra == pytest.approx(35 / 200)


def test_pixels_without_depth_do_not_count():
    true = TRUE.copy()
    true[:5] = 255
    predicted = np.where(true == 255, 9, TRUE)
    assert [s.iou for s in score_segmentation(predicted, true).objects] == [1.0, 1.0]


def test_images_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"got \(10, 29\) and \(10, 30\)"):
        score_segmentation(TRUE[:, 1:], TRUE)


def test_plane_error_of_known_planes():
    true = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
    found = SupportPlane(np.array([0.0, np.sin(0.01), np.cos(0.01)]), 0.002)
    angle, height = plane_error(found, true, np.zeros((5, 3)))
    assert angle == pytest.approx(0.01)
    assert height == pytest.approx(0.002)


def test_command_prints_a_table_and_writes_pictures(dev_data, tmp_path, capsys):
    folder = tmp_path / "data"
    (folder / "scenes").mkdir(parents=True)
    (folder / "scenes" / "scene_00.npz").symlink_to(dev_data / "scenes" / "scene_00.npz")
    main(["--data", str(folder), "--pictures", str(tmp_path / "pictures")])
    printed = capsys.readouterr().out
    assert "4 found" in printed
    assert "objects at least 60% visible: 4 found of 4" in printed
    assert (tmp_path / "pictures" / "scene_00.png").stat().st_size > 1000


def test_command_refuses_a_folder_without_captures(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path)])
    assert "no scenes/*.npz or real/*.npz" in capsys.readouterr().err
