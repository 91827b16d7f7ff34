"""byhand.losses against PyTorch over shapes, dtypes, arguments and edge values; bad
input.
"""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import special

from byhand.backprop import MSELoss
from byhand.losses import (
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, FocalLoss, HuberLoss, InfoNCELoss,
    KLDivLoss, L1Loss, LogSoftmax, MultiMarginLoss, NLLLoss, PinballLoss, SmoothL1Loss,
    Softmax)

quick = settings(max_examples=20)
SEEDS = st.integers(0, 999)
REDUCTIONS = st.sampled_from(["mean", "sum", "none"])
EDGES = st.sampled_from([0.0, -0.0, 1e-300, 0.5, 1.0, -1.0, 30.0, 1e4, -1e4, np.inf,
                         -np.inf, np.nan])
WEIGHTS = (st.none() | arrays(np.float64, 3,
                              elements=st.sampled_from([0.0, 0.5, 1.0, 4.0])))


def with_weights(kind, weights, **options):
    """PyTorch's loss, its weights in the dtype of the prediction."""
    weights = {name: value for name, value in weights.items() if value is not None}

    def loss(prediction, target):
        return kind(**{name: torch.tensor(value).to(prediction)
                       for name, value in weights.items()},
                    **options)(prediction, target)

    return loss


def agree(ours, theirs, *arrays, least=0.0):
    """Value and gradient are PyTorch's, NaN and infinity included, in both dtypes, to
    a part of the largest entry, or of `least` where terms of that size cancel.
    """
    for dtype in (np.float64, np.float32):
        given = [array.astype(dtype) if array.dtype.kind == "f" else array
                 for array in map(np.asarray, arrays)]
        x, *rest = map(torch.tensor, given)
        with np.errstate(all="ignore"):
            value = ours.forward(*given)
            dy = np.random.default_rng(0).normal(size=np.shape(value)).astype(dtype)
            gradient = ours.backward(dy if np.ndim(value) else float(dy))
        expected = theirs(x.requires_grad_(), *rest)
        expected.backward(torch.tensor(dy, dtype=expected.dtype))
        for mine, right in ((value, expected.detach().numpy()),
                            (gradient, x.grad.numpy())):
            largest = np.max(np.abs(right), where=np.isfinite(right), initial=least)
            limit = 1e-12 if dtype == np.float64 else 4e-6
            assert np.shape(mine) == right.shape
            np.testing.assert_allclose(mine, right, rtol=0, atol=limit * largest)


@quick
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=4),
              elements=EDGES), st.integers(-3, 2))
def test_softmax(x, dim):
    if -x.ndim <= dim < x.ndim:
        agree(Softmax(dim), torch.nn.Softmax(dim=dim), x)
        agree(LogSoftmax(dim), torch.nn.LogSoftmax(dim=dim), x)


@settings(max_examples=80)
@given(SEEDS, st.sampled_from([(4,), (2, 3), (2, 2, 2)]), REDUCTIONS, WEIGHTS,
       st.sampled_from([0.0, 0.1, 0.9]), st.sampled_from([-100, 1]),
       st.sampled_from([1.0, 1e4]))
def test_class_indices(seed, shape, reduction, weight, smoothing, ignore_index, scale):
    rng = np.random.default_rng(seed)
    x = scale * rng.normal(size=(*shape[:1], 3, *shape[1:]))
    t = rng.choice([0, 1, 1, 2], size=shape)
    options = {"reduction": reduction, "ignore_index": ignore_index}
    agree(NLLLoss(weight, **options),
               with_weights(torch.nn.NLLLoss, {"weight": weight}, **options), x, t)
    options["label_smoothing"] = smoothing
    agree(CrossEntropyLoss(weight, **options),
               with_weights(torch.nn.CrossEntropyLoss, {"weight": weight}, **options),
               x, t)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_single_example(target):
    x, t = np.array([0.3, -0.5, 0.1]), np.array(target)
    agree(NLLLoss(), torch.nn.NLLLoss(), x, t)
    agree(CrossEntropyLoss(label_smoothing=0.1),
               torch.nn.CrossEntropyLoss(label_smoothing=0.1), x, t)


