"""The perceptron against scikit-learn and against PyTorch's gradient; the number of
parameters against PyTorch's.
"""

import numpy as np
import pytest
import sklearn.linear_model
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from byhand.perceptron import Perceptron, count_parameters

XOR = (np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
       np.array([-1, 1, 1, -1]))
dtypes = st.sampled_from([np.float64, np.float32])


@st.composite
def examples(draw):
    """x and y: both classes, entries that are whole numbers (so that nothing is
    rounded), sums of exactly 0 among them.
    """
    n, d, dtype = draw(st.integers(2, 12)), draw(st.integers(1, 5)), draw(dtypes)
    scale = draw(st.sampled_from([1, 10_000]))
    x = draw(hnp.arrays(np.int64, (n, d), elements=st.integers(-3, 3))) * scale
    y = draw(hnp.arrays(np.int64, n, elements=st.sampled_from([-1, 1])).filter(
        lambda y: len(set(y)) == 2))
    return x.astype(dtype), y


@settings(deadline=None, max_examples=60)
@given(examples(), st.integers(1, 6))
def test_weights_are_those_of_scikit_learn(data, epochs):
    x, y = data
    ours = Perceptron(x.shape[1], dtype=x.dtype)
    mistakes = ours.fit(x, y, max_epochs=epochs)
    theirs = sklearn.linear_model.Perceptron(shuffle=False, tol=None,
                                             max_iter=epochs).fit(x, y)
    # 1e8 and more is beyond the whole numbers of float32
    if x.dtype == np.float64 or np.abs(x).max() < 10:
        np.testing.assert_array_equal(ours.params["weight"], theirs.coef_)
        np.testing.assert_array_equal(ours.params["bias"], theirs.intercept_)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert {value.dtype for value in ours.params.values()} == {x.dtype}
    assert len(mistakes) == epochs or mistakes[-1] == 0
    if mistakes[-1] == 0:
        assert (ours.forward(x)[:, 0] * y > 0).all()


@settings(deadline=None, max_examples=40)
@given(examples(), st.integers(0, 2**32 - 1))
def test_an_epoch_is_a_pass_of_descent_on_the_perceptron_criterion(data, seed):
    x, y = data
    rng = np.random.default_rng(seed)
    unit = Perceptron(x.shape[1], dtype=x.dtype)
    unit.params = {name: rng.normal(size=value.shape).astype(x.dtype)
                   for name, value in unit.params.items()}
    weight, bias = (torch.tensor(unit.params[name], requires_grad=True)
                    for name in ("weight", "bias"))
    for example, label in zip(torch.tensor(x), y.tolist()):
        loss = torch.relu(
            -label * torch.nn.functional.linear(example, weight, bias)).sum()
        with torch.no_grad():
            for parameter, slope in zip((weight, bias),
                                        torch.autograd.grad(loss, (weight, bias))):
                parameter -= slope
    unit.fit(x, y, max_epochs=1)
    if np.abs(x).max() < 10:  # else rounding decides on which side of 0 a sum falls
        np.testing.assert_allclose(unit.params["weight"], weight.detach(),
                                   atol=1e-4 if x.dtype == np.float32 else 1e-12)
        np.testing.assert_allclose(unit.params["bias"], bias.detach(),
                                   atol=1e-4 if x.dtype == np.float32 else 1e-12)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 6), dtypes, st.sampled_from([1.0, 1e4, -1e4]),
       st.integers(0, 2**32 - 1))
def test_forward_is_torch_s_linear(d, n, dtype, scale, seed):
    rng = np.random.default_rng(seed)
    unit, x = (Perceptron(d, dtype=dtype),
               (rng.normal(size=(n, d)) * scale).astype(dtype))
    unit.params = {name: rng.normal(size=value.shape).astype(dtype)
                   for name, value in unit.params.items()}
    theirs = torch.nn.functional.linear(torch.tensor(x), *(
        torch.tensor(unit.params[name]) for name in ("weight", "bias"))).numpy()
    ours = unit.forward(x)
    assert ours.dtype == dtype and ours.shape == (n, 1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=abs(scale)
                               * (1e-5 if dtype == np.float32 else 1e-13))
    np.testing.assert_array_equal(unit.predict(x), np.where(ours[:, 0] > 0, 1, -1))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.4, 0.1, 0.03]))
def test_mistakes_stay_within_the_bound_in_any_order(seed, margin):
    rng = np.random.default_rng(seed)
    star = rng.normal(size=4)
    star /= np.linalg.norm(star)
    x = rng.uniform(-1, 1, size=(200, 3))
    score = x @ star[:3] + star[3]
    keep = np.flatnonzero(np.abs(score) >= margin)
    sort = np.argsort(score[keep])
    for order in (keep, keep[::-1], keep[sort], rng.permutation(keep)):
        if len(order):
            mistakes = Perceptron(3).fit(x[order], np.sign(score[order]),
                                         max_epochs=100_000)
            assert mistakes[-1] == 0
            longest = np.max(np.sum(x[order] ** 2, axis=1)) + 1
            assert sum(mistakes) <= longest / margin**2


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.6]),
       st.sampled_from([0.1, 0.5, 1.0, 4.0, 20.0]))
def test_mistakes_stay_within_the_bound_at_every_scale(seed, beta, scale):
    """eq. perceptron-scale: a line at the distance beta from the origin, 0.1 or more
    from every example in the unit disc, all multiplied by the scale.
    """
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, 2 * np.pi)
    x = rng.uniform(-1, 1, size=(200, 2))
    far = x @ [np.cos(turn), np.sin(turn)] + beta
    keep = (np.abs(far) >= 0.1) & (np.sum(x**2, axis=1) <= 1)
    mistakes = Perceptron(2).fit(scale * x[keep], np.sign(far[keep]),
                                 max_epochs=1_000_000)
    assert mistakes[-1] == 0
    assert sum(mistakes) <= (1 + scale**2) * (1 + (scale * beta)**2) / (
        0.1 * scale)**2


