"""byhand.transfer_learning against PyTorch over shapes and dtypes: what is frozen
stays, what is read is what PyTorch reads; bad input.
"""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byhand import transfer_learning as by
from byhand.backprop import Linear, ReLU, Sequential, train
from byhand.checks import relative_error, tolerance
from byhand.experiments import SideBySide, StackedLinear, stack
from byhand.losses import CrossEntropyLoss
from byhand.normalization import BatchNorm1d, InstanceNorm1d
from byhand.optimizers import SGD, Adam, AdamW, CosineAnnealingLR, StepLR

quick = settings(max_examples=15)
SIZE = st.integers(1, 6)
DTYPE = st.sampled_from([np.float64, np.float32])


def network(seed=0, dtype=np.float64, depth=1):
    rng = np.random.default_rng(seed)
    layers = [Linear(4, 5, rng=rng, dtype=dtype), BatchNorm1d(5, dtype=dtype), ReLU()]
    for _ in range(depth - 1):
        layers += [Linear(5, 5, rng=rng, dtype=dtype), ReLU()]
    return Sequential(*layers, Linear(5, 3, rng=rng, dtype=dtype))


def twin(model):
    kinds = {Linear: lambda layer: torch.nn.Linear(*layer.params["weight"].shape[::-1]),
             BatchNorm1d: lambda layer: torch.nn.BatchNorm1d(layer.num_features),
             ReLU: lambda layer: torch.nn.ReLU()}  # fmt: skip
    theirs = torch.nn.Sequential(*(kinds[type(layer)](layer) for layer in model.layers))
    theirs.to(getattr(torch, model.params["0.weight"].dtype.name))
    theirs.load_state_dict({name: torch.tensor(value)
                            for name, value in (model.params | model.buffers).items()})
    return theirs


@quick
@given(st.integers(0, 99), DTYPE, st.sampled_from(["SGD", "Adam", "AdamW"]),
       st.sampled_from([("3",), ("0", "3"), ("1", "3"), ("1",)]), st.booleans(),
       st.sampled_from([0.0, 0.1]),
       st.sampled_from([None, ("StepLR", {"step_size": 3}),
                        ("CosineAnnealingLR", {"T_max": 6})]))
def test_a_partly_frozen_network_takes_pytorchs_path(
    seed, dtype, name, trained, evaluates, decay, schedule):
    model, rng = network(seed, dtype), np.random.default_rng(seed)
    theirs = twin(model)
    for key, tensor in theirs.named_parameters():
        tensor.requires_grad_(key[0] in trained)
    if evaluates:
        model.layers[1].eval(), theirs[1].eval()
    arguments = ({"weight_decay": decay}  # a tiny gradient's sign is round-off
                 | ({"momentum": 0.9} if name == "SGD" else {"eps": 1e-3}))
    rates = {layer: 0.02 * (i + 1) for i, layer in enumerate(trained)}
    ours = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}[name](
        [{"params": by.parts(model.params, layer), "lr": lr}
         for layer, lr in rates.items()], lr=1.0, **arguments)
    groups = [{"params": list(theirs[int(layer)].parameters()), "lr": lr}
              for layer, lr in rates.items()]
    optimizer = getattr(torch.optim, name)(groups, **arguments)
    loss, start = CrossEntropyLoss(), copy.deepcopy(model.params)
    if schedule:  # one schedule for rates of their own
        kind, settings = schedule
        our_schedule = {"StepLR": StepLR, "CosineAnnealingLR": CosineAnnealingLR}[kind](
            ours, **settings)
        their_schedule = getattr(torch.optim.lr_scheduler, kind)(optimizer, **settings)
    for _ in range(8):
        x, t = rng.normal(size=(7, 4)).astype(dtype), rng.integers(3, size=7)
        loss.forward(model.forward(x), t)
        model.backward(loss.backward())
        ours.step(model.grads)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(x)),
                                                                        torch.tensor(t)).backward()
        optimizer.step()
        if schedule:
            our_schedule.step()
            their_schedule.step()
    for key, value in theirs.state_dict().items():
        found = (model.params | model.buffers)[key]
        assert found.dtype == value.numpy().dtype
        assert relative_error(found, value.numpy()) < (
            1e-11 if dtype == np.float64 else 1e-3), key
        # a bias before batch normalization has no gradient
        if key in start and (key[0] not in trained or key != "0.bias"):
            assert np.array_equal(found, start[key]) == (key[0] not in trained)


