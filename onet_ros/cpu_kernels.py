"""Loops over points and cells that Numba compiles for this CPU, and the threads that they run on.

NumPy and torch take one pass through memory for each step of a formula; a loop takes one for all of them, and holds no
lock of the interpreter meanwhile. What is compiled is kept beside the source, or in the user's cache where nobody may
write there, and for one process only where that cannot be either.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import torch
from numba.core.dispatcher import Dispatcher

Loop = TypeVar("Loop", bound=Callable[..., Any])

# Sums in any order, products joined with them, no signed zeros: what vector units need. NaN and infinity stay what they
# are, since what comes from outside may hold them.
_MATHS = {"reassoc", "contract", "nsz", "arcp"}

SHARES = 4  # for each thread
_LANES = "onet_ros.lanes"


def compiled(loop: Loop) -> Loop:
    """The loop, compiled at its first call for the types of its arguments.

    What is kept of it is made anew when its own file changes, or one that its file imports loops or lanes from.
    Constants of yet other files should be such that stay what they are.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": _MATHS, "error_model": "numpy"}
    try:
        kept = numba.njit(cache=True, **options)(loop)
        # Numba itself goes by the loop's own file only. Where it is built differently, nothing is kept.
        file = kept._cache._cache_file
        file._source_stamp = file._source_stamp, _stamps(loop)
    except (RuntimeError, AttributeError):  # no folder to keep it in
        return cast(Loop, numba.njit(**options)(loop))
    return cast(Loop, kept)


def _stamps(loop: Callable[..., Any]) -> list[tuple[str, float, int]]:
    """Of the files that a loop is made from beside its own: name, time of the last change, size."""
    found, pending = {loop.__module__}, [loop.__globals__]
    while pending:
        for value in list(pending.pop().values()):
            name = str(getattr(value, "__module__", ""))
            if (isinstance(value, Dispatcher) or name == _LANES) and name not in found:
                found.add(name)
                pending.append(vars(sys.modules[name]))
    files = [Path(str(sys.modules[name].__file__)) for name in sorted(found - {loop.__module__})]
    return [(file.name, file.stat().st_mtime, file.stat().st_size) for file in files]


def over_cores(loop: Callable[..., None], count: int, *arguments: Any, least: int) -> None:
    """Call `loop(low, high, *arguments)` for the items 0 to count - 1, shared among torch's number of threads.

    Each thread takes the next share as soon as it is done with one: others may need its core as well.

    Args:
        loop: compiled; it writes to its arguments.
        least: items that are worth a share of their own.
    """
    threads = torch.get_num_threads()
    shares = max(1, min(SHARES * threads, count // least))
    ends = [count * share // shares for share in range(shares + 1)]
    open_shares = iter(pairwise(ends))

    def work() -> None:
        for low, high in open_shares:
            loop(low, high, *arguments)

    others = [_pool(threads).submit(work) for _ in range(min(threads, shares) - 1)]
    work()
    for other in others:
        other.result()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="onet_loops")
