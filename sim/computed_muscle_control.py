"""Computed muscle control: the excitations that take a simulated body along a motion, step by step.

After Thelen and Anderson (2006, J. Biomech. 39:1107): a proportional-derivative law says what the
independent coordinates should accelerate by to come back to the motion, and static optimisation
finds activations, within what the muscles can reach in a control step, that do so:

    minimise |W (drift + gain x - wanted)|² + effort |x - x*|² + steadiness |x - a|²
    subject to lowest <= x <= highest

over the activations x that the step ends with, taken as if they held all along (what they rise by
goes on acting in the next step; counting only its mean over this one overshoots). Drift and gain
are those of :class:`sim.step_model.StepModel`, x* the activations of static optimisation for the
motion, a those that the step starts with, and W weighs each coordinate by the root of its inertia.
The last term, off unless asked for, is for policies that learn from it: without it, where errors
are large, muscles go from bound to bound from one step to the next.
Differences from the original: the step is implicit, ground contacts are the simulator's own and can
only push, those of the soles count from a little before they close, and the root is a row like any
other, which muscles move through the feet alone: no residual force helps.

A body that walks leaves its balance to the next step, and its ankles hold it loosely; one that
stands, with no step to come, is held where its motion has it. Its trunk and arms come back more
slowly: for a trunk that is ten degrees off to be back at once, the ground would have to push beyond
the soles. Where the motion flies, no muscle changes where the body goes, and a root that is to be
where the motion has it only flings the limbs: it counts for little. A foot that is on the ground
then, early or late, carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import mujoco
import numpy as np
import torch

from sim.activation_filter import ActivationFilter
from sim.bounded_ridge import bounded_ridge
from sim.embodiment import Embodiment
from sim.step_model import StepModel

_LETTING_GO = 3  # rounds of leaving out contacts that would have to pull
_PULL = 1.0  # N, from which a contact lets go
_BISECTIONS = 12  # excitations to 1/4096


@dataclass(frozen=True)
class Gains:
    """How hard the body is held to its motion.

    Natural frequencies are those of critically damped errors (rad/s); inertia is added to every
    coordinate's own (kg m²), so that light ones count; effort is per squared activation off the
    motion's; near is the distance from which a sole counts as on the ground (m); approach is the
    speed with which a joint comes back at most (rad/s).
    """

    joints: float = 20.0
    upper: float = 20.0  # of the joints that move no foot: trunk and arms
    root: float = 29.0
    travel: float = 2.3  # of the root's horizontal position
    damping: float = 0.92
    root_weight: float = 4.0
    travel_weight: float = 0.8  # on top of the root's: balance is for the next step to keep
    upper_weight: float = 1.0
    swing_weight: float = 5.5  # of the leg that is off the ground
    inertia: float = 0.057
    effort: float = 1500.0
    near: float = 0.02
    approach: float = np.inf
    airborne: float = 0.1  # of the root's weight, while no foot is to be on the ground


WALKING = Gains()
STANDING = Gains(
    upper=13.0, travel=10.0, root_weight=2.9, travel_weight=2.0, upper_weight=2.5, effort=500.0,
    near=0.003, approach=2.0,
)  # fmt: skip
RUNNING = Gains(upper=28.0, damping=0.67, root_weight=2.0, inertia=0.035)


@dataclass(frozen=True)
class Target:
    """Where the body should be after the step.

    Attributes:
        qpos, qvel, qacc: (nq,), (nv,), (nv,).
        act: (nu,) activations to stay close to.
        swing: names of `Embodiment.foot_geoms` that are off the ground, and what part of a
            swinging leg's weight each leg is held with.
        standing: whether no foot has been or will be off it for a while.
        running: whether the motion is a run's, with flights.
        aloft: whether all feet are off the ground.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    qacc: np.ndarray
    act: np.ndarray
    swing: Mapping[str, float] = field(default_factory=dict)
    standing: bool = False
    running: bool = False
    aloft: bool = False


class _Hold:
    """Gains in the form in which they are needed."""

    def __init__(
        self,
        model: mujoco.MjModel,
        control_dt: float,
        soles: np.ndarray,
        root: int,
        upper: np.ndarray,
        gains: Gains,
    ) -> None:
        self.gains = gains
        self.step = StepModel(model, control_dt, soles, gains.near)
        frequency = np.full(model.nv, gains.joints)
        frequency[upper] = gains.upper
        frequency[:root] = gains.root
        frequency[: min(root, 2)] = gains.travel
        self.stiffness = frequency**2
        self.damping = 2 * gains.damping * frequency
        self.most = self.damping * gains.approach
        self.most[:root] = np.inf


