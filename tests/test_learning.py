"""byhand.learning against scikit-learn and SciPy over sizes, ties and arguments;
oracles where they have none; bad input.
"""

import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.decomposition
import sklearn.gaussian_process as gp
import sklearn.metrics as theirs
import sklearn.model_selection as selection
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from byhand import learning as by

quick = settings(max_examples=25)
SEED = st.integers(0, 1000)
DTYPE = st.sampled_from([np.float32, np.float64])
AVERAGE = st.sampled_from([None, "micro", "macro", "weighted"])


def generator(seed=0):
    return np.random.default_rng(seed)


def same_splits(ours, expected):
    for (train, test), (their_train, their_test) in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


def shuffled(splitter, k, seed):
    """Scikit-learn's splitter and our rng, plain or shuffled alike."""
    if seed is None:
        return splitter(k), None
    return (splitter(k, shuffle=True, random_state=seed), np.random.RandomState(seed))


@quick
@given(st.integers(2, 40), st.integers(2, 9), st.none() | SEED)
def test_k_fold(n, k, seed):
    assume(k <= n)
    splitter, rng = shuffled(selection.KFold, k, seed)
    same_splits(by.k_fold(n, k, rng), splitter.split(np.zeros(n)))


@quick
@given(st.integers(1, 5), st.integers(2, 5), SEED, st.none() | SEED)
def test_stratified_k_fold(classes, k, draw, seed):
    rng = generator(draw)
    y = rng.permutation(np.repeat(rng.permutation(classes) - 2,
                                  rng.integers(k, 3 * k, classes)))
    splitter, ours = shuffled(selection.StratifiedKFold, k, seed)
    same_splits(by.stratified_k_fold(y, k, ours), splitter.split(y, y))


# before, groups of one size came in any order
stable_ties = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)


@quick
@given(st.integers(2, 9), st.integers(2, 5), SEED)
def test_group_k_fold(groups, k, seed):
    assume(k <= groups)
    places = np.append(np.arange(groups), generator(seed).integers(groups, size=30))
    splits = by.group_k_fold(places, k)
    if stable_ties or len(set(np.bincount(places))) == groups:
        same_splits(splits, selection.GroupKFold(k).split(places, groups=places))
    for train, test in splits:
        assert not set(places[train]) & set(places[test])


@quick
@given(st.integers(1, 60), st.integers(1, 6), SEED, st.booleans())
def test_confusion_matrix(n, classes, seed, given_classes):
    y, z = generator(seed).integers(classes, size=(2, n))
    count = classes if given_classes else max(y.max(), z.max()) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a single label
        expected = theirs.confusion_matrix(y, z, labels=np.arange(count))
    np.testing.assert_array_equal(
        by.confusion_matrix(y, z, classes if given_classes else None), expected)


@given(st.integers(1, 60), st.integers(1, 6), SEED, AVERAGE, st.booleans(),
       st.booleans())
def test_precision_recall_f1(n, classes, seed, average, given_classes, many):
    rng = generator(seed)
    if many:
        # scikit-learn takes a single column for two classes
        y, z = (rng.random((2, n, classes + 1)) < 0.4).astype(int)
        settings = {}
    else:
        y, z = rng.integers(classes, size=(2, n))
        settings = {"classes": classes} if given_classes else {}
    count = classes if given_classes else max(y.max(), z.max()) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0/0
        expected = theirs.precision_recall_fscore_support(
            y, z, average=average, labels=None if many or not (
                settings or average is None) else np.arange(count))[:3]
    for ours, right in zip(by.precision_recall_f1(y, z, average, **settings), expected):
        np.testing.assert_allclose(ours, right, rtol=1e-14, atol=0)
        assert average is None or type(ours) is float


def scored(n, ties, seed, dtype):
    """Labels of both kinds and scores, many of them equal if ties."""
    rng = generator(seed)
    y = rng.permutation(np.append([0, 1], rng.integers(2, size=n)))
    score = rng.normal(size=n + 2) + y
    return y, (np.round(score, 1) if ties else score).astype(dtype)


@given(st.integers(0, 60), st.booleans(), SEED, DTYPE)
def test_curves(n, ties, seed, dtype):
    y, score = scored(n, ties, seed, dtype)
    rtol = 1e-14 if dtype == np.float64 else 1e-6
    for ours, right in zip(by.roc_curve(y, score), theirs.roc_curve(
            y, score, drop_intermediate=False), strict=True):
        np.testing.assert_allclose(ours, right, rtol=rtol)
        assert ours.dtype == dtype
    for ours, right in zip(by.precision_recall_curve(y, score),
                           theirs.precision_recall_curve(y, score), strict=True):
        np.testing.assert_allclose(ours, right, rtol=rtol)
        assert ours.dtype == dtype
    assert np.isclose(by.roc_auc(y, score), theirs.roc_auc_score(y, score),
                      rtol=1e-14)
    assert np.isclose(by.average_precision(y, score),
                      theirs.average_precision_score(y, score), rtol=1e-14)


