"""Adversarial imitation on top of PPO: AMP, ADD, and a score of style."""

from agents.amp.agent import AMP
from agents.amp.config import AMPConfig
from agents.amp.discriminator import Discriminator
from agents.amp.style_score import StyleScore, style_score

__all__ = ["AMP", "AMPConfig", "Discriminator", "StyleScore", "style_score"]