def test_parts_match_whole_names():
    params = {f"{i}.{name}": np.ones(2) for i in range(12)
              for name in ("weight", "bias")}
    assert by.parts(params, "1").keys() == {"1.weight", "1.bias"}
    assert by.parts(params, "1", "10.bias").keys() == {"1.weight", "1.bias", "10.bias"}
    assert by.parts(params, "1")["1.bias"] is params["1.bias"]
    for prefixes in ((), ("12",), ("1", "1.wei"), ("",)):
        with pytest.raises(ValueError):
            by.parts(params, *prefixes)
    with pytest.raises(TypeError, match="params must be a dict of arrays, got list"):
        by.parts(list(params.values()), "1")


@quick
@given(st.integers(1, 3), DTYPE, st.booleans())
def test_embed_and_replace_head(depth, dtype, training):
    model, x = (network(depth, dtype, depth),
                np.random.default_rng(depth).normal(size=(6, 4)).astype(dtype))
    model.train() if training else model.eval()
    before, theirs = copy.deepcopy(model.params | model.buffers), twin(model).eval()
    for layers in range(1, len(model.layers) + 1):
        expected = theirs[: len(model.layers) - layers](
            torch.tensor(x)).detach().numpy()
        assert by.embed(model, x, layers).dtype == dtype
        assert (relative_error(by.embed(model, x, layers),
                               expected) < tolerance(dtype, 100))
    head = Linear(5, 7, rng=np.random.default_rng(0), dtype=dtype)
    new = by.replace_head(model, head)
    assert (new.layers[-1] is head and relative_error(
        new.eval().forward(x), head.forward(by.embed(model, x))) == 0)
    new.layers[0].params["weight"][...] = 0
    assert (model.training == training and all(np.array_equal(
        before[name], value) for name, value in (model.params | model.buffers).items()))
    for layers in (0, len(model.layers) + 1):
        with pytest.raises(ValueError, match="layers"):
            by.embed(model, x, layers)
    with pytest.raises(ValueError, match="body and a head"):
        by.replace_head(Sequential(head), head)


def test_a_frozen_body_may_run_once_for_stacked_networks():
    models = [Sequential(Linear(4, 5, rng=np.random.default_rng(i)), ReLU(),
                         Linear(5, 3, rng=np.random.default_rng(i))) for i in range(3)]
    rng = np.random.default_rng(0)
    x, y, alone = (rng.normal(size=(20, 3, 4)), rng.integers(3, size=(20, 3)),
                   copy.deepcopy(models[1]))
    stacked = stack(models)
    head = Sequential(copy.deepcopy(stacked.layers[-1]))
    train(head, SideBySide(CrossEntropyLoss(reduction="sum")), by.embed(stacked, x), y,
          lr=0.1, epochs=3, batch_size=8, rng=np.random.default_rng(1))
    train(alone, CrossEntropyLoss(), x[:, 1], y[:, 1],
          optimizer=SGD(by.parts(alone.params, "2"), lr=0.1), epochs=3, batch_size=8,
          rng=np.random.default_rng(1))
    assert relative_error(head.params["0.weight"][1], alone.params["2.weight"]) < 1e-12


@quick
@given(st.integers(2, 30), DTYPE)
def test_adapted_statistics(n, dtype):
    model, rng = network(3, dtype, 2), np.random.default_rng(n)
    x, theirs = rng.normal(2, 3, (n, 4)).astype(dtype), twin(model)
    for _ in range(2):
        model.train().forward(rng.normal(size=(5, 4)).astype(dtype))
    params, modes = (copy.deepcopy(model.params),
                     [layer.training for layer in model.layers])
    by.adapt_statistics(model.eval(), x)
    theirs[1].momentum = None
    theirs[1].reset_running_stats()
    theirs.train()(torch.tensor(x))
    for name in ("running_mean", "running_var"):
        assert model.buffers[f"1.{name}"].dtype == dtype
        assert (relative_error(model.buffers[f"1.{name}"], getattr(
            theirs[1], name).numpy()) < tolerance(dtype, 50 * n))
    assert (not model.training and any(modes) and all(
        np.array_equal(params[name], value) for name, value in model.params.items()))
    assert model.buffers["1.num_batches_tracked"] == 2
    # the second sees what the first makes of x
    deep = Sequential(*model.layers[:-1], BatchNorm1d(5, dtype=dtype),
                      Linear(5, 3, rng=rng, dtype=dtype))
    theirs = twin(deep)
    theirs[1].momentum = theirs[5].momentum = None
    theirs[1].reset_running_stats(), theirs[5].reset_running_stats()
    theirs.train()(torch.tensor(x))
    by.adapt_statistics(deep, x)
    for name in ("running_mean", "running_var"):
        assert (relative_error(deep.buffers[f"5.{name}"], getattr(
            theirs[5], name).numpy()) < (1e-10 if dtype == np.float64 else 1e-2))
    before = copy.deepcopy(deep.buffers)
    # one example has no variance; three features do not fit
    for bad in (x[:1], x[:, :3]):
        with pytest.raises(ValueError):
            by.adapt_statistics(deep, bad)
    assert all(np.array_equal(before[name], value)
               for name, value in deep.buffers.items())
    with pytest.raises(ValueError, match="running statistics"):
        by.adapt_statistics(Sequential(Linear(4, 2, rng=rng)), x)
    with pytest.raises(ValueError, match="0 examples"):
        by.adapt_statistics(deep, x[:0])


