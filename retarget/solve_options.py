"""How postures are found."""

from __future__ import annotations

from dataclasses import dataclass

from retarget.contact import SPEED


@dataclass(frozen=True)
class SolveOptions:
    """How the postures are found.

    Attributes:
        contact: find the floor and hold standing feet; false solves for tracking alone.
        contact_speed: speeds (m/s) of standing parts, as `contact.detect` takes them.
        balance: lean the body so that its weight rests on its feet (with `contact`).
        avoid_self_collision: keep parts of the body out of each other.
        smoothing_hz: frequency (Hz) at which motion is halved; infinite for none.
        least_curvature: curvature (per rad²) that a joint counts as having where tracking says less
            about it; smooths toes, wrists and the arm's plane of elevation more than the rest.
        neutral: weight of the pull to the neutral posture (per rad²).
        posture: weight of the pull to known joint angles, where there are such (per rad²).
        start_stride: frames between those of the first level.
        start_steps: Gauss-Newton steps there without smoothness, from the neutral posture.
        start_hz: smoothing frequencies (Hz) of the steps there after those.
        middle_rate: frames of the second level per period of the smoothing frequency.
        middle_steps, last_steps: steps on the second and on the last level, contact held.
        balance_margin: how far within the soles the weight should rest while the body steps (m).
        standing_margin: how far within them while it stands and has no next step to catch it (m).
        twist_effort: the trunk is turned no further about the spine than where holding it there
            would take this part of the strength of the muscles that can.
        balance_rounds: how often what is left to balance is found, and asked for.
        balance_steps: steps with what balance asks, on the second level and on all frames.
        detour_hz: frequency at which deviations that keep the body's parts apart are halved, if
            below `smoothing_hz`.
        detour_rate: frames per period of it on which they are found first.
        detour_steps: steps on these, and on all frames.
        solver_iterations: conjugate-gradient steps of each, before and after joints that would pass
            their limits are fixed there.
        damping: share of a step that is taken, after the first of a level: which points touch the
            floor changes from step to step, and whole steps may change it back and forth.
    """

    contact: bool = True
    contact_speed: tuple[float, float] = SPEED
    balance: bool = True
    avoid_self_collision: bool = True
    smoothing_hz: float = 8.0
    least_curvature: float = 0.1
    neutral: float = 5e-4
    posture: float = 5e-3
    start_stride: int = 12
    start_steps: int = 5
    start_hz: tuple[float, ...] = (0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 3.0)
    middle_rate: float = 2.5
    middle_steps: int = 6
    last_steps: int = 1
    balance_margin: float = 0.01
    standing_margin: float = 0.08
    twist_effort: float = 0.4
    balance_rounds: int = 2
    balance_steps: tuple[int, int] = (4, 1)
    detour_hz: float = 4.0
    detour_rate: float = 8.0
    detour_steps: tuple[int, int] = (4, 2)
    solver_iterations: tuple[int, int] = (12, 20)
    damping: float = 0.7