@quick
@given(st.integers(2, 30), SEED)
def test_area_is_the_share_of_pairs(n, seed):
    y, score = scored(n, True, seed, np.float64)
    pairs = score[y == 1][:, None] - score[y == 0]
    assert np.isclose(by.roc_auc(y, score), np.mean((np.sign(pairs) + 1) / 2))


@quick
@given(st.integers(2, 30), st.floats(0.5, 0.99), SEED)
def test_bootstrap_interval(n, level, seed):
    x, y = generator(seed).normal(size=(2, n))

    def statistic(x, y):
        return np.mean(x * y)

    right = scipy.stats.bootstrap(
        (x, y), statistic, n_resamples=50, confidence_level=level, paired=True,
        vectorized=False, method="percentile", rng=generator(seed))
    np.testing.assert_allclose(
        by.bootstrap_interval(statistic, (x, y), generator(seed), 50, level),
        right.confidence_interval, rtol=1e-12)


@quick
@given(st.integers(1, 60), SEED)
def test_mcnemar(n, seed):
    a, b = generator(seed).random((2, n)) < [[0.7], [0.5]]
    only_a, only_b, p = by.mcnemar(a, b)
    assert (only_a, only_b) == (np.sum(a & ~b), np.sum(b & ~a))
    expected = (scipy.stats.binomtest(only_a, only_a + only_b).pvalue
                if only_a + only_b else 1.0)
    assert np.isclose(p, expected, rtol=1e-12)


@given(st.integers(1, 80), st.integers(1, 20), SEED)
def test_calibration_error_is_the_sum_over_bins(n, bins, seed):
    probabilities, target = (generator(seed).dirichlet(np.ones(3), n),
                             generator(seed).integers(3, size=n))
    confidence, right = (probabilities.max(axis=1),
                         probabilities.argmax(axis=1) == target)
    expected = 0
    for b in range(bins):
        chosen = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if chosen.any():
            expected += (
                chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean()))
    assert np.isclose(by.calibration_error(probabilities, target, bins), expected,
                      atol=1e-12)


@quick
@given(st.integers(2, 12), st.integers(1, 6), SEED, DTYPE)
def test_pca(n, d, seed, dtype):
    x = (3 + generator(seed).normal(size=(n, d))
         * np.arange(d, 0, -1)).astype(np.float64)
    kept = generator(seed).integers(1, min(n - 1, d) + 1)
    ours, right = by.PCA(kept), sklearn.decomposition.PCA(kept, svd_solver="full")
    z, expected = ours.fit_transform(x), right.fit_transform(x)
    np.testing.assert_allclose(z, expected, atol=1e-10)
    np.testing.assert_allclose(ours.inverse_transform(z),
                               right.inverse_transform(expected), atol=1e-10)
    for name in ("mean_", "components_", "explained_variance_",
                 "explained_variance_ratio_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(right, name),
                                   rtol=1e-8, atol=1e-10)
    assert by.PCA(kept).fit_transform(x.astype(dtype)).dtype == dtype


def test_pca_keeps_small_variances():
    """A covariance of float64 numbers would lose them."""
    x = generator().normal(size=(200, 3)) * [1, 1, 1e-12] + [0, 0, 0]
    assert np.isclose(by.PCA().fit(x).explained_variance_[2], x[:, 2].var(ddof=1),
                      rtol=1e-2, atol=0)


@quick
@given(st.integers(1, 8), st.integers(1, 3), SEED, st.floats(0.1, 3),
       st.floats(1e-3, 1))
def test_gaussian_process(n, d, seed, length, noise):
    rng = generator(seed)
    x, y, x_new = rng.normal(size=(n, d)), rng.normal(size=n), rng.normal(size=(5, d))
    right = gp.GaussianProcessRegressor(
        gp.kernels.RBF(length), alpha=noise, optimizer=None).fit(x, y)
    mean, std = right.predict(x_new, return_std=True)
    ours = by.gaussian_process(x, y, x_new, length, noise)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours[1], std, rtol=1e-6, atol=1e-8)


@quick
@given(SEED)
def test_expected_improvement_is_a_mean(seed):
    rng = generator(seed)
    mean, std, best = rng.normal(size=3), rng.uniform(0.1, 1, 3), rng.normal()
    z = np.linspace(-9, 9, 20001)[:, None]
    improvement = np.maximum(best - mean - std * z, 0) * scipy.stats.norm.pdf(z)
    expected = np.trapezoid(improvement, z, axis=0)
    np.testing.assert_allclose(by.expected_improvement(mean, std, best), expected,
                               atol=1e-6)


def test_expected_improvement_without_doubt():
    found = by.expected_improvement(np.array([0.0, 2.0]), np.zeros(2), 1.0)
    np.testing.assert_array_equal(found, [1.0, 0.0])


Y, S = np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3])
RNG = generator()