@quick
@given(SEEDS, st.sampled_from([(3,), (4, 3), (2, 3, 2)]), REDUCTIONS, WEIGHTS,
       st.sampled_from([0.0, 0.1, 1.0]))
def test_class_probabilities(seed, shape, reduction, weight, smoothing):
    rng = np.random.default_rng(seed)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    ours, theirs = (CrossEntropyLoss(weight, **options), with_weights(
        torch.nn.CrossEntropyLoss, {"weight": weight}, **options))
    agree(ours, theirs, 3 * rng.normal(size=shape), rng.random(shape))


@pytest.mark.parametrize("row", [[1.0, -np.inf, 0.0], [np.inf, 1.0, 0.0],
                                 [np.nan, 1.0, 0.0], [-np.inf] * 3])
@pytest.mark.parametrize("target", [0, 1, -100])
def test_class_indices_where_logits_are_not_finite(row, target):
    for smoothing in (0.0, 0.1):
        both = (CrossEntropyLoss(label_smoothing=smoothing),
                torch.nn.CrossEntropyLoss(label_smoothing=smoothing))
        agree(*both, np.array([row, [1.0, 2.0, 3.0]]), np.array([target, 2]))
        agree(*both, np.array([row]), np.array([target]))


def test_one_hot_rows_and_indices_are_one_loss():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(6, 3)), rng.integers(3, size=6)
    by_index, by_row = (CrossEntropyLoss(label_smoothing=0.2),
                        CrossEntropyLoss(label_smoothing=0.2))
    assert (by_index.forward(x, t)
            == pytest.approx(by_row.forward(x, np.eye(3)[t]), rel=1e-12))
    np.testing.assert_allclose(by_index.backward(), by_row.backward(), rtol=1e-12)


@quick
@given(arrays(np.float64, (4, 3),
              elements=st.sampled_from([0.0, 1e-300, 1e-14, 0.3, 0.5, 1.0])),
       arrays(np.float64, (4, 3), elements=st.sampled_from([0.0, 0.4, 1.0])), WEIGHTS,
       REDUCTIONS)
def test_bce(p, t, weight, reduction):
    agree(BCELoss(weight, reduction),
               with_weights(torch.nn.BCELoss, {"weight": weight}, reduction=reduction),
               p, t)


@quick
@given(arrays(np.float64, (4, 3), elements=EDGES.filter(lambda z: not np.isinf(z))),
       arrays(np.float64, (4, 3), elements=st.sampled_from([0.0, 0.4, 1.0])), WEIGHTS,
       WEIGHTS, REDUCTIONS)
def test_bce_with_logits(z, t, weight, pos_weight, reduction):
    weights = {"weight": weight, "pos_weight": pos_weight}
    theirs = with_weights(torch.nn.BCEWithLogitsLoss, weights, reduction=reduction)
    agree(BCEWithLogitsLoss(**weights, reduction=reduction), theirs, z, t)


@quick
@given(arrays(np.float64, array_shapes(max_dims=3, max_side=4), elements=EDGES), SEEDS,
       REDUCTIONS, st.sampled_from([0.5, 1.0, 100.0]))
def test_losses_of_regression(prediction, seed, reduction, delta):
    target = np.random.default_rng(seed).choice(
        [0.0, 1.0, -0.5, 1e4], size=prediction.shape)
    agree(L1Loss(reduction), torch.nn.L1Loss(reduction=reduction), prediction,
               target)
    agree(HuberLoss(reduction, delta), torch.nn.HuberLoss(reduction, delta),
               prediction, target)


@quick
@given(SEEDS, REDUCTIONS | st.just("batchmean"),
       st.sampled_from([(3,), (4, 3), (2, 3, 2)]),
       st.sampled_from([None, 0.0, -np.inf]))
