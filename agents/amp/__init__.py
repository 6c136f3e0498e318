"""Adversarial imitation on top of PPO: AMP, ADD, and a score of style."""

from agents.amp.agent import AMP
from agents.amp.config import AMPConfig
from agents.amp.discriminator import Discriminator

__all__ = ["AMP", "AMPConfig", "Discriminator"]
