"""byhand.generative against PyTorch, scikit-learn's formulas and enumeration."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from byhand import generative as by
from byhand.backprop import Layer, Linear, ReLU, Sequential
from byhand.optimizers import SGD


def generator(seed=0):
    return np.random.default_rng(seed)


def net(*sizes, seed=0):
    return Sequential(Linear(sizes[0], sizes[1], rng=generator(seed)), ReLU(),
                      Linear(sizes[1], sizes[2], rng=generator(seed + 1)))


def run(params, x):
    """Such a net in PyTorch, from a dict of tensors."""
    return F.relu(x @ params["0.weight"].T + params["0.bias"]) @ params[
        "2.weight"].T + params["2.bias"]


def tensors(model):
    return {name: torch.tensor(value, requires_grad=True)
            for name, value in model.params.items()}


@pytest.mark.parametrize("visible, hidden", [(1, 1), (4, 3), (6, 2)])
def test_rbm_is_its_energy(visible, hidden):
    rng = generator(visible)
    rbm = by.RBM(visible, hidden, rng, scale=1.0)
    W, b, c = rbm.params.values()
    b[...], c[...] = rng.normal(size=visible), rng.normal(size=hidden)
    vs, hs = (np.arange(2**n)[:, None] >> np.arange(n) & 1
              for n in (visible, hidden))
    vs, hs = vs.astype(float), hs.astype(float)
    weight = np.exp(hs @ W @ vs.T + vs @ b + (hs @ c)[:, None])
    np.testing.assert_allclose(np.exp(-rbm.free_energy(vs)), weight.sum(0))
    np.testing.assert_allclose(rbm.log_partition(), np.log(weight.sum()))
    np.testing.assert_allclose(rbm.hidden(vs).T, hs.T @ weight / weight.sum(0))
    np.testing.assert_allclose(rbm.visible(hs),
                               weight @ vs / weight.sum(1)[:, None])
    slope = rbm.exact_gradient(vs[-1:])
    step = 1e-6
    for name, param in rbm.params.items():
        values = []
        for sign in (1, -2):
            param.flat[0] += sign * step
            values.append(-rbm.free_energy(vs[-1:])[0] - rbm.log_partition())
        param.flat[0] += step
        np.testing.assert_allclose(slope[name].flat[0],
                                   (values[0] - values[1]) / (2 * step), atol=1e-7)


def test_gibbs_reaches_the_distribution():
    rng = generator(3)
    rbm = by.RBM(3, 2, rng, scale=1.0)
    v = rbm.gibbs(np.zeros((20_000, 3)), rng, 50)
    states = (np.arange(8)[:, None] >> np.arange(3) & 1).astype(float)
    share = np.exp(-rbm.free_energy(states) - rbm.log_partition())
    counts = np.bincount((v @ [1, 2, 4]).astype(int), minlength=8) / len(v)
    assert np.abs(counts - share).max() < 0.02


def test_gibbs_steps_follow_each_other():
    rbm, v = by.RBM(3, 2, generator(3), scale=1.0), np.zeros((50, 3))
    one, two = generator(4), generator(4)
    v2 = rbm.gibbs(rbm.gibbs(v, one), one, 1)
    assert np.array_equal(v2, rbm.gibbs(v, two, 2)) and set(np.unique(v2)) == {0, 1}


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_vae(beta):
    vae = by.VAE(net(5, 4, 4), net(2, 4, 5, seed=2), beta)
    x, noise = generator(1).uniform(size=(6, 5)), generator(2).normal(size=(6, 2))
    loss = vae.forward(x, noise)
    dx, dnoise = vae.backward(np.ones(6))
    encoder, decoder = tensors(vae.encoder), tensors(vae.decoder)
    x, noise = (torch.tensor(part, requires_grad=True) for part in (x, noise))
    mean, log_var = run(encoder, x).chunk(2, dim=1)
    logits = run(decoder, mean + (log_var / 2).exp() * noise)
    theirs = (F.softplus(logits) - x * logits).sum(1) + beta / 2 * (
        log_var.exp() + mean**2 - 1 - log_var).sum(1)
    theirs.sum().backward()
    np.testing.assert_allclose(loss, theirs.detach())
    np.testing.assert_allclose(dx, x.grad, atol=1e-12)
    np.testing.assert_allclose(dnoise, noise.grad, atol=1e-12)
    for part, params in (("encoder", encoder), ("decoder", decoder)):
        for name, param in params.items():
            np.testing.assert_allclose(vae.grads[f"{part}.{name}"], param.grad,
                                       atol=1e-12)


@pytest.mark.parametrize("loss", ["non-saturating", "minimax"])
@pytest.mark.parametrize("apart", [True, False])
def test_train_gan(loss, apart):
    G, D = net(2, 4, 3), net(3, 4, 1, seed=2)
    g, d = tensors(G), tensors(D)
    x = generator(4).normal(size=(30, 3))
    by.train_gan(G, D, x, latent=2, steps=3, batch_size=5, rng=generator(5), loss=loss,
                 apart=apart, optimizers=(SGD(G.params, lr=0.1), SGD(D.params, lr=0.1)))
    rng, theirs = generator(5), [torch.optim.SGD(p.values(), lr=0.1) for p in (g, d)]
    for _ in range(3):
        real = torch.tensor(x[rng.integers(30, size=5)])
        fake = run(g, torch.tensor(rng.normal(size=(5, 2)))).detach()
        theirs[1].zero_grad()
        (F.softplus(-run(d, real)).mean() + F.softplus(run(d, fake)).mean()).backward()
        theirs[1].step()
        theirs[0].zero_grad()
        logits = run(d, run(g, torch.tensor(rng.normal(size=(5, 2)))))
        (F.softplus(-logits) if loss == "non-saturating"
         else -F.softplus(logits)).mean().backward()
        theirs[0].step()
    for model, params in ((G, g), (D, d)):
        for name, param in params.items():
            np.testing.assert_allclose(model.params[name], param.detach(), atol=1e-12)


class Echo(Layer):
    """A generator that gives the noise back; it keeps its shapes."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, z):
        self.shapes.append(z.shape)
        return z

    def backward(self, dy):
        assert dy.shape == self.shapes[-1]
        return dy


