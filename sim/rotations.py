"""Rotations in torch, batched over leading dimensions; quaternions are (w, x, y, z).

Conventions are MuJoCo's: a rotation matrix maps body axes to world axes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def quat_to_matrix(quat: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3) of quaternions (..., 4), normalised first."""
    w, x, y, z = (quat / quat.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Return quaternions (..., 4) of rotation matrices (..., 3, 3), with w >= 0.

    Of the four equivalent formulas, the best conditioned one is taken for each matrix
    (Shepperd 1978, J. Guidance and Control 1(3):223).
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Four times the square of each component.
    squares = torch.stack(
        (1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz), -1
    )
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    # Row i is 4 q_i q; every row is the quaternion up to a factor.
    rows = torch.stack(
        (
            torch.stack((squares[..., 0], a, b, c), -1),
            torch.stack((a, squares[..., 1], d, e), -1),
            torch.stack((b, d, squares[..., 2], f), -1),
            torch.stack((c, e, f, squares[..., 3]), -1),
        ),
        dim=-2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quat = rows.gather(-2, best).squeeze(-2)
    quat = quat / quat.norm(dim=-1, keepdim=True)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def matrix_to_rotvec(matrix: Tensor) -> Tensor:
    """Return rotation vectors (..., 3) in rad, of length at most pi."""
    quat = matrix_to_quat(matrix)
    sine = quat[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quat[..., :1])
    # angle / sin(angle/2) tends to 2 at the identity.
    small = sine < 1e-7
    return quat[..., 1:] * torch.where(small, 2.0, angle / sine.clamp_min(1e-30))


def quat_angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the geodesic angle (...) in rad, 0 to pi, between quaternions (..., 4).

    atan2 of the relative quaternion's parts keeps its precision near zero, where 2 arccos|a.b| has
    an error of the square root of the rounding error.
    """
    relative = quat_multiply(quat_conjugate(a), b)
    return 2 * torch.atan2(relative[..., 1:].norm(dim=-1), relative[..., 0].abs())


def quat_conjugate(quat: Tensor) -> Tensor:
    """Return the inverse of unit quaternions (..., 4)."""
    return torch.cat((quat[..., :1], -quat[..., 1:]), dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hamilton product (..., 4): rotation b, then a."""
    w, v = a[..., :1], a[..., 1:]
    u, r = b[..., :1], b[..., 1:]
    scalar = w * u - (v * r).sum(-1, keepdim=True)
    return torch.cat((scalar, w * r + u * v + torch.linalg.cross(v, r)), dim=-1)


def quat_yaw(quat: Tensor) -> Tensor:
    """Return the heading (...) in rad: the vertical rotation of z-y-x Euler angles."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def yaw_matrix(yaw: Tensor) -> Tensor:
    """Return rotations (..., 3, 3) about the vertical by `yaw` (...) in rad."""
    c, s, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    return torch.stack((c, -s, zero, s, c, zero, zero, zero, one), -1).unflatten(-1, (3, 3))


def rotate(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return matrix @ vector, (..., 3, 3) and (..., 3), broadcast over leading dimensions."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def two_columns(matrix: Tensor) -> Tensor:
    """Return the first two columns (..., 6): a continuous encoding of a rotation.

    Zhou et al. 2019, "On the continuity of rotation representations in neural networks".
    """
    return torch.cat((matrix[..., 0], matrix[..., 1]), dim=-1)
