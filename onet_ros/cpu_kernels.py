"""Loops over points and cells that Numba compiles for this CPU, and the threads that they run on.

NumPy and torch take one pass through memory for each step of a formula; a loop takes one for all of them, and holds no
lock of the interpreter meanwhile. What is compiled is kept beside the source, or in the user's cache where nobody may
write there, and for one process only where that cannot be either.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar, cast

import numba
import torch

Loop = TypeVar("Loop", bound=Callable[..., Any])

# Sums in any order, products joined with them, no signed zeros: what vector units need. NaN and infinity stay what they
# are, since what comes from outside may hold them.
_MATHS = {"reassoc", "contract", "nsz", "arcp"}

SHARES = 4  # for each thread


def compiled(loop: Loop) -> Loop:
    """The loop, compiled at its first call for the types of its arguments.

    What is kept of it is made anew when its own file changes, and only then: other loops that it calls belong into the
    same one, and of other files' constants it should use only those that stay what they are.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": _MATHS, "error_model": "numpy"}
    try:
        return cast(Loop, numba.njit(cache=True, **options)(loop))
    except RuntimeError:  # no folder to keep it in
        return cast(Loop, numba.njit(**options)(loop))


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