def test_kl_divergence(seed, reduction, shape, edge):
    rng = np.random.default_rng(seed)
    q, p = np.log(rng.uniform(0.01, 1, (2, *shape)))
    p[rng.random(shape) < 0.3] = -np.inf  # a target of 0
    if edge is not None:
        q[(rng.random(shape) < 0.3) & np.isfinite(p)] = edge  # 0 times -inf is below
    with warnings.catch_warnings():
        # PyTorch's, that "mean" is not the mean divergence
        warnings.simplefilter("ignore")
        agree(KLDivLoss(reduction), torch.nn.KLDivLoss(reduction=reduction), q,
              np.exp(p), least=1.0)
        # PyTorch's log_target has NaN where the target is 0
        theirs = torch.nn.KLDivLoss(reduction=reduction)
        agree(KLDivLoss(reduction, log_target=True),
              lambda q, p: theirs(q, p.exp()), q, p, least=1.0)


X, CLASSES = np.ones((4, 3)), np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    ["make", "arguments", "error", "message"],
    [
        (lambda: L1Loss("median"), None, ValueError, "reduction must be"),
        (lambda: HuberLoss(delta=0.0), None, ValueError,
         "delta must be positive and finite, got 0.0"),
        (lambda: HuberLoss(delta=np.nan), None, ValueError, "delta must be positive"),
        (lambda: HuberLoss(delta=np.inf), None, ValueError,
         "delta must be positive and finite"),
        (lambda: KLDivLoss("mena"), None, ValueError, "batchmean.*got 'mena'"),
        (lambda: CrossEntropyLoss(label_smoothing=1.5), None, ValueError,
         "label_smoothing must lie in"),
        (lambda: CrossEntropyLoss(weight=[1.0, 2.0]), None, TypeError,
         "weight must be a float32 or float64 array, got list"),
        (lambda: NLLLoss(weight=np.ones((1, 3))), None, ValueError,
         r"weight must have the shape \(N\)"),
        (lambda: BCELoss(weight=np.ones(3, int)), None, TypeError, "got int64"),
        (CrossEntropyLoss, (X, CLASSES.astype(float)), TypeError,
         "integer class indices, got float64"),
        (CrossEntropyLoss, (X, CLASSES > 0), TypeError,
         "integer class indices, got bool"),
        (CrossEntropyLoss, (X, CLASSES[:2]), ValueError,
         r"shape \(4,\) for a prediction \(4, 3\), got \(2,\)"),
        (CrossEntropyLoss, (X, CLASSES[:, None]), ValueError, r"shape \(4,\)"),
        (CrossEntropyLoss, (X, CLASSES + 1), ValueError,
         "class indices must lie in 0 to 2"),
        (CrossEntropyLoss, (X, CLASSES - 1), ValueError,
         "class indices must lie in 0 to 2"),
        (CrossEntropyLoss, (X, X.astype(np.float32)), TypeError,
         "target must be float64"),
        (CrossEntropyLoss, (X[:, :0], CLASSES), ValueError,
         "prediction must have the shape"),
        (CrossEntropyLoss, (X, -X), ValueError, "not be negative or NaN, got -1.0"),
        (CrossEntropyLoss, (X, X * np.nan), ValueError, "must not be negative or NaN"),
        (KLDivLoss, (X, -X), ValueError, "must not be negative or NaN, got -1.0"),
        (BCEWithLogitsLoss, (X, 2 * X), ValueError,
         r"target must lie in \[0, 1\], got values from 2.0 to 2.0"),
        (NLLLoss, (X[:, :0], CLASSES), ValueError, "with at least one class"),
        (NLLLoss, (np.array(1.0), np.array(0)), ValueError, "with at least one class"),
        (CrossEntropyLoss, (X.astype(int), CLASSES), TypeError,
         "prediction must be a float32"),
        (lambda: CrossEntropyLoss(ignore_index=0), (X, X), ValueError,
         "no meaning for class probabilities"),
        (lambda: CrossEntropyLoss(weight=np.ones(2)), (X, CLASSES), ValueError,
         r"weight must have the shape \(3\)"),
        (NLLLoss, (X, X), TypeError, "integer class indices"),
        (NLLLoss, (X, CLASSES + 1), ValueError, "class indices must lie in 0 to 2"),
        (BCELoss, (X + 0.1, X), ValueError, r"prediction must lie in \[0, 1\]"),
        (BCELoss, (X, X - 2), ValueError, r"target must lie in \[0, 1\]"),
        (BCELoss, (X * np.nan, X), ValueError, r"prediction must lie in \[0, 1\]"),
        (lambda: BCELoss(np.ones(4)), (X, X), ValueError,
         r"weight must broadcast to the shape \(4, 3\), got \(4,\)"),
        (lambda: BCEWithLogitsLoss(pos_weight=np.ones((2, 4, 3))), (X, X), ValueError,
         "pos_weight must broadcast"),
        (lambda: BCEWithLogitsLoss(pos_weight=[1.0, 2.0, 3.0]), None, TypeError,
         "^pos_weight must be"),
        (BCEWithLogitsLoss, (X, X[:, 0]), ValueError, "target must have the shape"),
        (L1Loss, (X, X[:1]), ValueError, "target must have the shape"),
        (KLDivLoss, (X, CLASSES), TypeError, "target must be a float32"),
        (lambda: KLDivLoss("batchmean"), (np.array(1.0), np.array(1.0)), ValueError,
         "axis of examples"),
        (CrossEntropyLoss, (X[:0], CLASSES[:0]), ValueError,
         "mean over an empty batch"),
        (lambda: Softmax(2), (X,), ValueError, "axis 2 is out of bounds"),
        (LogSoftmax, (X.astype(int),), TypeError, "x must be a float32"),
    ],
)
def test_bad_input_is_refused(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make().forward(*arguments)


@pytest.mark.parametrize("loss",
                         [CrossEntropyLoss(), NLLLoss(), BCELoss(), BCEWithLogitsLoss(),
                          L1Loss(), HuberLoss(), KLDivLoss(), MSELoss()],
                         ids=lambda loss: type(loss).__name__)
def test_backward_before_forward(loss):
    with pytest.raises(AttributeError, match="call forward before backward"):
        loss.backward()


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), NLLLoss()],
                         ids=lambda loss: type(loss).__name__)
