import numpy as np
import pytest
import torch

from retarget.smooth_solve import SmoothSystem, second_difference, second_difference_transposed


def problem(frames=40, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(frames, n, n, generator=generator, dtype=torch.float64)
    hessian = root @ root.transpose(1, 2) + 0.1 * torch.eye(n, dtype=torch.float64)
    rhs = torch.randn(frames, n, generator=generator, dtype=torch.float64)
    stiffness = torch.rand(n, generator=generator, dtype=torch.float64) * 3
    link = torch.ones(frames - 2, dtype=torch.float64)
    link[14:16] = 0  # two clips, of 16 and 24 frames
    return hessian, rhs, stiffness, link


def dense(hessian, stiffness, link):
    frames = len(hessian)
    difference = np.zeros((frames - 2, frames))
    for t in range(frames - 2):
        difference[t, t : t + 3] = np.array([1, -2, 1]) * float(link[t])
    tie = np.kron(difference.T @ difference, np.diag(stiffness.numpy()))
    return torch.block_diag(*hessian) + torch.as_tensor(tie)


def test_difference_and_its_transpose():
    _, _, _, link = problem()
    x, y = torch.randn(40, 5, dtype=torch.float64), torch.randn(38, 5, dtype=torch.float64)
    forward = (second_difference(x, link) * y).sum()
    backward = (x * second_difference_transposed(y, link)).sum()
    assert float(forward) == pytest.approx(float(backward))
    line = torch.arange(40.0).double()[:, None].expand(-1, 2)
    assert second_difference(line, link).abs().max() == 0


def test_solution_equals_a_dense_solver():
    hessian, rhs, stiffness, link = problem()
    matrix = dense(hessian, stiffness, link)
    system = SmoothSystem(hessian, stiffness, link, torch.ones_like(rhs))
    x = system.solve(rhs, torch.zeros_like(rhs), 60)
    torch.testing.assert_close(x.flatten(), torch.linalg.solve(matrix, rhs.flatten()))
    torch.testing.assert_close(system.times(x).flatten(), matrix @ x.flatten())


def test_fixed_coordinates_stay_and_the_others_are_optimal():
    hessian, rhs, stiffness, link = problem()
    matrix = dense(hessian, stiffness, link)
    free = (torch.rand(rhs.shape, generator=torch.Generator().manual_seed(1)) > 0.2).double()
    start = 0.7 * (free == 0).double()
    x = SmoothSystem(hessian, stiffness, link, free).solve(rhs, start, 80)
    assert (x[free == 0] == 0.7).all()
    gradient = (matrix @ x.flatten() - rhs.flatten()).view_as(rhs)
    assert gradient[free > 0].abs().max() < 1e-8


def test_clips_do_not_touch_each_other():
    hessian, rhs, stiffness, link = problem()
    both = SmoothSystem(hessian, stiffness, link, torch.ones_like(rhs)).solve(rhs, 0 * rhs, 60)
    one = SmoothSystem(hessian[:16], stiffness, link[:14], torch.ones_like(rhs[:16]))
    torch.testing.assert_close(one.solve(rhs[:16], 0 * rhs[:16], 60), both[:16])
