"""A clip in the terms of the body: values of its joints by name, before they are a motion."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from retarget.importers.source import SourceClip, SourceError
from sim.embodiment import Embodiment


@dataclass(frozen=True)
class PostureClip:
    """One clip of T frames for one body.

    Attributes:
        joints: (T,) values (rad) of independent joints by name; those absent stay neutral.
        root: (T, 7) position and quaternion of the free root; None for a fixed base.
        unmatched: the source's columns that mean nothing for this body.
        given: (T,) the source's own values of dependent joints by name.
        foreign_height: whether the root's height was measured on another person's legs.
        notes: what had to be decided, a sentence each.
    """

    joints: dict[str, np.ndarray]
    root: np.ndarray | None
    unmatched: tuple[str, ...]
    given: dict[str, np.ndarray] = field(default_factory=dict)
    foreign_height: bool = False
    notes: tuple[str, ...] = ()


def matched_by_name(clip: SourceClip, embodiment: Embodiment) -> list[str]:
    """Return the columns whose names are independent joints of the body.

    Raises:
        SourceError: there is none, or the body has a free root and the file has not.
    """
    independent = set(embodiment.independent_joints)
    matched = [name for name in clip.columns if name in independent]
    if not matched:
        raise no_match(clip, embodiment)
    if embodiment.has_root and clip.root is None:
        raise SourceError(
            f"{clip.path}: has no free root joint, {embodiment.name} needs one: "
            f"import it with embodiment=bimanual"
        )
    return matched


def postures_by_name(clip: SourceClip, embodiment: Embodiment) -> PostureClip:
    """Return the postures of a clip whose columns are called as the body's joints."""
    dependent = set(embodiment.dependent_joints)
    matched = matched_by_name(clip, embodiment)
    known = dependent | set(matched)
    return PostureClip(
        joints={name: clip.columns[name] for name in matched},
        root=clip.root if embodiment.has_root else None,
        unmatched=tuple(name for name in clip.columns if name not in known),
        given={name: clip.columns[name] for name in clip.columns if name in dependent},
    )


def no_match(clip: SourceClip, embodiment: Embodiment) -> SourceError:
    """Return the error of a clip without any joint of the body."""
    names = ", ".join(list(clip.columns)[:4]) or "none"
    return SourceError(
        f"{clip.path}: no column is a joint of {embodiment.name} (the first are {names}): "
        f"expected OpenSim coordinates or the joint names of the body"
    )
