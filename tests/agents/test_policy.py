import pytest
import torch
from torch.distributions import Independent, Normal

from agents import ActorCritic, GaussianHead


@pytest.fixture
def policy():
    return ActorCritic(5, 3, actor_hidden=(16, 16), init_mean=-1.5, init_std=0.2)


def test_initial_distribution(policy):
    obs = torch.randn(20, 5)
    torch.testing.assert_close(policy.gaussian.std, torch.full((3,), 0.2))
    assert (policy.mean_action(obs) + 1.5).abs().max() < 0.2


@pytest.mark.parametrize("init_std", [0.011, 0.2, 3.0, 4.9])
def test_std_starts_where_told(init_std):
    std = GaussianHead(2, init_std, min_std=0.01, max_std=5.0).std
    torch.testing.assert_close(std, torch.full((2,), init_std), rtol=1e-4, atol=0)


@pytest.mark.parametrize("gradient", [1e30, -1e30, 1.0, -1.0])
def test_std_stays_in_bounds_under_absurd_gradients(gradient):
    head = GaussianHead(4, 0.2, min_std=0.01, max_std=1.3)
    optimizer = torch.optim.SGD(head.parameters(), lr=1e3)
    for _ in range(20):
        head.raw.grad = torch.full((4,), gradient)
        optimizer.step()
        assert ((head.std >= 0.01) & (head.std <= 1.3)).all()
        assert head.log_prob(torch.zeros(2, 4), torch.ones(2, 4)).isfinite().all()
        assert head.entropy().isfinite()


def test_densities_agree_with_torch_distributions(policy):
    obs = torch.randn(10, 5)
    action, log_prob, value = policy.act(obs)
    again, entropy, same_value = policy.evaluate(obs, action)
    reference = Independent(Normal(policy.mean_action(obs), policy.gaussian.std), 1)
    torch.testing.assert_close(log_prob.float(), reference.log_prob(action))
    torch.testing.assert_close(entropy, reference.entropy()[0])
    assert torch.equal(log_prob, again)
    assert torch.equal(value, same_value) and torch.equal(value, policy.value(obs))
    assert action.shape == (10, 3) and log_prob.shape == value.shape == (10,)


def test_sampling_statistics(policy):
    obs = torch.zeros(20000, 5)
    action, _, _ = policy.act(obs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(action.mean(0), policy.mean_action(obs)[0], atol=0.01, rtol=0)
    torch.testing.assert_close(action.std(0), policy.gaussian.std, atol=0.01, rtol=0)


def test_generator_makes_actions_reproducible(policy):
    obs = torch.randn(4, 5)
    actions = [policy.act(obs, torch.Generator().manual_seed(s))[0] for s in (3, 3, 4)]
    assert torch.equal(actions[0], actions[1]) and not torch.equal(actions[0], actions[2])


def test_state_dict_is_self_contained(policy):
    obs = 5.0 + 3.0 * torch.randn(100, 5)
    policy.normalizer.update(obs)
    copy = ActorCritic(5, 3, actor_hidden=(16, 16))
    assert not torch.equal(copy.mean_action(obs), policy.mean_action(obs))
    copy.load_state_dict(policy.state_dict())
    assert torch.equal(copy.mean_action(obs), policy.mean_action(obs))
    assert torch.equal(copy.value(obs), policy.value(obs))
    assert torch.equal(copy.gaussian.std, policy.gaussian.std)


def test_autocast_returns_full_precision(policy):
    with torch.autocast("cpu", torch.bfloat16):
        action, log_prob, value = policy.act(torch.randn(4, 5))
    assert (action.dtype, log_prob.dtype, value.dtype) == (
        torch.float32,
        torch.float64,
        torch.float32,
    )


def test_bad_std_is_an_error():
    with pytest.raises(ValueError, match="min_std < init_std < max_std"):
        ActorCritic(5, 3, init_std=6.0)
