"""The imitation task for imagined states: its own observation, reward and termination."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.world_model import Goal, Judgement, ModelState
from cfg.errors import UserError
from mm_torch.task import ImitationTask
from mm_torch.task_state import Body, Kinematics, TaskState
from sim.kinematics import Kinematics as ForwardKinematics
from sim.reduced_body import ReducedBody
from sim.site_motion import FrameMotion

# What a model of the independent coordinates and activations cannot tell.
_UNKNOWN = (
    "root_acceleration", "joint_acceleration",
    "muscle_length", "muscle_velocity", "muscle_force", "touch",
)  # fmt: skip
_NEED_SITES = {"site_pos", "site_pos_world", "site_rot", "site_vel", "site_vel_musclemimic"}


@dataclass(frozen=True)
class Plan:
    """The reference of B worlds over some steps to come.

    Attributes:
        frames: (B, F) consecutive frames from the present one on.
        activations: (B, steps + 1, nu) of the frames after it, None if nothing shows them.
        frame: (B,) index of the present one in its clip.
        length: (B,) frames of the clip.
    """

    frames: Kinematics
    activations: Tensor | None
    frame: Tensor
    length: Tensor


class ImaginedImitation:
    """See :class:`agents.world_model.interface.ImaginedTask`; a goal is (clip, frame, origin)."""

    def __init__(self, task: ImitationTask, observation: object, objective: str = "reward") -> None:
        """Wrap a task.

        Args:
            task: the real one; terms, clips and body are taken from it.
            observation: its `ObservationConfig`.
            objective: what the policy is to increase: "reward", sum w exp(-b d), or "log",
                sum w (1 - log(1 + b d)), with the same distances d, weights and penalties.

        Raises:
            UserError: an observation term that a model of the dynamics cannot give.
        """
        for name in _UNKNOWN:
            if getattr(observation, name):
                raise UserError(
                    f"observation.{name}=true: agent=world_model imagines joints and activations "
                    f"only: set it to false, or take agent=ppo"
                )
        sim = task.simulator
        self._task, self.maximum = task, task.reward.maximum
        self._objective = objective
        self.physics = ReducedBody(
            sim.embodiment, sim.control_dt / sim.substeps, sim.substeps, device=sim.device
        )
        self._sites = FrameMotion(
            ForwardKinematics.of_sites(sim.embodiment, torch.float32, sim.device)
        )
        names = {name for name, _ in task.observation.terms}
        self._observes_sites = bool(names & _NEED_SITES)
        steps = torch.arange(observation.lookahead_steps, device=sim.device)
        self._offsets = steps * observation.lookahead_stride
        self._furthest = (observation.lookahead_steps - 1) * observation.lookahead_stride

    def snapshot(self) -> tuple[ModelState, Goal, Tensor]:
        """The real worlds as they are now, and their last excitations (N, nu); copies."""
        task, sim = self._task, self._task.simulator
        position, velocity = self.physics.reduce(sim.qpos, sim.qvel)
        goal = Goal((task.clip.clone(), task.frame.clone(), task.origin.clone()))
        return ModelState(position, velocity, sim.act.clone()), goal, sim.ctrl.clone()

    def plan(self, goal: Goal, steps: int) -> Plan:
        """Gather the reference of the next ``steps`` steps and the look-ahead beyond."""
        clip, frame, origin = goal.parts
        library = self._task.library
        times = torch.arange(steps + 1 + self._furthest, device=frame.device)
        frames = library.frames(clip.unsqueeze(1), frame.unsqueeze(1) + times, origin.unsqueeze(1))
        activations = None
        if self._task.shows_activation:
            next_frames = frame.unsqueeze(1) + 1 + times[: steps + 1]
            activations = library.activations(clip.unsqueeze(1), next_frames)
        return Plan(frames, activations, frame, library.lengths[clip])

    def observe(self, plan: Plan, step: int, state: ModelState, excitation: Tensor) -> Tensor:
        """(B, obs_dim) the policy's observation ``step`` control steps into a plan."""
        body = self._body(state, excitation, self._observes_sites)
        now = torch.minimum(plan.frame + step, plan.length - 1)
        phase = (now / plan.length).to(state.position.dtype)
        reference = _select(plan.frames, lambda part: part[:, step])
        ahead = _select(plan.frames, lambda part: part[:, step + self._offsets])
        activation = None if plan.activations is None else plan.activations[:, step]
        return self._task.observation(TaskState(body, reference, ahead, phase, activation))

    def judge(self, plan: Plan, states: ModelState, excitations: Tensor) -> Judgement:
        """See :class:`agents.world_model.interface.Judgement`."""
        steps, worlds = len(states.position) - 1, states.position.shape[1]
        after = states.map(lambda part: part[1:].flatten(0, 1))
        before = states.map(lambda part: part[:-1].flatten(0, 1))
        body = self._body(after, excitations[1:].flatten(0, 1), sites=True)
        reference = _select(
            plan.frames, lambda part: part[:, 1 : steps + 1].transpose(0, 1).flatten(0, 1)
        )
        rule = self._task.reward
        _, last_qvel = self.physics.complete(before.position, before.velocity)
        last = excitations[:-1].flatten(0, 1)
        penalty = rule.penalty(excitations[1:].flatten(0, 1), body, last, last_qvel)
        distances = rule.distances(body, reference)
        terms = {name: (-distance).exp() for name, distance in distances.items()}
        reward = gain = rule.total(terms, penalty) / self.maximum
        if self._objective == "log":
            # Like exp(-x) near x = 0, but far from the reference the slope does not vanish.
            terms = {name: 1.0 - distance.log1p() for name, distance in distances.items()}
            gain = rule.total(terms, penalty, lowest=None) / self.maximum
        terminated = self._task.termination(body, reference)
        times = torch.arange(1, steps + 1, device=plan.frame.device).unsqueeze(1)
        inside = plan.frame + times <= plan.length - 1
        shaped = (part.view(steps, worlds) for part in (gain, reward, terminated))
        return Judgement(*shaped, inside)

    def _body(self, state: ModelState, excitation: Tensor, sites: bool) -> Body:
        qpos, qvel = self.physics.complete(state.position, state.velocity)
        place = turn = motion = None
        if sites:
            place, turn, motion = self._sites(qpos, qvel)
        return Body(
            self._task.layout, qpos, qvel, place, turn, motion, state.act, excitation,
            None, None, None, None,
        )  # fmt: skip


def _select(frames: Kinematics, choose) -> Kinematics:
    parts = (frames.qpos, frames.qvel, frames.site_pos, frames.site_rot, frames.site_vel)
    return Kinematics(frames.layout, *(choose(part) for part in parts))
