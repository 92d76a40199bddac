"""Forward passes in a precision other than that in which weights are stored and updated."""

from __future__ import annotations

from types import TracebackType
from typing import Literal

import torch as th
from torch import nn

Precision = Literal["float32", "bfloat16"]


class Computing:
    """A `with` block in which a model's float32 weights have another precision.

    The copies are made once, when this object is created. Each block replaces the weights by the copies and restores
    the unchanged weights at its end, even after an exception. `"float32"` changes nothing, for weights of any
    precision.

    Args:
        model: the model.
        precision: `"float32"` or `"bfloat16"`.
    """

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        self._tensors: list[th.Tensor] = []
        if precision == "bfloat16":
            self._tensors = [t for t in (*model.parameters(), *model.buffers()) if t.dtype == th.float32]
        with th.inference_mode(False), th.no_grad():
            self._others = [tensor.data.to(th.bfloat16) for tensor in self._tensors]

    def __enter__(self) -> None:
        self._exchange()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange()

    def _exchange(self) -> None:
        for i, tensor in enumerate(self._tensors):
            tensor.data, self._others[i] = self._others[i], tensor.data
