"""How long threads that have nothing to do keep a core busy, in the processes of this package.

A thread of OpenBLAS goes on spinning for a tenth of a second after its product is done, one of torch (GNU's OpenMP)
for some milliseconds. On a machine of few cores they spin where another is to work, and every operation waits for the
two to be taken in turns. Both libraries read what they are to do once, when they are loaded.
"""

from __future__ import annotations

import os
import sys

# GNU's own number is 300,000. Measured for six objects on two cores: fields take a sixth less, encoding 2 % more; with
# 30,000 encoding takes 7 % more.
_SPINS = 100_000


def soon_idle() -> None:
    """Have them sleep sooner, unless the environment says otherwise or the libraries are loaded already."""
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
