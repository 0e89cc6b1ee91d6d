"""GPU kernels written in Triton (`tl`), where Triton is installed; whoever uses one has another way as well."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # builds of torch for a CPU or a Jetson come without
    triton = tl = None

_logger = logging.getLogger(__name__)


def jit(function: Callable[..., Any]) -> Any:
    """`triton.jit` where there is Triton; elsewhere the function as it is, which nobody can call then.

    Arguments named `count` are numbers that change from call to call; nothing is made anew for special ones among them.
    """
    if triton is None:
        return function
    changing = [name for name in inspect.signature(function).parameters if name == "count"]
    return triton.jit(function, do_not_specialize=changing)


class GpuKernels:
    """The kernels of one purpose, used together or not at all.

    Args:
        purpose: what is done another way where they cannot be made, for the log.
        block: items that one program works on; each kernel is told as its constant BLOCK.
    """

    def __init__(self, purpose: str, block: int) -> None:
        self._purpose, self._block = purpose, block
        self._refused = False

    def fit(self, tensor: Tensor) -> bool:
        """Whether there is Triton, the tensor is on a GPU, and no kernel has been refused so far."""
        return triton is not None and not self._refused and tensor.is_cuda

    def launch(self, kernel: Any, items: int, *arguments: Any, **constants: Any) -> bool:
        """Run a kernel over so many items.

        Returns:
            False where Triton cannot make it for this GPU, which is said once.
        """
        try:
            kernel[((items + self._block - 1) // self._block,)](*arguments, **constants, BLOCK=self._block)
        except Exception as error:  # noqa: BLE001 - whatever its compiler says, there is another way
            if not self._refused:
                _logger.warning("%s, since a kernel could not be made for this GPU: %s", self._purpose, error)
            self._refused = True
            return False
        return True
