"""Loops for a CPU: every item once on any number of threads, errors told, and no folder needed to keep them in."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch

from onet_ros.cpu_kernels import SHARES, compiled, over_cores


@compiled
def count_up(low: int, high: int, counts: np.ndarray) -> None:
    for i in range(low, high):
        counts[i] += 1


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 1000, 1001])
def test_every_item_comes_once(threads, count):
    counts = np.zeros(count, dtype=np.int64)
    over_cores(count_up, count, counts, least=8)
    assert (counts == 1).all()


def test_shares_are_no_smaller_than_is_worth_it(threads):
    shares = []
    over_cores(lambda low, high: shares.append(high - low), 1000, least=90)
    assert sum(shares) == 1000
    assert min(shares) >= 90
    assert len(shares) == min(1000 // 90, SHARES * threads)


def test_what_goes_wrong_in_a_share_is_told(threads):
    def fails_late(low: int, high: int) -> None:
        if high == 1000:
            raise ValueError(f"no {high}")

    with pytest.raises(ValueError, match="no 1000"):
        over_cores(fails_late, 1000, least=10)


def test_nan_stays_nan():
    @compiled
    def larger(values: np.ndarray) -> int:
        count = 0
        for value in values:
            if not value <= 0.0:
                count += 1
        return count

    assert larger(np.array([np.nan, -1.0, 2.0, np.inf])) == 3


def test_without_a_folder_to_keep_it_in_a_loop_is_compiled_all_the_same(monkeypatch):
    njit = numba.njit

    def refuses(*args, cache: bool = False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(numba, "njit", refuses)
    counts = np.zeros(3, dtype=np.int64)
    compiled(count_up.py_func)(0, 3, counts)
    assert counts.tolist() == [1, 1, 1]


def test_loops_are_kept_for_the_next_process(tmp_path):
    code = "import numpy as np; from onet_ros.surface import volume; volume(np.eye(4, 3), np.array([[0, 1, 2]]))"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def kept() -> dict[str, int]:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}

    first = kept()
    assert first
    assert kept() == first


def test_a_loop_is_made_anew_when_one_of_another_file_changes(tmp_path):
    decorated = "from onet_ros.cpu_kernels import compiled\n\n@compiled\ndef {}(x):\n    return {}\n"
    (tmp_path / "outer_loop.py").write_text(
        f"from inner_loop import inner\n{decorated.format('outer', 'inner(x) + 1')}"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    command = "from outer_loop import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"

    def result_and_hits() -> list[str]:
        run = [sys.executable, "-c", command]
        told = subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return told.stdout.split()

    for inner, expected in (("x * 10", "11"), ("x * 100", "101")):
        (tmp_path / "inner_loop.py").write_text(decorated.format("inner", inner))
        assert result_and_hits() == [expected, "0"]
    assert result_and_hits() == ["101", "1"]