class Sum(Layer):
    def forward(self, x):
        self.shape = x.shape
        return x.sum(axis=-1, keepdims=True)

    def backward(self, dy):
        return np.broadcast_to(dy, self.shape)


class NoStep:
    def step(self, grads):
        assert grads == {}


@pytest.mark.parametrize("beside", [(), (4,)])
@pytest.mark.parametrize("batch_size, steps, latent", [(5, 3, 2), (1, 1, 1)])
@pytest.mark.parametrize("apart", [True, False])
def test_noise_for_each_pair(beside, batch_size, steps, latent, apart):
    G, watched = Echo(), []
    x = generator().normal(size=(9, *beside, latent))
    by.train_gan(G, Sum(), x, latent=latent, steps=steps, batch_size=batch_size,
                 rng=generator(1), optimizers=(NoStep(), NoStep()), apart=apart,
                 watch=watched.append)
    assert G.shapes == [(batch_size, *beside, latent)] * 2 * steps
    assert watched == list(range(steps))


def test_precision_and_recall_counted():
    real = np.array([[0.0], [1.0], [10.0], [-50.0]])  # reaches 1, 1, 9, 50
    fake = np.array([[1.5], [2.5], [200.0]])  # 1, 1, 197.5
    assert by.sample_precision_recall(real, fake, k=1) == (2 / 3, 2 / 4)


def test_precision_and_recall():
    x = generator(6).normal(size=(30, 2))
    assert by.sample_precision_recall(x, x) == (1.0, 1.0)
    assert by.sample_precision_recall(x, x + 99) == (0.0, 0.0)
    twice = np.repeat(np.random.default_rng(7).normal(size=(10, 8)), 5, axis=0)
    assert by.sample_precision_recall(twice, twice[:5])[0] == 1.0
    other = np.random.default_rng(2).normal(size=x.shape)
    assert by.sample_precision_recall(
        x + 1e8, other + 1e8) == by.sample_precision_recall(x, other)
    one = np.tile(x[:1], (30, 1)) + 1e-6 * x
    precision, recall = by.sample_precision_recall(x, one)
    assert precision == 1.0 and recall <= 0.1


def test_diffusion():
    chain = by.Diffusion(20, 0.01, 0.3)
    x, noise = generator(7).normal(size=(2, 4, 3))
    now = chain.noised(x, np.full(4, 9), noise)
    kept, before, beta = chain.alpha_bar[9], chain.alpha_bar[8], chain.betas[9]
    mean = (np.sqrt(before) * beta * x
            + np.sqrt(1 - beta) * (1 - before) * now) / (1 - kept)  # Ho et al., eq. 7
    np.testing.assert_allclose(chain.step(now, 9, noise, 0 * noise), mean)
    path = chain.sample(lambda x, t: 0 * x, x, generator(8))
    assert path.shape == (21, 4, 3) and np.array_equal(path[0], x)
    assert np.array_equal(chain.step(x, 0, noise, noise),
                          chain.step(x, 0, noise, 0 * noise))
    low = x.astype(np.float32)
    assert chain.noised(low, np.full(4, 9), low).dtype == np.float32
    assert chain.step(low, 9, low, low).dtype == np.float32

    def predict(x, t):
        assert x.dtype == np.float32 and t.shape == (4,)
        return 0 * x

    assert chain.sample(predict, low, generator(8)).dtype == np.float32
    with pytest.raises(TypeError, match="predicted"):
        chain.step(low, 9, noise, low)


