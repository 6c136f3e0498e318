"""Computed muscle control at the place of a policy: it looks at the bodies, not at observations."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import torch
from torch import Tensor

from cfg.errors import UserError
from mm_torch.action import INVERSES
from mm_torch.task import ImitationTask
from sim.computed_muscle_control import ComputedMuscleControl, Gains
from sim.gait_targets import GaitTargets, Stepping
from sim.simulator import apply_options


class Expert:
    """Follows the reference of an imitation task by computed muscle control.

    Bodies are taken one after another on the CPU (of the full body about 130 a second on one core),
    each as its nominal model: what is randomised it does not know.
    """

    def __init__(
        self,
        task: ImitationTask,
        mapping: str,
        gains: Gains | None = None,
        stepping: Stepping | None = None,
    ) -> None:
        """Prepare every clip of the task.

        Args:
            task: of a body with a root and feet, whose motions have activations.
            mapping: from action to excitation, a key of `INVERSES`.
            gains, stepping: see :mod:`sim.computed_muscle_control`, :mod:`sim.gait_targets`.

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
        self._data = mujoco.MjData(model)
        self._control = ComputedMuscleControl(body, model, simulator.control_dt, gains)
        self._targets = []
        for clip, length in enumerate(library.lengths.tolist()):
            frame = torch.arange(length, device=library.lengths.device)
            which = torch.full_like(frame, clip)
            motion = library.frames(which, frame)
            arrays = (motion.qpos, motion.qvel, library.activations(which, frame))
            qpos, qvel, act = (array.double().cpu().numpy() for array in arrays)
            self._targets.append(
                GaitTargets(body, qpos, qvel, act, 1 / simulator.control_dt, stepping)
            )

    def __call__(self, obs: Tensor) -> Tensor:
        """Return the raw action (nworld, nu) for the bodies as they are; `obs` is not read."""
        return self._invert(self.excitations()).to(obs)

    def excitations(self, worlds: Tensor | None = None) -> Tensor:
        """Return excitations (n, nu) for the bodies as they are.

        Args:
            worlds: (n,) indices; all of them if left out.
        """
        task, simulator, data = self._task, self._task.simulator, self._data
        qpos = simulator.qpos.double().clone()
        qpos[:, :2] += task.origin.to(qpos)
        state = [x.double().cpu().numpy() for x in (qpos, simulator.qvel, simulator.act)]
        clip, frame = task.clip.tolist(), task.next_frame.tolist()
        chosen = range(len(clip)) if worlds is None else worlds.tolist()
        act = state[2][list(chosen)]
        lowest, highest = self._control.reachable(act)
        wanted = np.empty_like(act)
        for row, world in enumerate(chosen):
            data.qpos[:], data.qvel[:], data.act[:] = (part[world] for part in state)
            target = self._targets[clip[world]].at(frame[world], data.qpos, data.qvel)
            wanted[row] = self._control.activations(data, target, lowest[row], highest[row])
        return torch.from_numpy(self._control.excite(act, wanted)).to(simulator.qpos)
