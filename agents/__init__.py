"""Policy learning for batched environments: an actor-critic and PPO, on PyTorch alone.

Other learners are packages of their own: ``agents.amp`` and ``agents.world_model``.
"""

from agents.gae import generalized_advantage
from agents.muon import Muon
from agents.networks import MLP, build_mlp
from agents.normalizer import ReturnScaler, RunningNormalizer
from agents.optimizers import PolicyOptimizer
from agents.policy import ActorCritic, GaussianHead
from agents.ppo import PPO
from agents.ppo_config import PPOConfig
from agents.rollout import Batch, Rollout, iterate_minibatches
from agents.schedule import constant_schedule, linear_schedule
from agents.vec_env import StepResult, VecEnv

__all__ = [
    "MLP",
    "PPO",
    "ActorCritic",
    "Batch",
    "GaussianHead",
    "Muon",
    "PPOConfig",
    "PolicyOptimizer",
    "ReturnScaler",
    "Rollout",
    "RunningNormalizer",
    "StepResult",
    "VecEnv",
    "build_mlp",
    "constant_schedule",
    "generalized_advantage",
    "iterate_minibatches",
    "linear_schedule",
]