def test_nothing_counts(loss):
    assert np.isnan(loss.forward(X, np.full(4, -100)))
    assert not loss.backward().any()
    loss.forward(X, np.array([0, 1, 2, -100]))
    assert not loss.backward()[3].any() and loss.backward()[:3].any()


def test_an_empty_batch_sums_to_nothing():
    loss = CrossEntropyLoss(reduction="sum")
    assert loss.forward(X[:0], CLASSES[:0]) == 0 and loss.backward().shape == (0, 3)


def test_weights_are_cast_and_left_alone():
    weight, x = np.array([1.0, 2.0, 3.0]), X.astype(np.float32)
    for loss, target in (
        (CrossEntropyLoss(weight), CLASSES), (NLLLoss(weight), CLASSES),
        (BCEWithLogitsLoss(weight, pos_weight=weight), x), (BCELoss(weight), x)):
        loss.forward(x, target)
        assert loss.backward().dtype == np.float32
        assert weight.dtype == np.float64 and weight.tolist() == [1, 2, 3]


def test_numpy_floats_as_options_keep_float32():
    x = X.astype(np.float32)
    for loss, target in ((HuberLoss("none", np.float64(0.5)), x - 2), (
        CrossEntropyLoss(reduction="none", label_smoothing=np.float64(0.1)), CLASSES)):
        assert loss.forward(x, target).dtype == loss.backward().dtype == np.float32


