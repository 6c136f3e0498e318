"""One optimiser for a whole network: Muon for hidden matrices, Adam for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from agents.muon import Muon

OptimizerKind = Literal["muon", "adam"]


class PolicyOptimizer:
    """Gradient clipping, guarded steps and a common learning-rate scale over Muon and Adam.

    Muon presumes that a matrix maps features to features, so first layers, output heads, biases,
    gains and standard deviations go to Adam (Jordan 2024). With kind "adam", so does everything.

    A step whose global gradient norm is not finite changes nothing but the count ``skipped``.
    The decision stays on the device: no step waits for the host.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        hidden_matrices: Iterable[nn.Parameter] = (),
        *,
        kind: OptimizerKind = "adam",
        lr: float = 4e-4,
        muon_lr: float = 4e-4,
        muon_momentum: float = 0.95,
        max_grad_norm: float = 1.0,
        capturable: bool = False,
        apart: Iterable[nn.Parameter] = (),
        apart_lr: float | None = None,
    ) -> None:
        """Args:
            parameters: everything to train.
            hidden_matrices: those of them that Muon trains if ``kind`` is "muon".
            lr: base learning rate of Adam.
            muon_lr: base learning rate of Muon.
            max_grad_norm: bound of the global gradient norm.
            capturable: on CUDA, make steps that a CUDA graph can hold.
            apart: those of the parameters that Adam trains at a rate of their own, ``apart_lr``.

        Raises:
            ValueError: for an unknown kind or a matrix that is not among the parameters.
        """
        if kind not in get_args(OptimizerKind):
            raise ValueError(f"kind must be one of {get_args(OptimizerKind)}, got {kind!r}")
        self.kind = kind
        self.max_grad_norm = max_grad_norm
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("there are no parameters to train")
        own = {id(p): p for p in apart} if apart_lr is not None else {}
        hidden = {id(p): p for p in hidden_matrices} if kind == "muon" else {}
        hidden = {key: p for key, p in hidden.items() if key not in own}
        rest = [p for p in self.parameters if id(p) not in hidden and id(p) not in own]
        if len(rest) + len(hidden) + len(own) != len(self.parameters):
            raise ValueError("every hidden matrix must be one of the parameters, each given once")

        device = self.parameters[0].device
        capturable = capturable and device.type == "cuda"

        def rate(value: float) -> float | Tensor:
            # On the device, a step that was captured as a graph follows the schedule.
            return torch.tensor(value, device=device) if capturable else value

        # The fused Adam is one kernel per step and reads `found_inf` on the device.
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        if rest:
            self._optimizers["adam"] = torch.optim.Adam(
                rest, rate(lr), eps=1e-5, fused=True, capturable=capturable
            )
        if own:
            self._optimizers["apart"] = torch.optim.Adam(
                own.values(), rate(apart_lr), eps=1e-5, fused=True, capturable=capturable
            )
        if hidden:
            self._optimizers["muon"] = Muon(hidden.values(), rate(muon_lr), muon_momentum)
        self._base_lr = {"adam": lr, "muon": muon_lr, "apart": apart_lr}
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        """() int64: the number of steps skipped so far."""

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for param in self.parameters:
            param.grad = None

    def step(self) -> Tensor:
        """Clip the gradients and apply them; the () global norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        bad = norm.isfinite().logical_not()
        for optimizer in self._optimizers.values():
            optimizer.found_inf = bad.float()
            optimizer.step()
        self.skipped += bad
        return norm

    def set_lr_scale(self, scale: float, apart: float | None = None) -> None:
        """Set every learning rate to ``scale`` times its base, those apart to ``apart`` times."""
        for name, optimizer in self._optimizers.items():
            own = scale if name != "apart" or apart is None else apart
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(own * self._base_lr[name])
                else:
                    group["lr"] = own * self._base_lr[name]

    def state_dict(self) -> dict[str, Any]:
        """A snapshot (copies) of momenta and counts.

        Hyperparameters are left out: they belong to the configuration of the run that resumes.
        """
        states = {
            name: {
                index: {key: value.clone() for key, value in state.items()}
                for index, state in optimizer.state_dict()["state"].items()
            }
            for name, optimizer in self._optimizers.items()
        }
        return {"kind": self.kind, "skipped": self.skipped.clone(), "states": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a snapshot taken from an optimiser of the same kind and parameters."""
        if state["kind"] != self.kind:
            raise ValueError(f"the snapshot is of kind {state['kind']!r}, not {self.kind!r}")
        self.skipped.copy_(state["skipped"])
        for name, optimizer in self._optimizers.items():
            # Copies, because torch keeps the tensors it is given and would train them in place.
            copied = {
                index: {key: value.clone() for key, value in entry.items()}
                for index, entry in state["states"][name].items()
            }
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": copied, "param_groups": groups})
