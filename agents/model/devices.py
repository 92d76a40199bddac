"""Checks that a device exists, and transfers to and from it that wait as rarely as possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch as th
from numpy.typing import NDArray


def check_device(device: th.device | str) -> None:
    """Refuse a device that this machine, or this build of torch, does not have.

    Stable-Baselines3 would use the CPU instead.

    Args:
        device: `"auto"`, or an argument of `torch.device`.

    Raises:
        ValueError: there is no such device; the message says what to use instead.
    """
    if device == "auto":
        return
    try:
        found = th.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {str(device)!r} is unknown: give auto, cpu, cuda, cuda:1, mps, …") from error
    if found.type == "cuda":
        count = th.cuda.device_count() if th.cuda.is_available() else 0
        if (found.index or 0) >= count:
            there = f"there are {count} CUDA devices" if count else "torch finds no CUDA device"
            raise ValueError(f"device {str(device)!r}: {there}; give auto or cpu")
    elif found.type == "mps" and not th.backends.mps.is_available():
        raise ValueError(f"device {str(device)!r}: torch finds no MPS device; give auto or cpu")


def has_fast_bfloat16(device: th.device) -> bool:
    """Return whether a device multiplies matrices in bfloat16 faster than in float32, instead of emulating it.

    These are CPUs with `avx512_bf16` or `amx_bf16`, and NVIDIA GPUs since Ampere.
    """
    if device.type == "cpu":
        return th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported()
    return device.type == "cuda" and th.version.cuda is not None and th.cuda.get_device_capability(device) >= (8, 0)


def upload(array: NDArray[Any] | th.Tensor, device: th.device | str) -> th.Tensor:
    """Return an array as a tensor on a device, without waiting for the device's earlier work."""
    return th.as_tensor(array).to(device, non_blocking=True)


def read_numbers(numbers: Mapping[str, float | th.Tensor]) -> dict[str, float]:
    """Return numbers of which some are scalars on a device, all read in one transfer."""
    scalars = {name: value.detach().double() for name, value in numbers.items() if isinstance(value, th.Tensor)}
    read = dict(zip(scalars, th.stack(list(scalars.values())).tolist(), strict=True)) if scalars else {}
    return {name: read.get(name, value) for name, value in numbers.items()}