def test_lost_statistics_are_replaced_at_any_depth():
    rng = np.random.default_rng(0)
    model = Sequential(Linear(3, 4, rng=rng), Sequential(BatchNorm1d(4), ReLU()),
                       BatchNorm1d(4))
    model.buffers["1.0.running_mean"][0] = np.nan
    model.buffers["1.0.running_var"][1] = np.inf
    model.buffers["2.running_var"][2] = -np.inf
    x = rng.normal(size=(10, 3))
    h = model.layers[0].forward(x)
    theirs = torch.nn.Sequential(
        torch.nn.BatchNorm1d(4, momentum=None), torch.nn.ReLU(),
        torch.nn.BatchNorm1d(4, momentum=None)).double()
    theirs(torch.tensor(h))
    by.adapt_statistics(model, x)
    for ours, layer in (("1.0", 0), ("2", 2)):
        for name in ("running_mean", "running_var"):
            np.testing.assert_allclose(model.buffers[f"{ours}.{name}"],
                                       getattr(theirs[layer], name).numpy())
    norm = InstanceNorm1d(4, track_running_stats=True)
    images = rng.normal(size=(6, 4, 5))
    by.adapt_statistics(norm, images)
    np.testing.assert_allclose(norm.buffers["running_mean"], images.mean(axis=(0, 2)))


@quick
@given(st.integers(1, 5), SIZE, SIZE, st.integers(1, 7), DTYPE, st.booleans(),
       st.integers(0, 3))
def test_lora_trains_as_its_formula_in_pytorch(n, n_in, n_out, rank, dtype, bias, side):
    """One layer, or `side` of them side by side, for three steps."""
    rng, scale = np.random.default_rng(n + 7 * n_in), np.float64(1.5 / rank)
    linear = (StackedLinear(rng.normal(size=(side, n_out, n_in)).astype(dtype),
                            rng.normal(size=(side, 1, n_out)).astype(dtype)) if side
              else Linear(n_in, n_out, bias, rng=rng, dtype=dtype))
    layer = by.LoRA(linear, rank, 1.5, rng=rng)
    before = copy.deepcopy(linear.params)
    leaves = {name: torch.tensor(value, requires_grad=name in "AB")
              for name, value in (layer.params | layer.buffers).items()}
    ours, theirs = SGD(layer.params, 0.1), torch.optim.SGD(
        [leaves["A"], leaves["B"]], 0.1)
    for step in range(3):
        shape = (n, side, n_in) if side else (n, n_in)
        x = torch.tensor(rng.normal(size=shape).astype(dtype), requires_grad=True)
        rows = x.movedim(0, -2)
        y = rows @ leaves["weight"].mT + leaves.get("bias", 0) + float(scale) * (
            rows @ leaves["A"].mT @ leaves["B"].mT)
        y = y.movedim(-2, 0)
        found = layer.forward(x.detach().numpy())
        limit = 1e-11 if dtype == np.float64 else 1e-3
        assert found.dtype == dtype and relative_error(found, y.detach()) < limit
        if step == 0:  # B is 0: the layer is what it was made from
            np.testing.assert_array_equal(found, linear.forward(x.detach().numpy()))
        upstream = rng.normal(size=found.shape).astype(dtype)
        theirs.zero_grad()
        y.backward(torch.tensor(upstream))
        dx = layer.backward(upstream)
        assert relative_error(dx, x.grad) < limit
        assert layer.grads["A"].any() == (step > 0)
        ours.step(layer.grads)
        theirs.step()
    for name, value in layer.params.items():
        assert value.dtype == dtype
        assert relative_error(value, leaves[name].detach()) < limit
    merged = layer.merged()
    assert type(merged) is type(linear) and merged.params.keys() == before.keys()
    x = x.detach().numpy()
    np.testing.assert_allclose(merged.forward(x), layer.forward(x), atol=100 * (
        1e-15 if dtype == np.float64 else 1e-6) * (1 + abs(layer.forward(x)).max()))
    for name, value in before.items():  # neither the layer nor its copy was trained
        np.testing.assert_array_equal(value, linear.params[name])
        np.testing.assert_array_equal(value, layer.buffers[name])
        assert not np.shares_memory(linear.params[name], layer.buffers[name])


