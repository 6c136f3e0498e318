"""Tasks other than imitation: one file each, those of the project entered in `GOALS`."""

from __future__ import annotations

from importlib import import_module

from cfg.errors import UserError
from mm_torch.goals.goal import Goal, Marker
from mm_torch.goals.location import Location
from mm_torch.goals.reach import Reach
from mm_torch.goals.steer import Steer

#: What task.name may be, besides "imitation" and MODULE:CLASS.
GOALS: dict[str, type[Goal]] = {"reach": Reach, "steer": Steer, "location": Location}

__all__ = ["GOALS", "Goal", "Location", "Marker", "Reach", "Steer", "goal_class"]


def goal_class(name: str) -> type[Goal]:
    """Return the goal that task.name names: one of the project, or MODULE:CLASS, a user's own.

    Raises:
        UserError: there is none, or it is not a goal. What the module itself raises passes.
    """
    if name in GOALS:
        return GOALS[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # found, but something that it imports is missing
        raise UserError(
            f"task.name={name}: Python finds no module {module}: start in the folder that has "
            f"{module.partition('.')[0]}.py, or add it to PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Goal)):
        raise UserError(
            f"task.name={name}: expected a class {attribute or 'NAME'} of {module} that extends "
            f"mm_torch.goals.Goal"
        )
    return found
