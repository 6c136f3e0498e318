"""An agent that learns a model of the body's dynamics and trains the policy through it."""

from agents.world_model.agent import WorldModelAgent
from agents.world_model.config import WorldModelConfig
from agents.world_model.dynamics import DynamicsModel
from agents.world_model.interface import Goal, ImaginedTask, Judgement, ModelState, Physics
from agents.world_model.replay import Replay

__all__ = [
    "DynamicsModel",
    "Goal",
    "ImaginedTask",
    "Judgement",
    "ModelState",
    "Physics",
    "Replay",
    "WorldModelAgent",
    "WorldModelConfig",
]