class ComputedMuscleControl:
    """Finds excitations for one body at a time."""

    def __init__(
        self,
        embodiment: Embodiment,
        model: mujoco.MjModel,
        control_dt: float,
        gains: Gains = WALKING,
        standing: Gains = STANDING,
        steadiness: float = 0.0,
        running: Gains = RUNNING,
    ) -> None:
        """Prepare for a body.

        Args:
            embodiment: the body.
            model: its model with the solver settings of the simulation.
            control_dt: length of a control step (s).
            gains, standing, running: how hard to hold on, on the way, where no foot moves, and in a
                run.
            steadiness: price of a squared change of activation in a step, beside their effort.
        """
        self.model, self._steadiness = model, steadiness
        soles = [geom for geoms in embodiment.foot_geoms.values() for geom in geoms]
        self._couplings = embodiment.couplings
        self._root = 6 * embodiment.has_root
        self._free = np.concatenate((np.arange(self._root), embodiment.independent_dofs))
        self._filter = ActivationFilter(
            embodiment, model.opt.timestep, round(control_dt / model.opt.timestep), torch.float64
        )
        self._legs, self._feet = leg_joints(embodiment), embodiment.foot_geoms
        lower = [joint for leg in self._legs.values() for joint in leg]
        self._upper = np.setdiff1d(np.arange(len(embodiment.independent_dofs)), lower)
        upper = embodiment.independent_dofs[self._upper]

        def hold(chosen: Gains) -> _Hold:
            return _Hold(model, control_dt, np.array(soles, int), self._root, upper, chosen)

        self._holds = {still: hold(chosen) for still, chosen in ((False, gains), (True, standing))}
        self._run = hold(running)

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
        hold = self._run if target.running else self._holds[target.standing]
        ahead = hold.step
        ahead.read(data)
        act = data.act.copy()
        wanted = self._wanted(hold, data, target)
        weight = self._weights(hold, data.qpos, target)
        dropped, contact = self._swinging(hold, target), ahead.constraints.contact
        effort = hold.gains.effort + self._steadiness
        center = (hold.gains.effort * target.act + self._steadiness * act) / effort
        residual = None
        for _ in range(_LETTING_GO):
            step = ahead.step(dropped)
            matrix = step.gain_of(self._free) * weight[:, None]
            rest = (wanted - step.drift[self._free]) * weight + matrix @ act
            reached = bounded_ridge(matrix, rest, center, lowest, highest, effort, residual)
            residual = matrix @ reached - rest
            force = ahead.constraint_force(step.change(reached - act))
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

    def _wanted(self, hold: _Hold, data: mujoco.MjData, target: Target) -> np.ndarray:
        """(nfree,) accelerations that bring the body back to the motion."""
        error = np.zeros(self.model.nv)
        mujoco.mj_differentiatePos(self.model, error, 1.0, data.qpos, target.qpos)
        slow = target.qvel - data.qvel
        back = np.clip(hold.stiffness * error, -hold.most, hold.most)
        return (target.qacc + back + hold.damping * slow)[self._free]

    def _weights(self, hold: _Hold, qpos: np.ndarray, target: Target) -> np.ndarray:
        """(nfree,) root of each coordinate's inertia, what it drives included."""
        nv, couplings, gains = self.model.nv, self._couplings, hold.gains
        full = np.zeros((nv, nv))
        full[self._free, self._free] = 1
        driven = couplings.has_driver
        slopes = couplings.slopes(qpos)
        full[couplings.driver_dof_adr[driven], couplings.dof_adr[driven]] = slopes[driven]
        reduce = full[self._free]
        inertia = ((reduce @ hold.step.mass) * reduce).sum(1)
        weight = np.sqrt(inertia + gains.inertia)
        weight[self._root + self._upper] *= gains.upper_weight
        weight[: self._root] *= gains.root_weight * (gains.airborne if target.aloft else 1.0)
        weight[: min(self._root, 2)] *= gains.travel_weight
        for foot, grip in target.swing.items():
            weight[self._root + self._legs[foot]] *= 1.0 + grip * (gains.swing_weight - 1.0)
        return weight

    def _swinging(self, hold: _Hold, target: Target) -> np.ndarray:
        """Which of the constraints are contacts of a foot that should be off the ground, (n,) bool.

        A foot that drags has the leg lean on it when it counts as a support. While all feet should
        be off the ground, one that is not is the only support there is.
        """
        off = {} if target.aloft else target.swing
        swinging = [geom for foot in off for geom in self._feet[foot]]
        return np.isin(hold.step.constraints.geoms, swinging).any(1)


def leg_joints(embodiment: Embodiment) -> dict[str, np.ndarray]:
    """Return which independent joints move each foot and nothing of the trunk: its leg's."""
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