def test_lora_within_a_network_and_bad_input():
    model, rng = network(), np.random.default_rng(0)
    model.layers[0] = by.LoRA(model.layers[0], 1, 2.0, rng=rng)
    assert {"0.A", "0.B"} < model.params.keys() and "0.weight" in model.buffers
    for layer, rank, alpha, error in ((ReLU(), 1, 1.0, TypeError),
                                      (Linear(2, 2, rng=rng), 0, 1.0, ValueError),
                                      (Linear(2, 2, rng=rng), 1.5, 1.0, TypeError),
                                      (Linear(2, 2, rng=rng), 1, 0.0, ValueError),
                                      (Linear(2, 2, rng=rng), 1, np.nan, ValueError)):
        with pytest.raises(error):
            by.LoRA(layer, rank, alpha, rng=rng)
    layer = by.LoRA(Linear(2, 3, rng=rng), 1, 1.0, rng=rng)
    for x in (np.ones((2, 3)), np.ones((2, 2), np.float32), np.ones(2)):
        with pytest.raises((ValueError, TypeError)):
            layer.forward(x)
    layer.forward(np.ones((2, 2)))
    with pytest.raises(ValueError):
        layer.backward(np.ones((3, 3)))


def test_only_a_chain_has_a_head():
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    for call in (lambda: by.embed(layer, np.ones((2, 3))),
                 lambda: by.replace_head(layer, layer)):
        with pytest.raises(TypeError, match="must be a Sequential, got Linear"):
            call()
    with pytest.raises(TypeError):
        by.embed(Sequential(layer), np.ones((2, 3)), 1.0)


@quick
@given(SIZE, SIZE, SIZE, DTYPE, st.sampled_from([0.0, 1e4]),
       st.sampled_from([1e-25, 1.0, 1e30]))
def test_nearest_neighbour_and_prototypes(n, k, width, dtype, far, size):
    rng = np.random.default_rng(n + 10 * k)
    x, known = ((size * (rng.normal(size=(m, width)) + far)).astype(dtype)
                for m in (n, k))
    labels = rng.permutation(k)
    distances = (((x[:, None].astype(np.float64) - known) / size) ** 2).sum(axis=2)
    chosen = by.nearest_neighbour(x, known, np.arange(k))
    best = distances.min(axis=1)
    assert np.all(distances[np.arange(n), chosen] <= best * (1 + 1e-12))
    assert np.array_equal(by.nearest_neighbour(x, known, labels), labels[chosen])
    groups = np.append(rng.integers(3, size=k), [5])
    means, classes = by.prototypes(np.vstack([known, known[:1]]), groups)
    assert means.dtype == dtype and classes.tolist() == sorted(set(groups.tolist()))
    assert relative_error(means[-1], known[0]) < tolerance(dtype, 100)
    many = np.tile(np.float32([[1e4 + 0.5]]), (10**5, 1))  # float32 sums would drift
    assert by.prototypes(many, np.zeros(10**5))[0] == np.float32(1e4 + 0.5)
    assert relative_error(means[0],
                          np.vstack([known, known[:1]])[groups == classes[0]].astype(
                              np.float64).mean(axis=0)) < tolerance(dtype, 100)


@quick
@given(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6), DTYPE,
       st.sampled_from([1.0, 5.0, 1e4]))
