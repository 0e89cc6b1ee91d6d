"""Frames and their masks."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.ros.synchronizer import MaskSynchronizer


class Record:
    def __init__(self, tolerance: int = 10, queue_size: int = 5) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.both = MaskSynchronizer(lambda *pair: self.pairs.append(pair), self.lost.append, tolerance, queue_size)


def test_a_mask_that_comes_later_finds_its_frame():
    record = Record()
    for stamp in (0, 100, 200):
        record.both.add_frame(stamp, f"frame {stamp}")
    record.both.add_mask(103, "mask 103")
    assert record.pairs == [("frame 100", "mask 103")]
    assert record.lost == ["frame 0"]  # overtaken
    record.both.add_mask(199, "mask 199")
    assert record.pairs[1:] == [("frame 200", "mask 199")]


def test_a_mask_that_comes_first_waits_for_its_frame():
    record = Record()
    record.both.add_mask(100, "mask")
    record.both.add_frame(100, "frame")
    assert record.pairs == [("frame", "mask")]


def test_of_several_masks_the_nearest_is_taken():
    record = Record(tolerance=60)
    for stamp in (50, 90, 130):
        record.both.add_mask(stamp, f"mask {stamp}")
    record.both.add_frame(100, "frame")
    assert record.pairs == [("frame", "mask 90")]


def test_masks_too_far_away_belong_to_no_frame():
    record = Record()
    record.both.add_frame(100, "frame")
    record.both.add_mask(111, "mask")
    assert (record.pairs, record.lost) == ([], [])


def test_frames_do_not_pile_up_when_no_masks_come():
    record = Record(queue_size=3)
    for stamp in range(1000):
        record.both.add_frame(100 * stamp, stamp)
    assert record.lost == list(range(997))
    assert record.both.clear() == [997, 998, 999]
    assert record.both.clear() == []


def test_masks_do_not_pile_up_when_no_frames_come():
    record = Record(queue_size=3)
    for stamp in range(1000):
        record.both.add_mask(100 * stamp, stamp)
    record.both.add_frame(0, "old")
    assert record.pairs == []


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_is_paired_lost_or_waits_whatever_the_order(seed):
    rng = np.random.default_rng(seed)
    record = Record(tolerance=30, queue_size=4)
    frames = 0
    for time in range(0, 5000, 10):
        stamp = time - int(rng.integers(0, 100))  # the two sources are late by different times
        if rng.random() < 0.5:
            record.both.add_frame(stamp, stamp)
            frames += 1
        else:
            record.both.add_mask(stamp, stamp)
    assert len(record.pairs) > 10
    assert len(record.pairs) + len(record.lost) + len(record.both.clear()) == frames
    assert all(abs(frame - mask) <= 30 for frame, mask in record.pairs)
