"""Computed muscle control at the place of a policy: it looks at the bodies, not at observations."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from cfg.errors import UserError
from cfg.schema import PretrainingConfig
from mm_torch.action import INVERSES
from mm_torch.expert_pool import Follower, FollowerPool, States
from mm_torch.task import ImitationTask
from sim.computed_muscle_control import STANDING, WALKING, ComputedMuscleControl, Gains
from sim.cores import available_cores
from sim.gait_targets import GaitTargets, Stepping
from sim.simulator import apply_options


class Expert:
    """Follows the reference of an imitation task by computed muscle control.

    Bodies are taken one after another on the CPU (of the full body about 130 a second on one core),
    by several processes if asked, each as its nominal model: what is randomised it does not know.
    """

    def __init__(
        self,
        task: ImitationTask,
        mapping: str,
        gains: Gains = WALKING,
        stepping: Stepping | None = None,
        processes: int = 1,
        share: float = 1.0,
        standing: Gains = STANDING,
        steadiness: float = 0.0,
    ) -> None:
        """Prepare every clip of the task.

        Args:
            task: of a body with a root and feet, whose motions have activations.
            mapping: from action to excitation, a key of `INVERSES`.
            gains, standing, steadiness: see :mod:`sim.computed_muscle_control`.
            stepping: see :mod:`sim.gait_targets`.
            processes: that share the bodies, 0 for one a core. More than one: call `close`, and
                from a script only under `if __name__ == "__main__"`.
            share: part of the motions' activations to stay close to, but where bodies stand.

        Raises:
            UserError: a body, a motion set or a mapping that it cannot be had for.
        """
        simulator, library = task.simulator, task.library
        body = simulator.embodiment
        if not (body.has_root and body.foot_geoms):
            raise UserError(f"computed muscle control needs a body that walks, got {body.name}")
        if not library.has_activations:
            raise UserError(
                "computed muscle control needs motions with activations: set "
                "reset.activation=statics, which computes them"
            )
        if mapping not in INVERSES:
            raise UserError(
                f"action.mapping={mapping}: computed muscle control needs one of "
                f"{', '.join(INVERSES)}"
            )
        self._task, self._invert = task, INVERSES[mapping]
        model = copy.copy(body.model)
        apply_options(model, simulator.options)
        self._control = ComputedMuscleControl(
            body, model, simulator.control_dt, gains, standing, steadiness
        )
        targets = []
        for clip, length in enumerate(library.lengths.tolist()):
            frame = torch.arange(length, device=library.lengths.device)
            which = torch.full_like(frame, clip)
            motion = library.frames(which, frame)
            arrays = (motion.qpos, motion.qvel, library.activations(which, frame))
            qpos, qvel, act = (array.double().cpu().numpy() for array in arrays)
            fps = 1 / simulator.control_dt
            targets.append(GaitTargets(body, qpos, qvel, act, fps, stepping, share))
        follower = Follower(self._control, targets)
        processes = min(processes or available_cores(), simulator.nworld)
        self._follower = follower if processes == 1 else FollowerPool(follower, processes)

    @classmethod
    def of(
        cls, task: ImitationTask, mapping: str, config: PretrainingConfig, processes: int = 1
    ) -> Expert:
        """Prepare the teacher that a lesson's configuration asks for."""
        gains = replace(
            WALKING,
            travel=config.travel,
            root_weight=config.root_weight,
            damping=config.damping,
        )
        stepping = Stepping(
            aside=config.aside,
            sideways=config.sideways,
            smoothing_hz=config.smoothing_hz,
            landing_hz=config.landing_hz,
            yielding=config.yielding,
        )
        return cls(
            task, mapping, gains, stepping, processes, config.statics_share,
            steadiness=config.steadiness,
        )  # fmt: skip

    def __call__(self, obs: Tensor) -> Tensor:
        """Return the raw action (nworld, nu) for the bodies as they are; `obs` is not read."""
        return self._invert(self.excitations()).to(obs)

    def excitations(self, worlds: Tensor | None = None) -> Tensor:
        """Return excitations (n, nu) for the bodies as they are.

        Args:
            worlds: (n,) indices; all of them if left out.
        """
        task, simulator = self._task, self._task.simulator
        qpos = simulator.qpos.double().clone()
        qpos[:, :2] += task.origin.to(qpos)
        chosen = slice(None) if worlds is None else worlds
        moving = (qpos, simulator.qvel, simulator.act)
        where = [values[chosen].cpu().numpy() for values in (task.clip, task.next_frame)]
        state = [values[chosen].double().cpu().numpy() for values in moving]
        act = state[2]
        wanted = self._follower.activations(States(*where, *state, *self._control.reachable(act)))
        return torch.from_numpy(self._control.excite(act, wanted)).to(simulator.qpos)

    def close(self) -> None:
        """End the processes, if there are any."""
        if isinstance(self._follower, FollowerPool):
            self._follower.close()
