"""One thread for NumPy's BLAS in the processes of this package.

A thread of OpenBLAS goes on spinning for a tenth of a second after its product is done. On a machine of few cores it
spins where a thread of torch is to work, and every operation waits for the two to be taken in turns.
"""

from __future__ import annotations

import os
import sys


def one_blas_thread() -> None:
    """Ask for one, unless the environment says otherwise or NumPy is loaded already."""
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
