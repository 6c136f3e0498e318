import pytest
import torch

from agents import generalized_advantage


def column(*values):
    return torch.tensor(values).unsqueeze(-1)


def test_hand_worked_episode_with_truncation_and_termination():
    # gamma = lam = 1/2. Step 1 is truncated (bootstrap from 8), step 3 terminates (7 is ignored).
    #   delta = 1 + 2/2 - 4 = -2,  1 + 8/2 - 2 = 3,  2 + 4/2 - 6 = -2,  3 + 0 - 4 = -1
    #   A[3] = -1,  A[2] = -2 - 1/4 = -2.25,  A[1] = 3 (cut),  A[0] = -2 + 3/4 = -1.25
    advantages = generalized_advantage(
        rewards=column(1.0, 1.0, 2.0, 3.0),
        values=column(4.0, 2.0, 6.0, 4.0),
        next_values=column(2.0, 8.0, 4.0, 7.0),
        terminated=column(False, False, False, True),
        done=column(False, True, False, True),
        gamma=0.5,
        lam=0.5,
    )
    torch.testing.assert_close(advantages, column(-1.25, 3.0, -2.25, -1.0))


def test_lambda_one_is_the_discounted_return():
    torch.manual_seed(0)
    rewards, values = torch.randn(6, 3), torch.randn(7, 3)
    never = torch.zeros(6, 3, dtype=torch.bool)
    advantages = generalized_advantage(rewards, values[:-1], values[1:], never, never, 0.9, 1.0)
    powers = 0.9 ** torch.arange(6.0)
    expected = (powers[:, None] * rewards).sum(0) + 0.9**6 * values[-1] - values[0]
    torch.testing.assert_close(advantages[0], expected)


def test_worlds_do_not_mix():
    torch.manual_seed(0)
    tensors = [torch.randn(5, 4) for _ in range(3)]
    flags = [torch.rand(5, 4) < 0.3 for _ in range(2)]
    together = generalized_advantage(*tensors, flags[0], flags[0] | flags[1], 0.9, 0.8)
    alone = generalized_advantage(
        *(x[:, 2:3] for x in tensors), flags[0][:, 2:3], (flags[0] | flags[1])[:, 2:3], 0.9, 0.8
    )
    torch.testing.assert_close(together[:, 2:3], alone)


def test_non_finite_value_after_termination_is_ignored():
    one, ended = column(1.0), column(True)
    advantages = generalized_advantage(one, one, column(torch.nan), ended, ended, 0.9, 0.9)
    assert advantages.item() == 0.0


def test_shapes_must_agree():
    x, flag = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="share one shape"):
        generalized_advantage(x, x, x[:1], flag, flag, 0.9, 0.9)
