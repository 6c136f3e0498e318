"""Computed muscle control: the excitations that take a simulated body along a motion, step by step.

After Thelen and Anderson (2006, J. Biomech. 39:1107): a proportional-derivative law says what the
independent coordinates should accelerate by to come back to the motion, and static optimisation
finds activations, within what the muscles can reach in a control step, that do so:

    minimise |W (drift + gain x - wanted)|² + effort |x - x*|²   subject to lowest <= x <= highest

over the activations x that the step ends with, taken as if they held all along (what they rise by
goes on acting in the next step; counting only its mean over this one overshoots). Drift and gain
are those of :class:`sim.step_model.StepModel`, x* the activations of static optimisation for the
motion, and W weighs each coordinate by the root of its inertia. Differences from the original: the
step is implicit, ground contacts are the simulator's own and can only push, those of the soles
count from a little before they close, and the root is a row like any other, which muscles move
through the feet alone: no residual force helps.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from sim.activation_filter import ActivationFilter
from sim.embodiment import Embodiment
from sim.step_model import StepModel

_NEWTON, _TOLERANCE = 60, 1e-6
_LETTING_GO = 3  # rounds of leaving out contacts that would have to pull
_PULL = 1.0  # N, from which a contact lets go
_BISECTIONS = 12  # excitations to 1/4096


@dataclass(frozen=True)
class Gains:
    """How hard the body is held to its motion.

    Natural frequencies are those of critically damped errors (rad/s); inertia is added to every
    coordinate's own (kg m²), so that light ones count; effort is per squared activation; near is
    the distance from which a sole counts as on the ground (m).
    """

    joints: float = 20.0
    root: float = 29.0
    travel: float = 2.3  # of the root's horizontal position
    damping: float = 0.92
    root_weight: float = 2.9
    travel_weight: float = 0.3  # on top of the root's: balance is for the next step to keep
    swing_weight: float = 5.5  # of the leg that is off the ground
    inertia: float = 0.057
    effort: float = 1500.0
    near: float = 0.03


@dataclass(frozen=True)
class Target:
    """Where the body should be after the step.

    Attributes:
        qpos, qvel, qacc: (nq,), (nv,), (nv,).
        act: (nu,) activations to stay close to.
        swing: names of `Embodiment.foot_geoms` that are off the ground.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    qacc: np.ndarray
    act: np.ndarray
    swing: tuple[str, ...] = ()


