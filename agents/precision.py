"""Which number format the matrices of a network are multiplied in."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device is known to have instructions of its own for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of PyTorch cannot say what a CPU has.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16", False))


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context in which networks work in a precision; parameters stay float32.

    Args:
        precision: float32, bfloat16, or auto, which is bfloat16 on a device made for it.
        device: of the networks.
    """
    half = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