def test_a_gradient_of_another_shape_is_refused():
    loss = CrossEntropyLoss(reduction="none")
    loss.forward(X, CLASSES)
    with pytest.raises(ValueError, match=r"dy must have the shape \(4\), got \(3,\)"):
        loss.backward(np.ones(3))
    loss = L1Loss()
    loss.forward(X, X)
    with pytest.raises(ValueError, match="dy must be a float for a reduced loss"):
        loss.backward(X)


# --- the kinds of faults that a loss can have ---

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_class_of_probability_0_costs_nothing(dtype):
    """0 log 0 = 0, where PyTorch has NaN; SciPy's rel_entr agrees."""
    logits = np.array([[2.0, -np.inf, 1.0]], dtype)
    log_p, shares = LogSoftmax().forward(logits), np.array([[0.5, 0, 0.5]], dtype)
    kl = KLDivLoss("none")
    np.testing.assert_allclose(kl.forward(log_p, shares),
                               special.rel_entr(shares, np.exp(log_p)), rtol=1e-6)
    assert np.array_equal(kl.backward(np.ones_like(shares)), -shares)
    assert KLDivLoss("sum", log_target=True).forward(log_p, log_p) == 0
    loss = CrossEntropyLoss()
    assert loss.forward(logits, shares) == pytest.approx(
        np.log(1 + np.exp(-1)) + 0.5, rel=1e-6)
    np.testing.assert_allclose(loss.backward(), np.exp(log_p) - shares, rtol=1e-6)
    assert np.isnan(loss.forward(logits * np.nan, shares))
    assert np.isnan(KLDivLoss().forward(log_p * np.nan, shares))
    assert np.isinf(loss.forward(logits, np.full((1, 3), 1 / 3, dtype)))


