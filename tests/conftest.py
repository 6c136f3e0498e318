"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A body that balances multiplies rounding errors: the same sums on every x86 processor, for walks
# that go on on all of them. Read when the libraries load, so set before.
for _name, _instructions in (
    ("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"), ("OPENBLAS_CORETYPE", "Haswell"),
):  # fmt: skip
    os.environ.setdefault(_name, _instructions)

import torch  # noqa: E402

from sim.embodiment import Embodiment, load_embodiment  # noqa: E402
from sim.models import PHANTOM_INERTIA  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
_BODIES: dict[tuple[str, bool, float], Embodiment] = {}


def body(name: str, fingers: bool = False, phantom_inertia: float = PHANTOM_INERTIA) -> Embodiment:
    """Return an embodiment, compiled once a session: fullbody takes seconds."""
    key = (name, fingers, phantom_inertia)
    if key not in _BODIES:
        _BODIES[key] = load_embodiment(*key)
    return _BODIES[key]


@pytest.fixture(scope="session")
def bimanual() -> Embodiment:
    return body("bimanual")


@pytest.fixture(scope="session")
def fullbody() -> Embodiment:
    return body("fullbody")


@pytest.fixture(params=["bimanual", "fullbody"])
def embodiment(request: pytest.FixtureRequest) -> Embodiment:
    return body(request.param)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings, which is not part of the project."""
    return Path(os.environ.get("MM_TORCH_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    # Small tensors: more threads only fight with the simulator's.
    torch.set_num_threads(1)
