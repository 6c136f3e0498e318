"""Configuration: the YAML files, and what loads them with type checks and one-line errors."""

from cfg.errors import UserError
from cfg.loader import (
    available,
    check,
    config_from_dict,
    load_config,
    load_resolved,
    load_settings,
)

__all__ = [
    "UserError",
    "available",
    "check",
    "config_from_dict",
    "load_config",
    "load_resolved",
    "load_settings",
]
