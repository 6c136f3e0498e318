"""Which number format networks work in."""

from __future__ import annotations

import pytest
import torch

from agents.precision import autocast, has_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "instructions", "dtype"),
    [
        ("float32", True, torch.float32),
        ("bfloat16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("auto", None, torch.float32),
    ],
)
def test_auto_is_bfloat16_on_processors_made_for_it(
    precision: str, instructions: bool | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: a PyTorch that does not say what the processor can do."""
    if instructions is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        told = {"avx512_bf16": instructions}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert has_bfloat16(CPU) is bool(instructions)
    layer = torch.nn.Linear(3, 2)
    with autocast(precision, CPU):
        result = layer(torch.ones(1, 3))
    result.sum().backward()
    assert result.dtype == dtype
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_auto_is_bfloat16_on_a_gpu_made_for_it() -> None:
    device = torch.device("cuda")
    made_for_it = torch.cuda.get_device_capability() >= (8, 0)
    assert has_bfloat16(device) is made_for_it
    with autocast("auto", device):
        result = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
    assert result.dtype == (torch.bfloat16 if made_for_it else torch.float32)
