import pytest
import torch

from agents import Rollout, iterate_minibatches


def filled_rollout(num_steps=6, num_envs=4):
    """Every sample carries its own number, 0 to T * N - 1, in all its columns."""
    rollout = Rollout(num_steps, num_envs, obs_dim=2, action_dim=3)
    for t in range(num_steps):
        number = torch.arange(num_envs) + t * num_envs
        rollout.add(
            obs=number[:, None].expand(-1, 2),
            actions=number[:, None].expand(-1, 3),
            log_probs=number,
            values=number,
            next_values=number + 1,
            rewards=number,
            terminated=number % 2 == 0,
            done=number % 2 == 0,
        )
    return rollout


def test_minibatches_cover_each_sample_once_and_keep_rows_together():
    rollout = filled_rollout()
    batch = rollout.flatten(torch.full((6, 4), 100.0))
    parts = list(iterate_minibatches(batch, 3, torch.Generator().manual_seed(0)))
    assert [len(part.obs) for part in parts] == [8, 8, 8]
    numbers = torch.cat([part.values for part in parts])
    assert not torch.equal(numbers, torch.arange(24.0))
    assert torch.equal(numbers.sort().values, torch.arange(24.0))
    for part in parts:
        assert torch.equal(part.obs, part.values[:, None].expand(-1, 2))
        assert torch.equal(part.actions, part.values[:, None].expand(-1, 3))
        assert torch.equal(part.log_probs.float(), part.values)
        assert torch.equal(part.returns, part.values + part.advantages)


def test_generator_decides_the_order():
    batch = filled_rollout().flatten(torch.zeros(6, 4))
    orders = [
        next(iterate_minibatches(batch, 1, torch.Generator().manual_seed(seed))).values
        for seed in (1, 1, 2)
    ]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])


def test_minibatches_must_divide_the_batch():
    batch = filled_rollout().flatten(torch.zeros(6, 4))
    with pytest.raises(ValueError, match="24 samples cannot be split into 5"):
        next(iterate_minibatches(batch, 5))


def test_too_many_or_too_few_steps_are_errors():
    rollout = filled_rollout()
    row = {"obs": torch.zeros(4, 2), "actions": torch.zeros(4, 3)}
    rest = dict.fromkeys(
        ("log_probs", "values", "next_values", "rewards", "terminated", "done"), torch.zeros(4)
    )
    with pytest.raises(RuntimeError, match="already holds its 6 steps"):
        rollout.add(**row, **rest)
    rollout.clear()
    rollout.add(**row, **rest)
    with pytest.raises(RuntimeError, match="holds 1 of 6 steps"):
        rollout.flatten(torch.zeros(6, 4))