def test_warp_reads_as_grid_sample(n, height, width, dtype, reach):
    rng = np.random.default_rng(n + height)
    images, places = (rng.random((n, height, width)).astype(dtype),
                      rng.uniform(-reach, reach, (2, n, 3, 4)).astype(dtype))
    before = images.copy()
    grid = np.stack([2 * places[1] / (width - 1) - 1, 2 * places[0] / (height - 1) - 1],
                    axis=-1).astype(dtype)
    theirs = torch.nn.functional.grid_sample(torch.tensor(
        images)[:, None], torch.tensor(grid), align_corners=True)[:, 0].numpy()
    ours = by.warp(images, *places)
    assert (ours.dtype == dtype and np.abs(ours - theirs).max() < (
        1e-11 if dtype == np.float64 else 1e-5) * max(1, reach if reach < 1e4 else 1))
    rows, columns = (np.broadcast_to(index, images.shape).astype(dtype)
                     for index in np.indices((height, width)))
    far = np.random.default_rng(0).random((1, 300, 300))
    for kind, at in (("uint8", 255), ("int8", 127), ("float32", 255)):
        place = np.full((1, 1, 1), at, kind)  # one more wraps in some of these
        assert by.warp(far, place, place) == far[0, at, at]
    assert (np.array_equal(by.warp(images, rows, columns), images)
            and np.array_equal(images, before))
    assert np.array_equal(by.warp(images, *np.broadcast_arrays(
        *(index[None] + 0 * images.astype(int)
          for index in np.indices((height, width))))), images)
    assert (not by.warp(images, np.full_like(rows, np.inf), columns).any()
            and not by.warp(images, rows, np.full_like(rows, -np.inf)).any())


def test_elastic():
    images = np.random.default_rng(0).random((50, 16, 12))
    for dtype in (np.float64, np.float32):
        x = images.astype(dtype)
        assert by.elastic(x, 1.0, np.random.default_rng(0)).dtype == dtype
        np.testing.assert_allclose(by.elastic(x, 0.0, np.random.default_rng(0)), x,
                                   atol=1e-6)
    # reads off the vertical arrow
    ramp = np.broadcast_to(np.arange(40.0)[:, None], (200, 40, 40)).copy()
    # a node of the lattice
    arrows = by.elastic(ramp, 0.5, np.random.default_rng(0))[:, 13, 13] - 13
    assert abs(arrows.std() - 0.5) < 0.1 and abs(arrows.mean()) < 0.15
    for size, grid in ((-1, 4), (1, 1), (np.nan, 4)):
        with pytest.raises(ValueError):
            by.elastic(images, size, np.random.default_rng(0), grid)


def test_distorted():
    images = np.random.default_rng(0).random((60, 16, 16))
    bold = np.maximum(images, np.pad(images, ((0, 0), (0, 0), (1, 0)))[:, :, :-1])
    still = by.distorted(images, np.random.default_rng(1), 0, 0, 0.0)
    plain = np.array([np.allclose(one, image) for one, image in zip(still, images)])
    np.testing.assert_allclose(still[~plain], bold[~plain], atol=1e-12)
    assert 15 < plain.sum() < 45  # half of them stay as they are
    # whole pixels, of the same kinds in the same order
    moved = by.distorted(images, np.random.default_rng(1), 1, 0, 0.0)
    choices = [[np.roll(image, (dy, dx), (0, 1))[1:-1, 1:-1] for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)] for image in still]
    places = np.array([[np.allclose(one[1:-1, 1:-1], choice) for choice in nine]
                       for one, nine in zip(moved, choices)])
    assert np.all(places.sum(axis=1) == 1) and len(set(places.argmax(axis=1))) == 9
    for dtype in (np.float64, np.float32):
        x = images.astype(dtype)
        assert (by.distorted(x, np.random.default_rng(0)).dtype == dtype
                and np.array_equal(x, images.astype(dtype)))
    for wrong in ({"largest_shift": -1}, {"angle": -1}, {"angle": np.nan},
                  {"angle": np.inf}, {"bend": -1}):
        with pytest.raises(ValueError):
            by.distorted(images, np.random.default_rng(0), **wrong)
        with pytest.raises(ValueError):
            by.distorted(images[:0], np.random.default_rng(0), **wrong)
    with pytest.raises(TypeError):
        by.distorted(images, np.random.default_rng(0), 0.5)
    for empty in (images[:0], images[:, :0]):
        assert by.distorted(empty, np.random.default_rng(0)).shape == empty.shape


