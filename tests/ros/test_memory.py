"""Memory of a process is told, and given back."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from onet_ros.ros.memory import (
    look_at_all_again,
    resident_memory,
    return_unused_memory,
    spare_what_is_there,
)

# In a process of its own: pieces of memory of which every other one is given up, many threads, one after the other.
CHURN = """
import sys, threading
from onet_ros.ros.memory import resident_memory, return_unused_memory, share_arenas
if sys.argv[1] == "shared":
    share_arenas()
def churn():
    blocks = [bytearray(20_000) for _ in range(2000)]
    del blocks[::2]
for _ in range(3):
    threads = [threading.Thread(target=churn) for _ in range(8)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
return_unused_memory()
print(resident_memory())
"""


def test_memory_of_this_process_is_more_than_python_needs():
    assert 10_000_000 < resident_memory() < 10**12


def test_memory_that_is_not_in_use_is_given_back():
    blocks = [bytearray(20_000) for _ in range(5000)]  # 100 MB, in pieces that the allocator keeps
    del blocks[::2], blocks
    before = resident_memory()
    return_unused_memory()
    assert resident_memory() <= before


class Knot:
    """Is part of a reference cycle, as a mesh is."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_in_cycles_is_freed_and_what_was_there_before_is_not_looked_at():
    gc.disable()
    try:
        older = Knot()
        spare_what_is_there()
        left = weakref.ref(Knot()), weakref.ref(older)
        del older
        assert left[0]() is not None
        return_unused_memory()
        assert left[0]() is None
        assert left[1]() is not None
        look_at_all_again()
        assert left[1]() is None
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_shared_arenas_do_no_harm_to_threads():
    for manner in ("shared", "own"):
        result = subprocess.run(
            [sys.executable, "-c", CHURN, manner], capture_output=True, text=True, check=True, timeout=60
        )
        assert 10_000_000 < int(result.stdout) < 10**9
