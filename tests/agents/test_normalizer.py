import pytest
import torch

from agents import ReturnScaler, RunningNormalizer


def test_chunks_give_the_moments_of_the_whole():
    torch.manual_seed(0)
    data = 3.0 * torch.randn(1000, 5) + torch.tensor([0.0, 1.0, -5.0, 100.0, 1000.0])
    normalizer = RunningNormalizer(5)
    for chunk in data.split([1, 9, 490, 500]):
        normalizer.update(chunk)
    var, mean = torch.var_mean(data.double(), 0, correction=0)
    torch.testing.assert_close(normalizer.mean, mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(normalizer.var, var, rtol=1e-4, atol=0.0)
    assert normalizer.count == 1000


def test_leading_dimensions_are_all_samples():
    data = torch.randn(4, 6, 3)
    a, b = RunningNormalizer(3), RunningNormalizer(3)
    a.update(data)
    b.update(data.reshape(-1, 3))
    assert torch.equal(a.mean, b.mean) and torch.equal(a.var, b.var)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_rows_that_are_not_finite_are_left_out(poison):
    data = torch.randn(50, 3)
    dirty = data.clone()
    dirty[7, 1] = poison
    clean = torch.cat([data[:7], data[8:]])
    a, b = RunningNormalizer(3), RunningNormalizer(3)
    a.update(dirty)
    b.update(clean)
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.var, b.var)
    assert a.count == 49


def test_a_batch_without_a_valid_row_changes_nothing():
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.full((4, 2), torch.nan))
    assert normalizer.count == 0
    assert torch.equal(normalizer.mean, torch.zeros(2, dtype=torch.float64))
    assert torch.equal(normalizer.var, torch.ones(2, dtype=torch.float64))


def test_forward_standardises_clips_and_keeps_its_statistics():
    torch.manual_seed(0)
    data = 7.0 + 2.0 * torch.randn(5000, 2)
    normalizer = RunningNormalizer(2, clip=3.0)
    x = torch.linspace(-5.0, 5.0, 8).view(4, 2)
    torch.testing.assert_close(normalizer(x), x.clamp(-3.0, 3.0), rtol=1e-3, atol=0)
    normalizer.update(data)
    before = {k: v.clone() for k, v in normalizer.state_dict().items()}
    out = normalizer(data)
    assert out.dtype == torch.float32 and out.abs().max() <= 3.0
    torch.testing.assert_close(out.mean(0), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(out.std(0), torch.ones(2), atol=0.02, rtol=0)
    assert all(torch.equal(v, before[k]) for k, v in normalizer.state_dict().items())


def test_fill_nonfinite_is_neutral():
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.tensor([[1.0, 5.0], [3.0, 9.0]]))
    filled = normalizer.fill_nonfinite(torch.tensor([[torch.nan, 4.0], [1.0, torch.inf]]))
    assert torch.equal(filled, torch.tensor([[2.0, 4.0], [1.0, 7.0]]))


def test_wrong_width_is_an_error():
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 3\)"):
        RunningNormalizer(3).update(torch.zeros(5, 4))


def test_return_scaler_follows_discounted_returns_and_restarts():
    scaler = ReturnScaler(1, gamma=0.5)
    done = torch.tensor([[False], [True], [False]])
    scaler.update(torch.tensor([[2.0], [1.0], [4.0]]), done)  # R = 2, 2, then 4 afresh
    returns = torch.tensor([2.0, 2.0, 4.0])
    assert scaler.returns.item() == 4.0
    expected = torch.tensor([3.0]) / returns.std(correction=0)
    torch.testing.assert_close(scaler(torch.tensor([3.0])), expected)


def test_return_scaler_does_not_depend_on_where_rollouts_are_cut():
    torch.manual_seed(0)
    rewards, done = torch.randn(12, 5), torch.rand(12, 5) < 0.2
    whole, parts = ReturnScaler(5, 0.9), ReturnScaler(5, 0.9)
    whole.update(rewards, done)
    for chunk in (slice(0, 4), slice(4, 5), slice(5, 12)):
        parts.update(rewards[chunk], done[chunk])
    torch.testing.assert_close(whole.returns, parts.returns)
    torch.testing.assert_close(whole(rewards), parts(rewards))
