"""Static optimisation: the least activations that explain a motion (Crowninshield and Brand 1981).

At each frame, inverse dynamics gives the generalised force that the motion needs; muscles (and, for
a body with feet, the ground under them) must provide it:

    minimise |W (A a + C f - b)|^2 + eps (|a|^2 + |f|^2)   subject to 0 <= a <= 1, f >= 0

over the independent degrees of freedom, where column i of A is the generalised force of muscle i
per unit of activation, C f are ground forces inside friction pyramids at points of the feet near
the ground, and b = M qacc + bias - passive - (force of inactive muscles). Frames are independent
and solved together by accelerated projected gradient (Beck and Teboulle 2009). A starting point for
a simulation, not a claim about a person: tendons are rigid and the criterion is a convention.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.embodiment import Embodiment

_GROUND_GAP = 0.015  # points of the feet below this height (m) may carry force
_FRICTION = 0.8
_TORQUE_SCALE = 5.0  # residual (Nm, or N for slides) that costs as much as one full activation
_ROOT_SCALE = 50.0  # residual force or moment on the root (N, Nm) likewise
_EFFORT = 1e-2
_BATCH = 8
_HELD_WITHIN = 2e-3  # rad, to which the angle is found from which a joint is not held


def static_optimization(
    embodiment: Embodiment, qpos: np.ndarray, qvel: np.ndarray, fps: float, iterations: int = 400
) -> np.ndarray:
    """Return activations (T, nu), 0 to 1, that best produce a motion frame by frame.

    Args:
        embodiment: the body.
        qpos: (T, nq) positions.
        qvel: (T, nv) velocities.
        fps: frames a second; accelerations are differences of velocities.
        iterations: of the solver.
    """
    qacc = np.gradient(qvel, 1.0 / fps, axis=0) if len(qvel) > 1 else np.zeros_like(qvel)
    systems = _System(embodiment)
    columns, targets = [], []
    for frame in range(len(qpos)):
        matrix, target = systems.assemble(qpos[frame], qvel[frame], qacc[frame])
        columns.append(matrix)
        targets.append(target)
    upper = torch.full((systems.width,), float("inf"))
    upper[: embodiment.model.nu] = 1.0
    # A few frames at a time, so that their matrices stay in the processor's cache.
    batches = zip(
        torch.from_numpy(np.stack(columns)).float().split(_BATCH),
        torch.from_numpy(np.stack(targets)).float().split(_BATCH),
        strict=True,
    )
    solution = torch.cat([_solve(matrix, target, upper, iterations) for matrix, target in batches])
    return solution[:, : embodiment.model.nu].numpy().astype(np.float64)


def held_range(embodiment: Embodiment, joint: str, effort: float) -> tuple[float, float]:
    """Return how far (rad) below and above neutral muscles can hold a joint.

    What is stretched as it turns pulls back, and what turns it has less and less of an arm. The
    body is in its neutral posture otherwise; an end is where holding the joint still takes that
    part of the moment that its muscles can give there (neutral, if it takes more there already).

    Args:
        embodiment: the body.
        joint: an independent joint.
        effort: part of the moment that its muscles can give.
    """
    system, model = _System(embodiment), embodiment.model
    adr = int(model.joint(joint).qposadr[0])
    row = system.width_of_root + embodiment.independent_joints.index(joint)
    still, neutral = np.zeros(model.nv), model.qpos0[adr]

    def held(angle: float) -> bool:
        pose = model.qpos0.copy()
        pose[adr] = angle
        matrix, target = system.assemble(embodiment.couplings.complete_qpos(pose), still, still)
        needed = target[row]
        most = np.maximum(np.sign(needed) * matrix[row, : model.nu], 0.0).sum()
        return abs(needed) <= effort * most

    ends = []
    for limit in model.joint(joint).range if held(neutral) else (neutral, neutral):
        inside, outside = (limit if held(limit) else neutral), limit
        while abs(outside - inside) > _HELD_WITHIN:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if held(middle) else (inside, middle)
        ends.append(float(inside))
    return ends[0], ends[1]


class _System:
    """Assembles the linear system of one frame at a time."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.body, self.model = embodiment, embodiment.model
        self.data = mujoco.MjData(self.model)
        self.width_of_root = root = 6 * embodiment.has_root
        self._free = np.concatenate((np.arange(root), embodiment.independent_dofs))
        scale = np.full(len(self._free), _TORQUE_SCALE)
        scale[:root] = _ROOT_SCALE
        self._weight = 1.0 / scale
        self._feet = np.concatenate(list(embodiment.foot_geoms.values())).astype(int)
        mass = self.model.body_mass.sum()
        # A unit of ground force is a tenth of body weight: of the order of an activation's effect.
        self._ground_unit = 0.1 * mass * 9.81
        self.width = self.model.nu + 2 * 5 * len(self._feet)

    def assemble(
        self, qpos: np.ndarray, qvel: np.ndarray, qacc: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted matrix (nfree, width) and right-hand side (nfree,)."""
        model, data = self.model, self.data
        data.qpos[:], data.qvel[:] = qpos, qvel
        data.act[:] = data.ctrl[:] = 0
        mujoco.mj_forward(model, data)
        passive_force = data.actuator_force.copy()
        data.act[:] = 1
        mujoco.mj_fwdActuation(model, data)
        gain = data.actuator_force - passive_force
        moment = np.zeros((model.nu, model.nv))
        mujoco.mju_sparse2dense(
            moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        inertial = np.zeros(model.nv)
        mujoco.mj_mulM(model, data, inertial, qacc)
        needed = inertial + data.qfrc_bias - data.qfrc_passive - moment.T @ passive_force
        reduce = self._reduction(qpos)
        forces = np.concatenate(
            (
                (moment * gain[:, None]).T,
                self._ground(),
            ),
            axis=1,
        )
        return (reduce @ forces) * self._weight[:, None], (reduce @ needed) * self._weight

    def _reduction(self, qpos: np.ndarray) -> np.ndarray:
        """Return (nfree, nv): each independent coordinate with the followers that it drives."""
        couplings = self.body.couplings
        full = np.zeros((self.model.nv, self.model.nv))
        full[self._free, self._free] = 1
        driven = couplings.has_driver
        slopes = couplings.slopes(qpos)
        full[couplings.driver_dof_adr[driven], couplings.dof_adr[driven]] = slopes[driven]
        return full[self._free]

    def _ground(self) -> np.ndarray:
        """Return (nv, 10 nfoot) generalised forces of unit ground forces, zero off the ground."""
        model, data = self.model, self.data
        columns = np.zeros((model.nv, 2 * 5 * len(self._feet)))
        edges = np.array([[0, 0, 1], [_FRICTION, 0, 1], [-_FRICTION, 0, 1],
                          [0, _FRICTION, 1], [0, -_FRICTION, 1]])  # fmt: skip
        jacobian = np.zeros((3, model.nv))
        for index, geom in enumerate(self._feet):
            axis = data.geom_xmat[geom].reshape(3, 3)[:, 2]
            half = model.geom_size[geom, 1] if model.geom_type[geom] == 3 else 0.0
            for end, sign in enumerate((1.0, -1.0)):
                point = data.geom_xpos[geom] + sign * half * axis
                point[2] -= model.geom_size[geom, 0]
                if point[2] > _GROUND_GAP:
                    continue
                mujoco.mj_jac(model, data, jacobian, None, point, model.geom_bodyid[geom])
                start = 5 * (2 * index + end)
                columns[:, start : start + 5] = self._ground_unit * (edges @ jacobian).T
        return columns


def _solve(matrix: Tensor, target: Tensor, upper: Tensor, iterations: int) -> Tensor:
    """Minimise |M x - t|² + eps |x|² over 0 <= x <= upper for a batch; return x (T, width)."""
    gram = matrix @ matrix.transpose(-1, -2)
    step = 1.0 / (torch.linalg.matrix_norm(gram, ord=2) + _EFFORT)[:, None]
    x = torch.zeros(len(matrix), matrix.shape[-1])
    look, momentum = x, 1.0
    for _ in range(iterations):
        residual = torch.einsum("trc,tc->tr", matrix, look) - target
        gradient = torch.einsum("trc,tr->tc", matrix, residual) + _EFFORT * look
        after = torch.minimum((look - step * gradient).clamp_min(0), upper)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        look = after + (momentum - 1) / following * (after - x)
        x, momentum = after, following
    return x