def test_distances_of_clusters_far_apart_and_of_every_size():
    wrong = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        side = rng.choice([-1000.0, 1000.0], (20, 1))
        known = (rng.normal(size=(20, 4)) + side).astype(np.float32)
        x = known + 0.1 * rng.normal(size=known.shape).astype(np.float32)
        theirs = torch.cdist(torch.tensor(x), torch.tensor(known)).argmin(1).numpy()
        wrong += (by.nearest_neighbour(x, known, np.arange(20)) != theirs).sum()
    assert wrong == 0
    known = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    for size in (1e-310, 1e-200, 1e200, 5e307):
        found = by.nearest_neighbour(known * size, known * size, np.arange(3))
        assert found.tolist() == [0, 1, 2], size
    far = np.stack([np.full(5, 1.5e308), np.full(5, 1e308)])  # no length overflows
    assert by.nearest_neighbour(np.full((1, 5), -1e308), far, [1, 0]).tolist() == [0]
    assert by.nearest_neighbour(np.ones((0, 2)), known, np.arange(3)).shape == (0,)
    twice = by.nearest_neighbour(np.zeros((1, 2)), np.array([[1.0, 0], [0, 1]]), [7, 8])
    assert twice.tolist() == [7]  # the first of two at one distance


def test_bad_arrays():
    x = np.ones((3, 2))
    for call, error in ((lambda: by.prototypes(x, [0, 1]), ValueError),
                        (lambda: by.prototypes(x[:0], []), ValueError),
                        (lambda: by.prototypes([[1.0]], [0]), TypeError),
                        (lambda: by.nearest_neighbour(x, np.ones((2, 3)), [0, 1]),
                         ValueError),
                        (lambda: by.nearest_neighbour(x, x, [0, 1]), ValueError),
                        (lambda: by.nearest_neighbour(
                            x.astype(np.float32), x, [0, 1, 2]), TypeError),
                        (lambda: by.nearest_neighbour(x, x[:0], []), ValueError),
                        (lambda: by.nearest_neighbour(x, x + np.array(
                            [[0], [np.nan], [0]]), [0, 1, 2]), ValueError),
                        (lambda: by.nearest_neighbour(x + np.array(
                            [[0], [-np.inf], [0]]), x, [0, 1, 2]), ValueError),
                        (lambda: by.nearest_neighbour(x, x, [0, np.nan, 1]),
                         ValueError),
                        (lambda: by.prototypes(x, [0, np.nan, 1]), ValueError),
                        (lambda: by.warp(np.ones((1, 2, 2)), 1j * np.ones((1, 2, 2)),
                                         np.ones((1, 2, 2))), TypeError),
                        (lambda: by.warp(np.ones((1, 2, 2)), np.full((1, 2, 2), "1"),
                                         np.ones((1, 2, 2))), TypeError),
                        (lambda: by.elastic(np.ones((1, 2, 2)), 1.0,
                                            np.random.default_rng(0), 2.5), TypeError),
                        (lambda: by.warp(np.ones((1, 2, 2)), np.full((1, 2, 2), np.nan),
                                         np.ones((1, 2, 2))), ValueError),
                        (lambda: by.elastic(np.ones((1, 2, 2)), np.inf,
                                            np.random.default_rng(0)), ValueError),
                        (lambda: by.warp(x, x, x), ValueError),
                        (lambda: by.warp(np.ones((1, 2, 2), int), x, x), TypeError),
                        (lambda: by.warp(np.ones((2, 3, 3)), np.ones((1, 2, 2)),
                                         np.ones((1, 2, 2))), ValueError)):  # fmt: skip
        with pytest.raises(error):
            call()


@pytest.mark.parametrize("bias", [True, False])
def test_a_merged_layer_has_a_bias_where_the_first_one_had(bias):
    rng = np.random.default_rng(0)
    layer = by.LoRA(Linear(4, 3, bias, rng=rng), 2, 1.0, rng=rng)
    layer.params["B"][...] = 0.5
    x, merged = rng.normal(size=(5, 4)), layer.merged()
    assert ("bias" in merged.params) == bias
    np.testing.assert_allclose(merged.forward(x), layer.forward(x))


def test_features_of_no_width_are_all_alike():
    """The first known one is as near as the others."""
    found = by.nearest_neighbour(np.ones((2, 0)), np.ones((3, 0)), np.array([5, 6, 7]))
    assert np.array_equal(found, [5, 5])


def test_images_are_distorted_as_told_or_as_a_rule():
    """A pixel, 15 degrees, and arrows of 1.2 pixels where nothing is said."""
    images = np.random.default_rng(0).random((5, 9, 9))
    found = by.distorted(images, np.random.default_rng(1))
    given = by.distorted(images, np.random.default_rng(1), largest_shift=1, angle=15,
                         bend=1.2)
    np.testing.assert_array_equal(found, given)
