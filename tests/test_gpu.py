"""byhand.gpu against PyTorch over bit patterns and sizes; counts against formulas; bad
input.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import byhand.backprop as bp
from byhand import gpu as by
from byhand.experiments import mlp
from byhand.normalization import BatchNorm1d
from byhand.optimizers import SGD, Adam
from byhand.regularization import Dropout

quick = settings(max_examples=25, deadline=None)
SMALL = st.integers(1, 9)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_every_sixteenth_bit_pattern_is_rounded_as_pytorch_does(name):
    bits = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    expected = torch.tensor(x).to(getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(by.rounded(x, name), expected)


@pytest.mark.parametrize("name", by.FORMATS)
def test_what_a_format_has_stays(name):
    bits = generator().integers(0, 2**32, size=10000, dtype=np.uint64)
    x = by.rounded(bits.astype(np.uint32).view(np.float32), name)
    np.testing.assert_array_equal(by.rounded(x, name), x)
    assert not np.signbit(by.rounded(np.array(0.0), name))
    assert np.signbit(by.rounded(np.array(-0.0), name))


def test_ties_go_to_the_even():
    assert by.rounded(np.array([1 + 2**-8, 1 + 3 * 2**-8])).tolist() == [1, 1 + 2**-6]
    assert by.rounded(np.array([65519.0, 65520.0]), "float16").tolist() == [
        65504, np.inf]


def test_the_scaler_searches():
    """Every finite gradient doubles the scale until it overflows float16."""
    scaler, found = by.GradScaler(2.0, growth_interval=1), []
    optimizer = SGD({"w": np.zeros(1, np.float32)}, lr=0.0)
    for _ in range(20):
        with np.errstate(over="ignore"):
            grad = np.float16(3.0) * np.float16(scaler.get_scale())
        scaler.step(optimizer, {"w": np.array([grad], np.float32)})
        scaler.update()
        found.append(scaler.get_scale())
    assert max(found) == 2**15 and set(found[-4:]) == {2**14, 2**15}


def test_the_scale_stays_within_float32():
    scaler = by.GradScaler(2.0**126, growth_interval=1)
    optimizer = SGD({"w": np.zeros(1, np.float32)}, lr=0.0)
    for expected in (2.0**127, 2.0**127):
        scaler.step(optimizer, {"w": np.ones(1, np.float32)})
        scaler.update()
        assert scaler.get_scale() == expected


@pytest.mark.parametrize("bad", [0.0, np.inf, np.nan, np.float32(np.nan)])
def test_one_bad_gradient_stops_all(bad):
    params = {"a": np.ones(2), "b": np.ones(2)}
    scaler = by.GradScaler(4.0)
    grads = {"a": np.ones(2), "b": np.array([1.0, bad])}
    assert scaler.step(SGD(params, lr=0.1), grads) == bool(np.isfinite(bad))
    assert (params["a"] == 1).all() != bool(np.isfinite(bad))
    assert grads["a"].tolist() == [1, 1]
    scaler.update()
    assert scaler.get_scale() == (4 if np.isfinite(bad) else 2)


def test_an_update_follows_a_step():
    with pytest.raises(RuntimeError, match="no step"):
        by.GradScaler().update()
    for name, value in (("init_scale", 0.0), ("growth_factor", 1.0),
                        ("backoff_factor", 1.0), ("growth_interval", 0)):
        with pytest.raises(ValueError, match=name):
            by.GradScaler(**{name: value})


def test_memory_of_a_convolutional_network_by_hand():
    found = by.memory([("conv", 2, 3), ("relu",), ("maxpool", 2), ("flatten",),
                       ("linear", 5)], (1, 6, 6), 10, states=1)
    parameters = 2 * 10 + 5 * 9
    assert found["parameters"] == found["optimizer"] == 4 * parameters
    kept = 36 + 2 * 16 + 2 * 4  # image, output of ReLU, output of the pooling
    assert found["activations"] == 10 * (4 * (kept + 5) + 8 * 2 * 4 + 8) + 4
    assert found["batch"] == 10 * 36 * 4
    # before the first weights nothing is kept, though the batch is counted
    found = by.memory([("relu",), ("maxpool", 2), ("flatten",), ("linear", 10)],
                      (3, 8, 8), 6)
    assert found["activations"] == found["batch"] + 6 * (4 * (48 + 10) + 8) + 4
    with pytest.raises(ValueError, match="no such layer"):
        by.memory([("dense", 3)], (4,), 2)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        by.memory([("linear", 3)], (4,), 0)
    for layers, shape in (([("conv", 3, 5)], (1, 4, 4)), ([("maxpool", 2)], (1, 1, 1))):
        with pytest.raises(ValueError, match="size must be at least 1"):
            by.memory(layers, shape, 2)


def network(kind):
    r = generator(3)
    return kind(bp.Linear(6, 8, rng=r), BatchNorm1d(8), bp.ReLU(), Dropout(rng=r),
                bp.Linear(8, 8, rng=r), bp.ReLU(), bp.Linear(8, 2, rng=r))


def test_a_checkpoint_changes_nothing_but_memory():
    plain, saving = network(bp.Sequential), network(by.Checkpoint)
    for seed in range(3):
        x = generator(seed).normal(size=(10, 6))
        y = plain.forward(x)
        np.testing.assert_array_equal(saving.forward(x), y)
        assert by.kept_bytes(saving) == x.nbytes < by.kept_bytes(plain) / 5
        np.testing.assert_array_equal(saving.backward(y), plain.backward(y))
        for name, grad in plain.grads.items():
            np.testing.assert_array_equal(saving.grads[name], grad)
        for name, value in plain.buffers.items():
            np.testing.assert_array_equal(saving.buffers[name], value)
        assert by.kept_bytes(saving) == x.nbytes


def test_a_checkpoint_can_go_back_twice_and_recover():
    model, x = network(by.Checkpoint), generator().normal(size=(10, 6))
    y = model.forward(x)
    first = model.backward(y)
    with pytest.raises(ValueError, match="shape"):
        model.forward(x[:, :5])
    np.testing.assert_array_equal(model.backward(y), first)


def test_shared_arrays_count_once():
    model = bp.Sequential(bp.Linear(4, 4, rng=generator()), bp.ReLU(),
                          bp.Linear(4, 4, rng=generator()))
    x = np.ones((5, 4))
    model.forward(x)
    assert by.kept_bytes(model) == 3 * x.nbytes  # x, input of ReLU, input of the last


@quick
@given(SMALL, st.integers(0, 20), st.sampled_from([np.float32, np.float64]))
def test_the_ring(devices, n, dtype):
    arrays = generator(devices).normal(size=(devices, n)).astype(dtype)
    before = arrays.copy()
    summed, sent = by.ring_all_reduce(arrays)
    limit = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(summed, np.tile(arrays.sum(axis=0), (devices, 1)),
                               rtol=limit, atol=limit)
    assert all(np.array_equal(row, summed[0]) for row in summed)
    length = -(-n // devices)
    assert sent == 2 * (devices - 1) * length * arrays.itemsize
    np.testing.assert_array_equal(arrays, before)


@quick
@given(SMALL, st.integers(1, 3))
def test_shards_do_what_one_optimizer_does(devices, layers):
    r = generator(layers)
    params = {str(k): r.normal(size=(3, k + 1)) for k in range(layers)}
    alone = {name: value.copy() for name, value in params.items()}
    one = Adam(alone, lr=0.01)
    many = by.Sharded(params, lambda part: Adam(part, lr=0.01), devices)
    for _ in range(3):
        grads = [{name: r.normal(size=v.shape) for name, v in params.items()}
                 for _ in range(devices)]
        one.step({name: np.mean([g[name] for g in grads], axis=0) for name in alone})
        many.step(grads)
    for name, value in alone.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-9)
    with pytest.raises(ValueError, match="dicts of gradients"):
        many.step(grads + grads)


def test_zero_is_the_table_of_the_paper():
    found = [by.zero_memory(7_500_000_000, 64, stage) / 1e9 for stage in range(4)]
    np.testing.assert_allclose(found, [120, 31.4, 16.6, 1.9], atol=0.05)
    with pytest.raises(ValueError, match="stage"):
        by.zero_memory(10, 2, 4)


@quick
@given(SMALL, SMALL, st.sampled_from(["gpipe", "1f1b"]), st.sampled_from([1, 2, 3]))
def test_a_pipeline(devices, parts, schedule, backward):
    found = by.pipeline(devices, parts, backward, schedule)
    assert found.length == (parts + devices - 1) * (1 + backward)
    assert abs(found.idle - (devices - 1) / (parts + devices - 1)) < 1e-12
    assert len(found.work) == 2 * devices * parts
    ends = {(kind, device, part): end for device, kind, part, _, end in found.work}
    for device, kind, part, start, _ in found.work:  # nothing comes before its input
        if kind == "forward" and device:
            assert start >= ends["forward", device - 1, part]
        if kind == "backward":
            assert start >= ends["forward", device, part]
        if kind == "backward" and device < devices - 1:
            assert start >= ends["backward", device + 1, part]
    for device in range(devices):  # no device does two things at once
        spans = sorted((start, end) for d, *_, start, end in found.work if d == device)
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))
        held = most = 0
        for d, kind, *_ in sorted(found.work, key=lambda work: work[3]):
            if d == device:
                held += 1 if kind == "forward" else -1
                most = max(most, held)
        assert most == found.held[device]


@pytest.mark.parametrize("call, match", [
    (lambda: by.pipeline(2, 3, schedule="none"), "schedule"),
    (lambda: by.pipeline(2, 3, 0.0), "backward"),
    (lambda: by.pipeline(0, 3), "devices"),
    (lambda: by.roofline(np.array(-1.0), 1.0, 1.0), "negative"),
    (lambda: by.roofline(np.array(1.0), 0.0, 1.0), "positive"),
    (lambda: by.linear_intensity(0, 1, 1), "batch"),
    (lambda: by.rounded(np.ones(2), "float8"), "format"),
    (lambda: by.Rounded("float8"), "format"),
    (lambda: by.reduce_scatter(np.ones((0, 3))), "devices"),
    (lambda: by.Sharded({}, SGD, 2), "at least one"),
    (lambda: by.Sharded({"w": np.ones(2)}, SGD, 0), "devices"),
    (lambda: by.speed_record("abacus"), "device"),
])
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_record_says_what_it_is():
    record = by.speed_record()
    assert {"gpu", "torch", "date", "driver"} <= record["machine"].keys()
    assert record["machine"]["gpu"].startswith("NVIDIA")


def test_the_first_layer_with_nan_is_named():
    model, x = mlp([3, 4, 4, 2], generator()), np.ones((2, 3))
    assert by.first_nonfinite(model, x) is None
    model.params["2.bias"][1] = np.nan
    before = dict(vars(model.layers[2]))
    assert by.first_nonfinite(model, x) == "2"
    assert vars(model.layers[2]).keys() == before.keys() | {"x"}
    x[0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        assert by.first_nonfinite(model, x) == "0"
    with pytest.raises(ValueError, match="shape"):
        by.first_nonfinite(model, np.ones((2, 4)))
    assert "forward" not in vars(model.layers[0])


def test_asking_for_nan_leaves_the_model_as_it_was():
    r = generator()
    model = bp.Sequential(bp.Linear(4, 4, rng=r), BatchNorm1d(4), Dropout(0.5, rng=r))
    model.forward(r.normal(size=(6, 4)))
    before = {name: np.copy(value) for name, value in model.buffers.items()}
    state, x = r.bit_generator.state, np.ones((6, 4))
    x[2, 1] = np.nan
    assert before and by.first_nonfinite(model, x) == "0"
    for name, value in model.buffers.items():
        np.testing.assert_array_equal(value, before[name])
    assert r.bit_generator.state == state


def test_memory_of_an_average_over_all_positions():
    """A (3, 4, 4) map becomes three numbers, and ten weights see only those."""
    found = by.memory([("conv", 3, 3), ("batchnorm",), ("avgpool",), ("flatten",),
                       ("linear", 10)], (2, 6, 6), 5)
    parameters = 3 * (2 * 9 + 1) + 2 * 3 + 10 * (3 + 1)
    assert found["parameters"] == found["gradients"] == 4 * parameters
    kept = 72 + 3 * 16 + 3  # image, input of the norm, input of the last layer
    assert found["activations"] == 5 * 4 * kept + 4 * 2 * 3 + 5 * (10 * 4 + 8) + 4


def test_memory_names_the_size_that_is_none():
    for layer, name in ((("linear", 0), "size"), (("conv", 2, 0), "kernel")):
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            by.memory([layer], (2, 6, 6), 1)
    by.memory([("conv", 2, 3, 0)], (2, 6, 6), 1)  # no padding is a padding
    with pytest.raises(ValueError, match="itemsize must be at least 1"):
        by.linear_intensity(1, 1, 1, itemsize=0)


def test_shards_count_what_they_send():
    """Two all-reduces' halves in each step, from none at the beginning."""
    params = {"w": np.ones(6, np.float32)}
    many = by.Sharded(params, lambda part: SGD(part, lr=0.1), 3)
    assert many.sent == 0
    for steps in (1, 2, 3):
        many.step([{"w": np.ones(6, np.float32)}] * 3)
        assert many.sent == steps * 2 * (3 - 1) * 2 * 4


@pytest.mark.parametrize("layers", [1, 2])
def test_a_checkpoint_of_few_layers_keeps_its_input_alone(layers):
    r, x = generator(), np.ones((4, 6))
    model = by.Checkpoint(*(bp.Linear(6, 6, rng=r) for _ in range(layers)))
    model.forward(x)
    assert by.kept_bytes(model) == x.nbytes
    assert all("x" not in vars(layer) for layer in model.layers)


def test_an_installed_package_brings_its_records(tmp_path, monkeypatch):
    """In a wheel they lie within the package, in a checkout beside it."""
    folder = tmp_path / "byhand" / "record" / "speed"
    folder.mkdir(parents=True)
    (folder / "abacus.json").write_text('{"machine": {"gpu": "none"}}', "utf-8")
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path / name)
    assert by.speed_record("abacus")["machine"]["gpu"] == "none"