def test_infinite_logits_of_two_classes():
    z = np.array([np.inf, -np.inf, np.inf, -np.inf, np.nan])
    loss = BCEWithLogitsLoss(reduction="none", pos_weight=np.array([2.0]))
    values = loss.forward(z, np.array([1.0, 0.0, 0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(values, [0, 0, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(loss.backward(np.ones(5)), [0, 0, 1, -2, np.nan])


def test_small_losses_of_two_classes_are_accurate():
    """log(1 + e^-z) = e^-z to first order, on both sides."""
    z = np.array([20.0, 60.0, 600.0, -20.0, -60.0, -600.0])
    t = np.array([1.0, 1, 1, 0, 0, 0])
    loss = BCEWithLogitsLoss(reduction="none")
    np.testing.assert_allclose(loss.forward(z, t), np.log1p(np.exp(-abs(z))),
                               rtol=1e-12)
    np.testing.assert_allclose(loss.backward(np.ones(6)), np.where(t, -1, 1)
                               / (1 + np.exp(abs(z))), rtol=1e-12)


@pytest.mark.parametrize("delta", [1e-30, 3e38, 1e39, 1e308])
def test_huber_at_the_ends_of_its_range(delta):
    x = np.array([1.0, -2.0, 0.0, 1e-20, 1e18], np.float32)
    loss, theirs = HuberLoss("none", delta), torch.tensor(x, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = loss.forward(x, 0 * x)
    expected = torch.nn.functional.huber_loss(theirs, torch.zeros(5), delta=delta,
                                              reduction="none")
    expected.sum().backward()
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-6, atol=1e-44)
    np.testing.assert_allclose(loss.backward(), theirs.grad, rtol=1e-6)


@pytest.mark.parametrize("kind", [Softmax, LogSoftmax])
@pytest.mark.parametrize(["shape", "dim"], [((5, 0), -1), ((0, 5), 0), ((0, 5), 1)])
def test_softmax_of_nothing(kind, shape, dim):
    layer = kind(dim)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layer.forward(np.zeros(shape)).shape == shape
        assert layer.backward(np.zeros(shape)).shape == shape


@pytest.mark.parametrize("kind", [Softmax, LogSoftmax])
def test_softmax_of_one_number(kind):
    layer = kind()
    for value in (layer.forward(np.array(1.5)), layer.backward(np.array(1.0))):
        assert isinstance(value, np.ndarray) and value.shape == ()
    with pytest.raises(TypeError, match="float"):
        kind(0.5)


def test_softmax_of_the_largest_logits():
    x = np.array([[3e38, -3e38]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Softmax().forward(x).tolist() == [[1, 0]]
        assert LogSoftmax().forward(x).tolist() == [[0, -np.inf]]


HALF, LABELS = np.full((4, 3), 0.5), np.array([0, 2, 1, -100])
WEIGHT = np.array([0.2, 1.0, 3.0])
MADE = {  # name: the loss with a reduction, and a target
    "L1": (L1Loss, X), "Huber": (HuberLoss, X), "BCE":
    (lambda reduction: BCELoss(WEIGHT, reduction), X), "BCE with logits":
    (lambda reduction: BCEWithLogitsLoss(WEIGHT, reduction, WEIGHT), X), "NLL":
    (lambda reduction: NLLLoss(WEIGHT, reduction=reduction), LABELS),
    "ignored class": (lambda reduction: NLLLoss(WEIGHT, 1, reduction), LABELS % 3),
    "cross-entropy": (lambda reduction: CrossEntropyLoss(
        WEIGHT, reduction=reduction, label_smoothing=0.1), LABELS), "shares":
    (lambda reduction: CrossEntropyLoss(WEIGHT, reduction=reduction), HALF),
    "KL": (KLDivLoss, HALF), "Smooth L1": (SmoothL1Loss, X), "pinball":
    (lambda reduction: PinballLoss(0.9, reduction), X), "focal":
    (lambda reduction: FocalLoss(2.0, 0.25, reduction), (X > 0) * 1.0), "hinge":
    (lambda reduction: MultiMarginLoss(0.5, reduction), LABELS % 3)}


@pytest.mark.parametrize(["make", "target"], MADE.values(), ids=MADE)
@pytest.mark.parametrize("keep", ["mean", "sum", "none"])
def test_a_call_that_is_refused_changes_nothing(make, target, keep):
    loss = make(keep)
    x = np.random.default_rng(0).uniform(0.1, 0.9, (4, 3))
    value = loss.forward(x, target)
    before, gradient = dict(vars(loss)), loss.backward()
    refused = [(x[:3], target), (x.astype(int), target), (x[0], np.array([7])),
               (x[:, :2], target), (x, None)]
    refused += [(x[:0], target[:0])] * (keep == "mean")
    for arguments in refused:
        with pytest.raises((TypeError, ValueError)):
            loss.forward(*arguments)
        assert all(vars(loss)[name] is kept for name, kept in before.items())
        np.testing.assert_array_equal(loss.backward(), gradient)
    np.testing.assert_array_equal(loss.forward(x, target), value)


@pytest.mark.parametrize(["make", "target"], MADE.values(), ids=MADE)
def test_total_is_what_the_mean_divides_by(make, target):
    """So chunks, weighed by it, make the mean over all: gradients can accumulate."""
    x = np.random.default_rng(0).uniform(0.1, 0.9, (4, 3))
    whole, part = make("mean"), make("mean")
    mean, total = whole.forward(x, target), make("sum").forward(x, target)
    assert mean * whole.total == pytest.approx(total, rel=1e-12)
    value, gradient = 0.0, []
    for rows in (slice(0, 1), slice(1, 4)):
        value += part.forward(x[rows], target[rows]) * part.total / whole.total
        gradient.append(part.backward() * part.total / whole.total)
    assert value == pytest.approx(mean, rel=1e-12)
    np.testing.assert_allclose(np.concatenate(gradient), whole.backward(), rtol=1e-12)


def test_total_of_a_mean_divergence_and_of_nothing():
    loss = KLDivLoss("batchmean")
    loss.forward(X, HALF)
    assert loss.total == 4
    loss = CrossEntropyLoss()
    loss.forward(X, np.full(4, -100))
    assert loss.total == 0


@pytest.mark.parametrize("beta", [1e-50, 1e-30, 0.1, 3e38, 1e39, 1e308])
def test_smooth_l1_at_the_ends_of_its_range(beta):
    """Its slope is at most 1, and where beta is tiny it is the absolute error."""
    x = np.array([1.0, -2.0, 0.0, 1e18], np.float32)
    loss = SmoothL1Loss("none", beta)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, slopes = loss.forward(x, 0 * x), loss.backward()
    assert values.dtype == slopes.dtype == np.float32 and np.isfinite(values).all()
    assert np.max(np.abs(slopes)) <= 1
    if beta < 1e-20:
        np.testing.assert_array_equal(values, np.abs(x))
    with pytest.raises(ValueError, match="beta must be positive and finite"):
        SmoothL1Loss(beta=0.0)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_pinball_is_scikit_learn_s(q):
    from sklearn.metrics import mean_pinball_loss

    f, t = np.random.default_rng(0).normal(size=(2, 50))
    assert PinballLoss(q).forward(f, t) == pytest.approx(
        mean_pinball_loss(t, f, alpha=q), rel=1e-12)


def test_focal_loss_of_infinite_and_far_logits():
    z = np.array([np.inf, -np.inf, np.inf, -np.inf, np.nan, 800.0, -800.0])
    loss = FocalLoss(reduction="none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = loss.forward(z, np.array([1.0, 0, 0, 1, 1, 1, 1]))
    np.testing.assert_array_equal(values, [0, 0, np.inf, np.inf, np.nan, 0, 800])
    np.testing.assert_array_equal(loss.backward(np.ones(7)),
                                  [0, 0, 1, -1, np.nan, 0, -1])
    with pytest.raises(ValueError, match="every target must be 0 or 1"):
        loss.forward(z, np.full(7, 0.5))


def test_the_hinge_takes_one_example_and_no_pixels():
    loss = MultiMarginLoss()
    theirs = torch.nn.MultiMarginLoss()(torch.tensor(X[0]), torch.tensor(2))
    assert loss.forward(X[0], np.array(2)) == pytest.approx(theirs.item(), rel=1e-12)
    assert loss.backward().shape == (3,)
    with pytest.raises(ValueError, match=r"class indices must lie in 0 to 2, got -100"):
        loss.forward(X, np.array([0, 1, 2, -100]))
    with pytest.raises(ValueError, match=r"\(N, C\) or \(C,\)"):
        loss.forward(np.zeros((2, 3, 4)), np.zeros((2, 4), int))


def test_both_sides_of_a_pair_get_their_gradient():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    ours = InfoNCELoss(0.5, "sum")
    theirs = [torch.tensor(side, requires_grad=True) for side in (a, b)]
    torch.nn.functional.cross_entropy(theirs[0] @ theirs[1].T / 0.5, torch.arange(5),
                                      reduction="sum").backward()
    ours.forward(a, b)
    np.testing.assert_allclose(ours.backward(2.0), 2 * theirs[0].grad, rtol=1e-10)
    np.testing.assert_allclose(ours.target_grad, 2 * theirs[1].grad, rtol=1e-10)
    with pytest.raises(ValueError, match="at least one pair"):
        ours.forward(a[:0], b[:0])


def test_logits_are_sent_to_the_loss_that_takes_them():
    with pytest.raises(ValueError, match="to 1.5; BCEWithLogitsLoss takes logits"):
        BCELoss().forward(np.array([1.5]), np.array([1.0]))


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_pairs_are_rows(shape):
    with pytest.raises(ValueError, match=r"prediction must have the shape"):
        InfoNCELoss().forward(np.ones(shape), np.ones(shape))