@pytest.mark.parametrize("chain", [by.Diffusion(20, 0.01, 0.3), by.Diffusion(2, 0.1,
                                                                             0.1)])
def test_a_step_back_with_the_true_noise(chain):
    """From x_t it lands where x_{t-1} is: the same mean, the same variance."""
    x, noise = generator(7).normal(size=(2, 4, 3))
    for t in range(1, len(chain.betas)):
        now = chain.noised(x, np.full(4, t), noise)
        back, kept = chain.step(now, t, noise, 0 * noise), chain.alpha_bar[t - 1]
        of_noise = (back - np.sqrt(kept) * x) / noise
        added = (chain.step(now, t, noise, noise) - back) / noise
        np.testing.assert_allclose(of_noise**2 + added**2, 1 - kept)


def test_train_denoiser():
    model, chain = net(18, 5, 2), by.Diffusion(10)
    theirs, x = tensors(model), generator(9).normal(size=(12, 2))
    losses = by.train_denoiser(model, chain, x, steps=2, batch_size=4,
                               rng=generator(10), optimizer=SGD(model.params, lr=0.1))
    rng, sgd = generator(10), torch.optim.SGD(theirs.values(), lr=0.1)
    for i in range(2):
        batch = x[rng.integers(12, size=4)]
        t, noise = rng.integers(10, size=4), rng.normal(size=(4, 2))
        kept = chain.alpha_bar[t][:, None]
        noisy = np.sqrt(kept) * batch + np.sqrt(1 - kept) * noise
        y = run(theirs, torch.tensor(np.hstack([noisy, by.time_features(t, 10)])))
        sgd.zero_grad()
        loss = F.mse_loss(y, torch.tensor(noise))
        loss.backward()
        sgd.step()
        np.testing.assert_allclose(losses[i], loss.item())
    assert by.train_denoiser(model, chain, x, steps=1, batch_size=1, rng=rng,
                             optimizer=SGD(model.params, lr=0.1)).shape == (1,)


def test_the_frechet_distance_of_two_numbers_each():
    a, b = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])  # variances 2 and 8
    assert by.frechet_distance(a, b) == pytest.approx((3 - 1) ** 2 + 2 + 8 - 2 * 4)
    assert by.frechet_distance(a, a) == pytest.approx(0, abs=1e-14)


X = np.ones((4, 2))


@pytest.mark.parametrize("call, match", [
    (lambda: by.RBM(0, 2, generator()), "got 0 and 2"),
    (lambda: by.RBM(17, 2, generator()).log_partition(), "too many"),
    (lambda: by.RBM(2, 2, generator()).gibbs(X, generator(), 0), "got 0"),
    (lambda: by.VAE(net(2, 2, 2), net(1, 2, 2), -1), "got -1"),
    (lambda: by.VAE(net(2, 2, 2), net(1, 2, 2)).forward(X, X), "got 2"),
    (lambda: by.VAE(net(2, 2, 2), net(1, 2, 1)).forward(X, X[:, :1]), "logits"),
    (lambda: by.frechet_distance(X[:1], X), "got 1 and 4"),
    (lambda: by.frechet_distance(X * np.nan, X), "NaN"),
    (lambda: by.sample_precision_recall(X, X, 4), "got 4"),
    (lambda: by.Diffusion(1), "got 1"),
    (lambda: by.Diffusion(9).noised(X, np.full(4, 9), X), "0 to 8"),
    (lambda: by.Diffusion(9).step(X, -1, X, X), "0 to 8, got .*: -1"),
    (lambda: by.Diffusion(9).step(X, 9, X, X), "0 to 8, got .*: 9"),
    (lambda: by.Diffusion(9).step(X, 3, X[:, :1], X), "predicted"),
    (lambda: by.Diffusion(9).step(X, 3, X, X[:1]), "noise"),
    (lambda: by.train_gan(None, None, X, latent=1, steps=1, batch_size=1, rng=None,
                          optimizers=(), loss="hinge"), "got 'hinge'"),
    (lambda: by.train_denoiser(None, by.Diffusion(), X, steps=0, batch_size=1,
                               rng=None, optimizer=None), "got 0"),
])
def test_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