@pytest.mark.parametrize("call, error, message", [
    (lambda: by.k_fold(5, 6), ValueError, "k must lie in 2 to 5"),
    (lambda: by.k_fold(5, 1), ValueError, "got 1"),
    (lambda: by.k_fold(5, 2.5), TypeError, "float"),
    (lambda: by.stratified_k_fold(Y, 2), ValueError, "rarest class, got 2"),
    (lambda: by.stratified_k_fold(S, 2), TypeError, "integers, got float64"),
    (lambda: by.group_k_fold(np.zeros(4, int), 2), ValueError, "number of groups"),
    (lambda: by.confusion_matrix(Y, Y[:2]), ValueError, "one shape"),
    (lambda: by.confusion_matrix(Y, Y, 1), ValueError, "0 to 0, got 0 to 1"),
    (lambda: by.confusion_matrix(-Y, Y), ValueError, "got -1 to 1"),
    (lambda: by.confusion_matrix([], []), TypeError, "integers"),
    (lambda: by.precision_recall_f1(Y, Y, "mean"), ValueError, "got 'mean'"),
    (lambda: by.precision_recall_f1(Y[None] + 1, Y[None]), ValueError, "got 1 to 2"),
    (lambda: by.precision_recall_f1(Y[None], Y[None], None, 3), ValueError, "None"),
    (lambda: by.roc_curve(Y, S * np.nan), ValueError, "finite"),
    (lambda: by.roc_auc(np.ones(3, int), S), ValueError, r"labels \[1\]"),
    (lambda: by.average_precision(2 * Y, S), ValueError, r"labels \[0, 2\]"),
    (lambda: by.roc_auc(Y, Y), TypeError, "score must be a float"),
    (lambda: by.bootstrap_interval(np.mean, (S, S[:2]), RNG), ValueError, "length"),
    (lambda: by.bootstrap_interval(np.mean, (), RNG), ValueError, "length"),
    (lambda: by.bootstrap_interval(np.mean, (S,), RNG, 1), ValueError, "got 1"),
    (lambda: by.bootstrap_interval(np.mean, (S,), RNG, 9, 1.0), ValueError, "1.0"),
    (lambda: by.bootstrap_interval(np.mean, (S * np.nan,), RNG), ValueError, "finite"),
    (lambda: by.mcnemar(Y, Y[:2]), ValueError, "one shape"),
    (lambda: by.mcnemar(Y, 2 * Y), ValueError, "0 to 2"),
    (lambda: by.gaussian_process(S[:, None], S, S[:, None], 0.0, 1.0), ValueError,
     "positive, got 0.0"),
    (lambda: by.expected_improvement(S, -S, 0.0), ValueError, "not negative"),
    (lambda: by.PCA(0), ValueError, "at least 1, got 0"),
    (lambda: by.PCA(4).fit(np.ones((3, 9))), ValueError, r"got \(3, 9\) for 4"),
    (lambda: by.PCA().fit(np.ones((3, 2))), ValueError, "must vary"),
    (lambda: by.PCA().fit(np.full((3, 2), 0.1)), ValueError, "must vary"),
    (lambda: by.PCA().transform(np.ones((3, 2))), ValueError, "call fit"),
    (lambda: by.calibration_error(np.ones((2, 3)), [0]), ValueError,
     "expected N > 0 targets"),
    (lambda: by.calibration_error(np.ones((0, 3)), []), ValueError,
     "expected N > 0 targets"),
    (lambda: by.calibration_error(np.array([[5.0, -3.0]]), [0]), ValueError,
     "sum to 1, got sums of 2 to 2; logits need softmax"),
    (lambda: by.calibration_error(np.array([[0.9, 0.9]]), [0]), ValueError,
     "sum to 1, got sums of 1.8"),
    (lambda: by.calibration_error(np.array([[np.nan, 1.0]]), [0]), ValueError,
     "sum to 1"),
    (lambda: by.calibration_error(np.eye(2), [0, 2]), ValueError,
     "in 0 to 1, got 0 to 2"),
    (lambda: by.calibration_error(np.eye(2), [0.0, 1.0]), TypeError,
     "integer class indices, got float64"),
    (lambda: by.calibration_error(np.eye(2), [0, 1], 1.5), TypeError, "float"),
    (lambda: by.calibration_error(np.ones((2, 0)), [0, 1]), ValueError, "expected"),
])
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_certain_value_is_improved_by_what_it_gains():
    """No spread is no division by zero."""
    with np.errstate(all="raise"):
        found = by.expected_improvement(np.array([1.0, 3.0]), np.zeros(2), 2.0)
    assert np.array_equal(found, [1.0, 0.0])


@pytest.mark.parametrize("shape", [(5, 1), (4,), (5, 3), (2, 5, 4)])
def test_what_was_fitted_to_four_features_takes_four(shape):
    pca = by.PCA(2).fit(generator().normal(size=(9, 4)))
    with pytest.raises(ValueError, match="x must have the shape"):
        pca.transform(np.ones(shape))


def test_calibration_is_measured_in_15_bins():
    """As Guo et al. (2017) did."""
    confidence = generator().uniform(0.5, 1, 200)
    rows = np.stack([confidence, 1 - confidence], axis=1)
    target = generator(1).integers(2, size=200)
    found = {bins: by.calibration_error(rows, target, bins) for bins in (14, 15, 16)}
    assert len(set(found.values())) == 3
    assert by.calibration_error(rows, target) == found[15]
