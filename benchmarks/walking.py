"""How long bodies walk: seconds before a termination from evenly spaced phases of a stride.

    python -m benchmarks.walking checkpoints=FILE[,FILE] [phases=20] [stride=104] [first=0] [clip=0]
                                 [json=FILE] [settings="key=value;..."] [expert=true] [noise=0]

Every policy starts from the reference's own states and activations, at `phases` frames spread over
`stride` frames from `first` on of a clip (104 frames are a stride of the demo walk; stride=0: over
the clip but for its last second), and plays to a termination of the evaluation rules, or to the
clip's end. Beside the policies: the first one's networks untrained, no excitation at all, and with
expert=true computed muscle control, which needs no training. noise= disturbs them all: that much
(standard deviation) is added to every excitation at every control step, the same for all.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.training import settings_of
from cfg import UserError, load_settings
from mm_torch.action import INVERSES, MAPPINGS
from mm_torch.expert import Expert
from mm_torch.policy_loading import LoadedPolicy, load_policy, untrained
from mm_torch.survival import survival_steps
from mm_torch.table import format_table

STRIDE = 104  # frames, of the demo walk

Policy = Callable[[Tensor], Tensor]


@dataclass
class Starts:
    """Where bodies start, and further settings of the policy."""

    phases: int = 20
    stride: int = STRIDE
    first: int = 0
    clip: int = 0
    settings: str = ""


@dataclass
class Settings(Starts):
    checkpoints: str = ""
    expert: bool = False
    noise: float = 0.0
    json: str = ""


def seconds(loaded: LoadedPolicy, policy: Policy, settings: Settings) -> tuple[list[float], int]:
    """Seconds (phases,) that each start was walked, and how many starts ended in a termination."""
    task = loaded.task
    clip, frame = starts(loaded, settings)
    if settings.noise:
        policy = disturbed(policy, loaded.config.action.mapping, settings.noise)
    steps, failed = survival_steps(task, policy, clip, frame)
    return [float(n) * task.simulator.control_dt for n in steps], int(failed.sum())


def load(checkpoint: str, settings: Starts) -> LoadedPolicy:
    """Load a policy with a body for every start, that walks as long as it stays up.

    Raises:
        UserError: it cannot be had, or there is no such clip.
    """
    extra = settings_of(settings.settings)
    loaded = load_policy(checkpoint, [*extra, "evaluation.max_steps=1000000"], settings.phases)
    if loaded.task.simulator.nworld != settings.phases:
        raise UserError(f"phases={settings.phases}: cannot be simulated at once")
    if not 0 <= settings.clip < len(loaded.task.library.lengths):
        raise UserError(
            f"clip={settings.clip}: {checkpoint} has {len(loaded.task.library.lengths)} clip(s), "
            f"counted from 0"
        )
    return loaded


def starts(loaded: LoadedPolicy, settings: Starts) -> tuple[Tensor, Tensor]:
    """Return the clip and the frame of every start, (phases,) each.

    Raises:
        UserError: the clip has no such frames.
    """
    spread = settings.stride or stride_of_all(loaded, settings)
    frame = settings.first + torch.arange(settings.phases) * spread // settings.phases
    length = int(loaded.task.library.lengths[settings.clip])
    if not 0 <= int(frame.min()) <= int(frame.max()) < length - 1:
        raise UserError(
            f"first={settings.first} stride={settings.stride}: clip {settings.clip} has {length} "
            f"frames: start within them"
        )
    return torch.full_like(frame, settings.clip), frame


def teacher(loaded: LoadedPolicy) -> Expert:
    """Return computed muscle control, as the policy's configuration has it."""
    return Expert.of(loaded.task, loaded.config.action.mapping, loaded.config.pretraining)


def disturbed(policy: Policy, mapping: str, noise: float) -> Policy:
    """Return the policy with normal noise of that deviation on its excitations, from 0 to 1."""
    generator = torch.Generator().manual_seed(0)

    def act(obs: Tensor) -> Tensor:
        excitation = MAPPINGS[mapping](policy(obs))
        added = noise * torch.randn(excitation.shape, generator=generator).to(excitation)
        return INVERSES[mapping]((excitation + added).clamp(0.0, 1.0))

    return act


def stride_of_all(loaded: LoadedPolicy, settings: Starts) -> int:
    """Frames from the first start to a second before the end of the clip, 1 if that is less."""
    length = int(loaded.task.library.lengths[settings.clip])
    return max(1, length - settings.first - round(1 / loaded.task.simulator.control_dt))


def main(arguments: list[str]) -> int:
    """Measure; return the exit status."""
    settings = load_settings(Settings, arguments)
    if not settings.checkpoints:
        raise UserError("checkpoints= is missing: give files written by training")
    if not settings.noise >= 0:
        raise UserError(f"noise={settings.noise:g}: expected a deviation of at least 0")
    rows: list[list[object]] = []
    record = []
    policies: list[tuple[str, LoadedPolicy, Policy]] = []
    for path in settings.checkpoints.split(","):
        loaded = load(path, settings)
        if settings.noise and loaded.config.action.mapping not in INVERSES:
            raise UserError(
                f"noise={settings.noise:g}: {path} has action.mapping="
                f"{loaded.config.action.mapping}, noise needs one of {', '.join(INVERSES)}"
            )
        policies.append((path, loaded, loaded.act))
    first = policies[0][1]
    off = torch.full((settings.phases, first.task.action_dim), -20.0)
    policies.append(("untrained", first, untrained(first)))
    if first.config.action.mapping == "sigmoid":
        policies.append(("no excitation", first, lambda obs: off))
    if settings.expert:
        policies.append(("computed muscle control", first, teacher(first)))
    for name, loaded, policy in policies:
        walked, failed = seconds(loaded, policy, settings)
        stride = (settings.stride or STRIDE) * loaded.task.simulator.control_dt
        quartiles = statistics.quantiles(walked, n=4)
        rows.append([
            name, min(walked), *quartiles, max(walked), statistics.fmean(walked),
            statistics.median(walked) / stride, f"{failed} of {len(walked)}",
        ])  # fmt: skip
        record.append({"policy": name, "seconds": walked, "terminated": failed})
    header = ["policy", "min s", "25 %", "median", "75 %", "max", "mean", "strides (median)",
              "terminated"]  # fmt: skip
    print(format_table(header, rows))
    if settings.json:
        Path(settings.json).write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    from mm_torch.command_line import run_command

    sys.exit(run_command(main, __doc__ or "", settings=False))
