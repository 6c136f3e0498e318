"""Leans a motion so that its weight rests on its feet.

A performer's mass is not the model's, and targets that follow bones say nothing of where it is: the
solved motion would tip over where the performer did not. What the ground can give is seen at the
zero-moment point, where its force would have to act for the body not to be tipped (Vukobratović and
Borovac 2004, Int. J. Humanoid Robotics 1:157): it has to be within the area that the soles enclose.
Displacing the body above its feet by d moves that point by

    d - (h / g) d''       (cart-table model, Kajita et al. 2003, ICRA: 1620)

at a centre of mass of height h. The displacement sought is the least that brings the point back:

    minimise  sum_t  ease |d_t|² + distance(z_t + share (d - (h / g) d'')_t, area_t)²

It is smooth, since it takes little to move the point fast: 4 mm at 1 Hz for 2 cm. While no foot is
down it may not accelerate. The distance to an area is replaced by that to the nearest point found
before (which is never less); the quadratic that remains is diagonal in a cosine basis. Nesterov's
steps speed that up (Beck and Teboulle 2009, SIAM J. Imaging Sciences 2:183).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_GRAVITY = 9.81
_DIRECTIONS = 64  # of the half-planes that an area is the intersection of
WIDEST = 0.25  # share of an area's width that a margin may take on each side
_UNLOADED = 0.1  # of body weight: below that the ground gives nothing to speak of
_ITERATIONS = 100


@dataclass(frozen=True)
class Areas:
    """What the soles enclose on the floor, frame by frame, as half-planes.

    Attributes:
        normals: (K, 2) directions, evenly spaced.
        reach: (T, K) how far the area reaches in each (m from the world's origin).
        there: (T,) bool, whether there is any.
    """

    normals: np.ndarray
    reach: np.ndarray
    there: np.ndarray

    @classmethod
    def of(
        cls,
        points: np.ndarray,
        down: np.ndarray,
        margin: float | np.ndarray,
        widest: float | np.ndarray = WIDEST,
    ) -> Areas:
        """Enclose points on the floor, less a margin all around.

        Args:
            points: (T, P, 2).
            down: (T, P) bool, which of them count.
            margin: (m), one or (T,).
            widest: share of an area's width that it may take on each side, one or (T,).
        """
        angle = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
        normals = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        there = down.any(axis=1)
        reach = np.full((len(points), _DIRECTIONS), -np.inf)
        for point in range(points.shape[1]):  # one by one: clips may have 100,000 frames
            along = points[:, point] @ normals.T
            np.maximum(reach, along, out=reach, where=down[:, point, None])
        reach[~there] = 0.0
        # Narrow areas, such as a heel, keep what the margin may not take of their width.
        width = reach + np.roll(reach, _DIRECTIONS // 2, axis=1)
        margin, widest = np.reshape(margin, (-1, 1)), np.reshape(widest, (-1, 1))
        return cls(normals, reach - np.minimum(margin, widest * width), there)

    def way_back(self, points: np.ndarray) -> np.ndarray:
        """From points (T, 2) to the nearest of the areas, (T, 2): zero within and without one."""
        beyond = points @ self.normals.T - self.reach
        furthest = beyond.argmax(axis=1)
        distance = np.take_along_axis(beyond, furthest[:, None], axis=1)
        return (
            -np.where(self.there[:, None], np.maximum(distance, 0.0), 0.0) * self.normals[furthest]
        )


def zero_moment_points(
    wrench: np.ndarray, root: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the zero-moment points (T, 2) on the floor, and where there is none, (T,) bool.

    Args:
        wrench: (T, 6) force (N) and moment (Nm) about `root` that the motion needs, world axes.
        root: (T, 3) (m, world).
        weight: of the body (N).
    """
    force, moment = wrench[:, :3], wrench[:, 3:]
    unloaded = force[:, 2] < _UNLOADED * weight
    up = np.where(unloaded, weight, force[:, 2])
    x = root[:, 0] - (moment[:, 1] + root[:, 2] * force[:, 0]) / up
    y = root[:, 1] + (moment[:, 0] - root[:, 2] * force[:, 1]) / up
    return np.stack((x, y), axis=1), unloaded


def pressure(
    wrench: np.ndarray,
    root: np.ndarray,
    soles: np.ndarray,
    near: np.ndarray,
    weight: float,
    margin: float | np.ndarray = 0.0,
    widest: float | np.ndarray = WIDEST,
) -> tuple[np.ndarray, Areas]:
    """Return where a motion presses on the ground (T, 2), and the areas in which it can.

    Args:
        wrench, root, weight: as of :func:`zero_moment_points`.
        soles: (T, P, 3) lowest points of the feet (m, world).
        near: (T, P) bool, which of them may carry weight.
        margin, widest: see :meth:`Areas.of`.
    """
    points, unloaded = zero_moment_points(wrench, root, weight)
    return points, Areas.of(soles[..., :2], near & ~unloaded[:, None], margin, widest)


def displacement(
    points: np.ndarray,
    areas: Areas,
    height: float,
    fps: float,
    share: float = 1.0,
    ease: float = 0.02,
) -> np.ndarray:
    """Return how far (T, 2) the body should be moved above its feet (m).

    Args:
        points: (T, 2) zero-moment points; those of frames without an area do not matter.
        areas: where they should be.
        height: of the centre of mass (m).
        fps: frames a second.
        share: by how much of a displacement the centre of mass moves.
        ease: cost of a displacement, against that of a point outside.
    """
    count = len(points)
    # The second difference, with ends held level, is diagonal in the cosine basis.
    bend = (2 - 2 * np.cos(np.pi * np.arange(count + 1) / count)) * fps**2
    gain = share * (1 + height / _GRAVITY * bend)[:, None]

    def through(values: np.ndarray, factor: np.ndarray) -> np.ndarray:
        mirrored = np.concatenate((values, values[::-1]))
        spectrum = np.fft.rfft(mirrored, axis=0) * factor
        return np.fft.irfft(spectrum, 2 * count, axis=0)[:count]

    best = look = np.zeros((count, 2))
    momentum = 1.0
    for _ in range(_ITERATIONS):
        moved = through(look, gain)
        # In the air the point is free, and the displacement goes on as it is.
        back = np.where(areas.there[:, None], areas.way_back(points + moved), share * look - moved)
        after = through(moved + back, gain / (ease + gain**2))
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        look = after + (momentum - 1) / following * (after - best)
        best, momentum = after, following
    return best
