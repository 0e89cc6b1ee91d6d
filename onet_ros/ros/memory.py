"""Memory of a process that runs for days: told, and kept flat. Needs no ROS.

Arrays of all sizes come and go with every frame. With glibc as it comes, what its allocator keeps of them creeps
upwards for hours, by a fifth within minutes of a busy scene, with nothing more in use. Both measures against it take no
time that one could measure; fixed thresholds for its use of mmap, the third one there is, would cost a tenth.

Python does its own part: meshes are in reference cycles, which only a full garbage collection frees. With the 300,000
objects of the libraries to look through that takes 0.15 s, and is put off for minutes while meshes pile up. What is
there once the node is ready is therefore left out of it.
"""

from __future__ import annotations

import ctypes
import gc
import os

_C_LIBRARY = ctypes.CDLL(None)
_M_ARENA_MAX = -8  # of mallopt, malloc.h
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads allocate from the same two arenas, where the C library has arenas (glibc).

    By default each thread has one of its own, and what one of them keeps is of no use to the others. To be called
    before there are threads.
    """
    option = getattr(_C_LIBRARY, "mallopt", None)
    if option is not None:
        option(_M_ARENA_MAX, _ARENAS)


def spare_what_is_there() -> None:
    """From now on garbage collection looks at newer objects only: quick, and so Python does it more often, too."""
    gc.collect()
    gc.freeze()


def look_at_all_again() -> None:
    """Take `spare_what_is_there` back, and collect."""
    gc.unfreeze()
    gc.collect()


def return_unused_memory() -> None:
    """Free what is garbage, and give free memory back to the system, where the C library can (glibc); takes some
    milliseconds."""
    gc.collect()
    trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_memory(pid: int | None = None) -> int:
    """Bytes of a process (default: this one) in memory; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
