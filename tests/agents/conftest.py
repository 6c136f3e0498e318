"""Two small environments whose optimal returns are known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents import StepResult


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """The tensors here are small: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TrackingEnv:
    """Four independent points that must reach four targets: a linear-quadratic problem.

    The error e of each dimension moves by ``e <- e + gain a`` and costs ``e^2 + price a^2``.
    Observations are points and targets (8), episodes are truncated after ``horizon`` steps.
    """

    obs_dim, action_dim = 8, 4
    gain, price, horizon = 0.5, 0.05, 10

    def __init__(self, num_envs: int, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)
        self.reset()

    def _uniform(self) -> Tensor:
        return 2.0 * torch.rand(self.num_envs, 4, generator=self.generator) - 1.0

    def _obs(self) -> Tensor:
        return torch.cat([self.point, self.target], dim=-1)

    def reset(self) -> Tensor:
        self.point, self.target = self._uniform(), self._uniform()
        self.clock = torch.arange(self.num_envs) % self.horizon  # resets spread over time
        return self._obs()

    def step(self, action: Tensor) -> StepResult:
        self.point = self.point + self.gain * action
        error = (self.point - self.target).square().sum(-1)
        reward = -error - self.price * action.square().sum(-1)
        final_obs = self._obs()
        self.clock = self.clock + 1
        truncated = self.clock >= self.horizon
        self.clock = torch.where(truncated, 0, self.clock)
        self.point = torch.where(truncated[:, None], self._uniform(), self.point)
        self.target = torch.where(truncated[:, None], self._uniform(), self.target)
        info = {"error": error, "horizon": torch.tensor(float(self.horizon))}
        terminated = torch.zeros_like(truncated)
        return StepResult(self._obs(), reward, terminated, truncated, final_obs, info)

    def optimal_return(self) -> float:
        """Expected undiscounted return of an episode under the optimal policy (Riccati)."""
        cost = 0.0
        for _ in range(self.horizon):
            cost = (1 + cost) * self.price / (self.gain**2 * (1 + cost) + self.price)
        return -4 * cost * 2 / 3  # E e^2 = 2/3 for the difference of two uniforms on [-1, 1]

    @torch.no_grad()
    def mean_return(self, policy) -> float:
        """Return of one whole episode in every world under a policy's mean action."""
        obs = self.reset()
        self.clock = torch.zeros(self.num_envs, dtype=torch.int64)
        total = torch.zeros(self.num_envs)
        for _ in range(self.horizon):
            obs, reward, *_ = self.step(policy.mean_action(obs))
            total += reward
        return total.mean().item()


class AliveEnv:
    """Reward 1 at every step, whatever one does; after five steps the episode is cut or over."""

    obs_dim, action_dim = 3, 1
    horizon = 5

    def __init__(self, num_envs: int, ends_by: str, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.ends_by = ends_by
        self.device = torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = torch.arange(num_envs) % self.horizon

    def _obs(self) -> Tensor:
        return torch.randn(self.num_envs, 3, generator=self.generator)

    def reset(self) -> Tensor:
        return self._obs()

    def step(self, action: Tensor) -> StepResult:
        obs = self._obs()
        self.clock = self.clock + 1
        done = self.clock >= self.horizon
        self.clock = torch.where(done, 0, self.clock)
        never = torch.zeros_like(done)
        flags = (done, never) if self.ends_by == "termination" else (never, done)
        return StepResult(obs, torch.ones(self.num_envs), *flags, obs, {})


@pytest.fixture
def tracking_env():
    return TrackingEnv


@pytest.fixture
def alive_env():
    return AliveEnv