class ComputedMuscleControl:
    """Finds excitations for one body at a time."""

    def __init__(
        self,
        embodiment: Embodiment,
        model: mujoco.MjModel,
        control_dt: float,
        gains: Gains | None = None,
    ) -> None:
        """Prepare for a body.

        Args:
            embodiment: the body.
            model: its model with the solver settings of the simulation.
            control_dt: length of a control step (s).
            gains: how hard to hold on.
        """
        self.model, self.gains = model, gains or Gains()
        soles = [geom for geoms in embodiment.foot_geoms.values() for geom in geoms]
        self._step = StepModel(model, control_dt, np.array(soles, int), self.gains.near)
        self._couplings = embodiment.couplings
        self._root = 6 * embodiment.has_root
        self._free = np.concatenate((np.arange(self._root), embodiment.independent_dofs))
        self._filter = ActivationFilter(
            embodiment, model.opt.timestep, round(control_dt / model.opt.timestep), torch.float64
        )
        frequency = np.full(model.nv, self.gains.joints)
        frequency[: self._root] = self.gains.root
        frequency[: min(self._root, 2)] = self.gains.travel
        self._stiffness = frequency**2
        self._damping = 2 * self.gains.damping * frequency
        self._legs = _legs(embodiment)
        self._feet = embodiment.foot_geoms

    def excitations(self, data: mujoco.MjData, target: Target) -> np.ndarray:
        """Return the excitations (nu,) of the control step that starts at `data`.

        Args:
            data: a state; it and its controls stay what they are.
            target: where it should be one control step on.
        """
        act = data.act.copy()
        return self.excite(act, self.activations(data, target, *self.reachable(act)))

    def activations(
        self, data: mujoco.MjData, target: Target, lowest: np.ndarray, highest: np.ndarray
    ) -> np.ndarray:
        """Return the activations (nu,) that the control step should end with.

        Args:
            data, target: as of `excitations`.
            lowest, highest: (nu,) what can be reached, see `reachable`.
        """
        self._step.read(data)
        act = data.act.copy()
        wanted = self._wanted(data, target)
        weight = self._weights(data.qpos, target)
        dropped, contact = self._swinging(target), self._step.constraints.contact
        residual = None
        for _ in range(_LETTING_GO):
            step = self._step.step(dropped)
            matrix = step.gain_of(self._free) * weight[:, None]
            rest = (wanted - step.drift[self._free]) * weight + matrix @ act
            reached = bounded_ridge(
                matrix, rest, target.act, lowest, highest, self.gains.effort, residual
            )
            residual = matrix @ reached - rest
            force = self._step.constraint_force(step.change(reached - act))
            pulling = contact & ~dropped & (force < -_PULL)
            if not pulling.any():
                break
            dropped = dropped | pulling
        return reached

    def reachable(self, act: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest activations a control step after `act`, (..., nu)."""
        return self._after(act, np.zeros_like(act)), self._after(act, np.ones_like(act))

    def excite(self, act: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return the excitations (..., nu) that lead from activations to others, by bisection."""
        low, high = np.zeros_like(act), np.ones_like(act)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self._after(act, middle) < wanted
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    def _after(self, act: np.ndarray, excitation: np.ndarray) -> np.ndarray:
        _, after = self._filter(torch.from_numpy(act), torch.from_numpy(excitation))
        return after.numpy()

    def _wanted(self, data: mujoco.MjData, target: Target) -> np.ndarray:
        """(nfree,) accelerations that bring the body back to the motion."""
        error = np.zeros(self.model.nv)
        mujoco.mj_differentiatePos(self.model, error, 1.0, data.qpos, target.qpos)
        slow = target.qvel - data.qvel
        return (target.qacc + self._stiffness * error + self._damping * slow)[self._free]

    def _weights(self, qpos: np.ndarray, target: Target) -> np.ndarray:
        """(nfree,) root of each coordinate's inertia, what it drives included."""
        nv, couplings = self.model.nv, self._couplings
        full = np.zeros((nv, nv))
        full[self._free, self._free] = 1
        driven = couplings.has_driver
        slopes = couplings.slopes(qpos)
        full[couplings.driver_dof_adr[driven], couplings.dof_adr[driven]] = slopes[driven]
        reduce = full[self._free]
        inertia = np.einsum("ij,jk,ik->i", reduce, self._step.mass, reduce, optimize=True)
        weight = np.sqrt(inertia + self.gains.inertia)
        weight[: self._root] *= self.gains.root_weight
        weight[: min(self._root, 2)] *= self.gains.travel_weight
        for foot in target.swing:
            weight[self._root + self._legs[foot]] *= self.gains.swing_weight
        return weight

    def _swinging(self, target: Target) -> np.ndarray:
        """Which of the constraints are contacts of a foot that should be off the ground, (n,) bool.

        A foot that drags has the leg lean on it when it counts as a support.
        """
        swinging = [geom for foot in target.swing for geom in self._feet[foot]]
        return np.isin(self._step.constraints.geoms, swinging).any(1)


def bounded_ridge(
    matrix: np.ndarray,
    target: np.ndarray,
    center: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    effort: float,
    residual: np.ndarray | None = None,
) -> np.ndarray:
    """Minimise |A x - b|² + effort |x - c|² over lowest <= x <= highest, exactly.

    Newton's method on the residual y = A x - b, of which x = clip(c - Aᵀ y / effort) is a
    piecewise linear function: m unknowns in place of n (Qi and Sun 1993, Math. Program. 58:353).
    The y sought is where a convex function is lowest, along every move of which it is followed
    to the lowest point.

    Args:
        matrix: A (m, n).
        target: b (m,).
        center: c (n,).
        lowest, highest: bounds (n,).
        effort: above 0.
        residual: (m,) A x - b at the solution of a problem like this one, to start from.

    Returns:
        x (n,).
    """
    residual = np.zeros(len(target)) if residual is None else residual
    identity = np.eye(len(target))
    for _ in range(_NEWTON):
        free = center - matrix.T @ residual / effort
        x = np.clip(free, lowest, highest)
        error = residual + target - matrix @ x
        if np.linalg.norm(error) < _TOLERANCE:
            break
        inside = matrix[:, (free > lowest) & (free < highest)]
        move = -np.linalg.solve(identity + inside @ inside.T / effort, error)
        pace = -matrix.T @ move / effort
        slope, rise = move @ error, move @ move
        residual = residual + _root(slope, rise, free, pace, lowest, highest, effort) * move
    return x


def _root(
    start: float,
    rise: float,
    free: np.ndarray,
    pace: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    effort: float,
) -> float:
    """Where along a move the convex function that Newton's method descends is lowest.

    Its slope, start at 0, is piecewise linear and rises: by `rise` at least, and by
    effort pace² more for every x = free + part * pace that is between its bounds.
    """
    moving = pace != 0
    pace, weight = pace[moving], effort * pace[moving] ** 2
    ends = (np.stack((lowest, highest))[:, moving] - free[moving]) / pace
    enter, leave = ends.min(0), ends.max(0)
    at = np.concatenate((enter, leave))
    change = np.concatenate((weight, -weight))
    later = at > 0
    order = np.argsort(at[later])
    at = np.concatenate(([0.0], at[later][order]))
    first = rise + weight[(enter <= 0) & (leave > 0)].sum()
    rises = first + np.concatenate(([0.0], np.cumsum(change[later][order])))
    slopes = start + np.concatenate(([0.0], np.cumsum(rises[:-1] * np.diff(at))))
    last = max(int(np.searchsorted(slopes, 0.0)) - 1, 0)
    return float(at[last] - slopes[last] / rises[last])


def _legs(embodiment: Embodiment) -> dict[str, np.ndarray]:
    """Which independent joints move each foot and nothing of the trunk: those of its leg."""
    model, legs, chains = embodiment.model, {}, {}
    feet = {foot: geoms for foot, geoms in embodiment.foot_geoms.items() if len(geoms)}
    for foot, geoms in feet.items():
        body, chain = int(model.geom_bodyid[geoms[0]]), set()
        while body:
            chain.add(body)
            body = int(model.body_parentid[body])
        chains[foot] = chain
    shared = set.intersection(*chains.values()) if len(chains) > 1 else set()
    for foot, geoms in feet.items():
        own = chains[foot] - shared | {int(model.geom_bodyid[geom]) for geom in geoms}
        legs[foot] = np.array(
            [
                index
                for index, name in enumerate(embodiment.independent_joints)
                if int(model.joint(name).bodyid[0]) in own
            ]
        )
    return legs
