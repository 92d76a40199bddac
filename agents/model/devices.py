"""Checks that a device exists."""

from __future__ import annotations

import torch as th


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