def test_training_goes_on_from_where_it_is_and_changes_no_argument():
    x, y = XOR
    kept = x.copy(), y.copy()
    unit = Perceptron(2)
    state = unit.params["weight"]
    assert unit.fit(x, y, max_epochs=3) == [4, 4, 4]
    assert not state.any()  # an array that was handed out stays as it was
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])
    half, whole = Perceptron(2), Perceptron(2)
    target = [-1, -1, -1, 1]
    assert (half.fit(x, target,
                     max_epochs=2) + half.fit(x, target) == whole.fit(x, target))
    np.testing.assert_array_equal(half.params["weight"], whole.params["weight"])


def test_sums_that_are_not_numbers_are_never_taken_for_success():
    unit = Perceptron(2)
    unit.params = {"weight": np.array([[np.nan, 1.0]]), "bias": np.ones(1)}
    assert unit.fit(*XOR, max_epochs=3) == [4, 4, 4]


def test_an_error_says_what_is_wrong_with_the_labels():
    for y, message in (([0, 1, 1, -1], "must be -1 or 1, got 0"), ([1, 1], "shape"),
                       (np.ones((4, 1)), "shape")):
        with pytest.raises(ValueError, match=message):
            Perceptron(2).fit(XOR[0], y)


def test_a_sum_of_exactly_0_does_not_fire():
    assert Perceptron(2).predict(np.zeros((3, 2))).tolist() == [-1, -1, -1]


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), st.booleans())
def test_parameters_are_as_many_as_pytorch_s(sizes, bias):
    layers = torch.nn.Sequential(*(torch.nn.Linear(i, o, bias=bias)
                                   for i, o in zip(sizes, sizes[1:])))
    assert (count_parameters(sizes,
                             bias=bias) == sum(p.numel() for p in layers.parameters()))


@pytest.mark.parametrize("x, y, error", [
    (XOR[0].astype(np.float32), XOR[1], TypeError),
    (XOR[0].astype(int), XOR[1], TypeError),
    (XOR[0].tolist(), XOR[1], TypeError),
    (XOR[0][0], [1], ValueError),
    (XOR[0][:, :1], XOR[1], ValueError),
    (XOR[0], [0, 1, 1, 0], ValueError),
    (XOR[0], XOR[1][:3], ValueError),
    (XOR[0], XOR[1][:, None], ValueError),
    (XOR[0][:0], [], ValueError),
    (XOR[0] + np.nan, XOR[1], ValueError),
    (XOR[0] + np.inf, XOR[1], ValueError),
])
def test_bad_examples_are_refused_and_nothing_is_learned(x, y, error):
    unit = Perceptron(2)
    with pytest.raises(error):
        unit.fit(x, y)
    assert not unit.params["weight"].any() and not unit.params["bias"].any()


@pytest.mark.parametrize("call, error", [
    (lambda: Perceptron(0), ValueError),
    (lambda: Perceptron(2.0), TypeError),
    (lambda: Perceptron(2, dtype=int), TypeError),
    (lambda: Perceptron(2, dtype=np.float16), TypeError),
    (lambda: Perceptron(2).fit(*XOR, max_epochs=0), ValueError),
    (lambda: Perceptron(2).fit(*XOR, max_epochs=float("nan")), TypeError),
    (lambda: Perceptron(3).forward(XOR[0]), ValueError),
    (lambda: Perceptron(2, dtype=np.float32).predict(XOR[0]), TypeError),
    (lambda: count_parameters([3]), ValueError),
    (lambda: count_parameters([3, 0]), ValueError),
    (lambda: count_parameters([3, 2.5]), TypeError),
])
def test_bad_arguments_are_refused(call, error):
    with pytest.raises(error):
        call()


@pytest.mark.parametrize(["labels", "shown"], [
    (["1", "-1", "1", "1"], "got '1'"), ([1, -1, 0, 1], "got 0"),
    ([1, -1, np.nan, 1], "got nan"), ([True, False, True, True], "got False")])
def test_a_label_is_shown_as_what_it_is(labels, shown):
    with pytest.raises(ValueError, match=f"must be -1 or 1, {shown}"):
        Perceptron(2).fit(XOR[0], labels)


def test_what_is_not_a_number_is_no_class():
    unit = Perceptron(2)
    unit.params["weight"][0, 1] = np.nan
    with pytest.raises(ValueError, match="not a number"):
        unit.predict(XOR[0])
    unit = Perceptron(2, dtype=np.float32)
    unit.params["weight"][...] = [[1e30, -1e30]]
    with pytest.raises(ValueError, match="not a number"), np.errstate(all="ignore"):
        unit.predict(np.full((1, 2), 1e30, np.float32))


def test_a_fit_that_is_refused_changes_nothing():
    unit = Perceptron(2)
    unit.fit(*XOR, max_epochs=3)
    before = {name: value.copy() for name, value in unit.params.items()}
    for x, y, epochs in ((XOR[0][:, :1], XOR[1], 3), (XOR[0], [1, 1, 1, 2], 3),
                         (XOR[0] * np.nan, XOR[1], 3), (*XOR, 0), (XOR[0][:0], [], 3)):
        with pytest.raises(ValueError):
            unit.fit(x, y, max_epochs=epochs)
    assert all(np.array_equal(unit.params[name], before[name]) for name in before)


def test_one_example_is_enough():
    unit = Perceptron(2)
    unit.fit(np.array([[1.0, 2.0]]), np.array([1]))
    assert unit.predict(np.array([[1.0, 2.0]])) == [1]
