"""The lab's tools: what they accept, what they refuse, and that they change nothing."""

import gzip
import hashlib
import http.server
import json
import struct
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byhand import lab
from byhand.backprop import Linear, MSELoss, ReLU, Sequential, Sigmoid

FLOATS = st.floats(-100, 100)


# --- numerical gradient and error ---

@given(arrays(np.float64, array_shapes(max_dims=3, max_side=3), elements=FLOATS))
def test_numerical_gradient_of_a_polynomial(x):
    before = x.copy()
    gradient = lab.numerical_gradient(lambda x: np.sum(x**2 + 3 * x), x)
    assert gradient.shape == x.shape and gradient.dtype == x.dtype
    np.testing.assert_allclose(gradient, 2 * x + 3, atol=1e-5 * max(1, np.abs(x).max(initial=0) ** 2))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("x", [np.array([1, 2]), [1.0, 2.0], np.array([1j])])
def test_numerical_gradient_wants_floats(x):
    with pytest.raises(TypeError, match="float32 or float64"):
        lab.numerical_gradient(np.sum, x)


def test_numerical_gradient_wants_a_scalar():
    with pytest.raises(ValueError, match=r"scalar.*\(3,\)"):
        lab.numerical_gradient(lambda x: x, np.ones(3))


@given(arrays(np.float64, 4, elements=st.floats()))
def test_the_error_of_an_array_with_itself_is_zero(x):
    assert lab.relative_error(x, x) == 0


def test_error_of_what_is_not_finite():
    one = np.array([np.inf, 1.0])
    for other in ([-np.inf, 1.0], [np.nan, 1.0], [1.0, 1.0]):
        assert lab.relative_error(np.array(other), one) == lab.relative_error(one, np.array(other)) == np.inf
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        lab.relative_error(np.ones(3), np.ones(2))


# --- checks ---

def model():
    rng = np.random.default_rng(3)
    return Sequential(Linear(3, 4, rng=rng), Sigmoid(), Linear(4, 2, rng=rng))


def test_a_check_changes_nothing():
    ours, x = model(), np.random.default_rng(4).normal(size=(5, 3))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 2))
    kept_ours = {name: value.copy() for name, value in ours.params.items()}
    kept_theirs = {name: value.clone() for name, value in theirs.state_dict().items()}
    kept_x = x.copy()
    lab.check_layer(ours, theirs, x, device="cpu")
    assert all(np.array_equal(ours.params[name], value) for name, value in kept_ours.items())
    assert all(torch.equal(theirs.state_dict()[name], value) for name, value in kept_theirs.items())
    assert np.array_equal(x, kept_x) and ours.grads == {} and not hasattr(ours.layers[0], "x")
    assert all(value.grad is None for value in theirs.parameters())


class Broken(Linear):
    """Linear with one fault of its backward or forward pass."""

    def __init__(self, fault):
        super().__init__(3, 2, rng=np.random.default_rng(5))
        self.fault = fault

    def forward(self, x):
        if self.fault == "remembers its first input":
            x = self.first = getattr(self, "first", x)
        y = super().forward(x)
        if self.fault == "float64 inside":
            return y.astype(np.float64)
        if self.fault == "changes its input":
            x *= 2
        return y

    def backward(self, dy):
        if self.fault == "changes dy":
            dy /= len(dy)
        earlier = self.grads.get("weight", 0.0)
        dx = super().backward(dy)
        if self.fault == "adds to its gradients":
            self.grads["weight"] += earlier
        if self.fault == "updates its parameters":
            self.params["weight"] -= 0.1 * self.grads["weight"]
        if self.fault == "misspelt gradient":
            self.grads["wieght"] = dx
        if self.fault == "a list":
            return dx.tolist()
        if self.fault == "no bias gradient":
            del self.grads["bias"]
        if self.fault == "wrong shape":
            self.grads["bias"] = self.grads["bias"][None]
        if self.fault == "one entry in a million":
            dx[0, 0] *= 1 + 1e-6
        return None if self.fault == "no input gradient" else dx


@pytest.mark.parametrize(
    ["fault", "message"],
    {
        "float64 inside": "output in float32 has the wrong dtype",
        "remembers its first input": "output in float64 differs",
        "changes its input": "changes what it is given",
        "changes dy": "changes what it is given",
        "updates its parameters": "changes what it is given",
        "adds to its gradients": "weight.grad in float64 differs",
        "no bias gradient": "do not fit the parameters",
        "misspelt gradient": "do not fit the parameters",
        "a list": "input.grad in float64 has the wrong dtype: expected float64, got list",
        "wrong shape": "bias.grad in float64 has the wrong shape",
        "one entry in a million": r"input.grad in float64 differs: ours .* theirs .* at \(0, 0\)",
        "no input gradient": "input.grad is missing",
    }.items(),
)
def test_check_layer_names_the_fault(fault, message):
    with pytest.raises(lab.CheckFailed, match=message):
        lab.check_layer(Broken(fault), torch.nn.Linear(3, 2), np.random.default_rng(6).normal(size=(4, 3)), device="cpu")


def test_check_layer_refuses_what_it_cannot_compare():
    layer, x = Linear(3, 2, rng=np.random.default_rng(0)), np.ones((2, 3))
    with pytest.raises(RuntimeError, match="size mismatch"):
        lab.check_layer(layer, torch.nn.Linear(3, 5), x, device="cpu")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        lab.check_layer(layer, torch.nn.Linear(3, 2, bias=False), x, device="cpu")
    with pytest.raises(ValueError, match="takes no argument 'bias'"):
        lab.check_layer(layer, lambda x, weight: x @ weight.T, x, device="cpu")
    with pytest.raises(ValueError, match="none after its forward"):
        lab.check_layer(ReLU(), lambda x, mask: x * mask, x, device="cpu")
    with pytest.raises(TypeError, match="array of floats"):
        lab.check_layer(ReLU(), torch.relu, np.array([1, 2]), device="cpu")


def test_overflow_is_a_failure_of_the_check():
    class Naive(ReLU):
        def forward(self, x):
            return super().forward(x) + np.log(1 + np.exp(x)) * 0

    with pytest.raises(lab.CheckFailed, match="Naive is not stable in float64"):
        lab.check_layer(Naive(), torch.relu, np.array([1e4]), device="cpu")


def test_a_random_layer_hands_over_its_mask():
    class Drop(ReLU):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(7)

        def forward(self, x):
            self.mask = self.rng.random(x.shape) < 0.5
            return x * self.mask

        def backward(self, dy):
            return dy * self.mask

    lab.check_layer(Drop(), lambda x, mask: x * mask, np.random.default_rng(8).normal(size=(4, 3)), device="cpu")


def test_several_inputs_and_integers():
    class Gather(ReLU):
        def forward(self, x, scale, index):
            self.saved = x, scale, index
            return x[index] * scale

        def backward(self, dy):
            x, scale, index = self.saved
            dx = np.zeros_like(x)
            np.add.at(dx, index, dy * scale)
            return dx, (dy * x[index]), None

    rng = np.random.default_rng(9)
    inputs = rng.normal(size=4), rng.normal(size=3), np.array([0, 2, 2])
    lab.check_layer(Gather(), lambda x, scale, index: x[index] * scale, *inputs, device="cpu")


def test_check_optimizer_wants_updates_in_place():
    class Replacing:
        def __init__(self, params):
            self.params = params

        def step(self, grads):
            for name in self.params:
                self.params[name] = self.params[name] - 0.1 * grads[name]

    with pytest.raises(lab.CheckFailed, match="replaced"):
        lab.check_optimizer(Replacing, lambda p: torch.optim.SGD(p, lr=0.1), steps=2, device="cpu")


@pytest.mark.parametrize(["fault", "message"], [("scales", "a gradient was changed"), ("keeps", "weight after 2 steps in float64 differs")])
def test_check_optimizer_watches_the_gradients(fault, message):
    class Momentum:
        def __init__(self, params):
            self.params, self.velocity = params, {}

        def step(self, grads):
            for name, param in self.params.items():
                if fault == "scales":
                    grads[name] *= 0.1
                    param -= grads[name]
                else:
                    velocity = self.velocity.setdefault(name, grads[name])  # a reference where a copy is meant
                    if velocity is not grads[name]:
                        velocity += grads[name]
                    param -= 0.1 * velocity

    theirs = {"scales": lambda p: torch.optim.SGD(p, lr=0.1), "keeps": lambda p: torch.optim.SGD(p, lr=0.1, momentum=1.0)}
    with pytest.raises(lab.CheckFailed, match=message):
        lab.check_optimizer(Momentum, theirs[fault], steps=3, device="cpu")


def test_what_the_numerical_column_is_worth_is_said():
    """Far below the output a finite difference is round-off: the table says how little it then proves."""
    row = lab.compare("x", np.array([1e-3]), np.array([1e-3]), np.float64, 1e-6, method="numerical", scale=1.0)
    assert row["limit"] == pytest.approx(1e-3) and "yes, within 1e-03" in repr(lab.Report("a", "b", "cpu", [row]))
    with pytest.raises(lab.CheckFailed):
        lab.compare("x", np.array([1.002e-3]), np.array([1e-3]), np.float64, 1e-6, method="numerical", scale=1.0)


def test_a_lost_step_is_an_error():
    with pytest.raises(ValueError, match="vanishes in the rounding"):
        lab.numerical_gradient(np.sum, np.ones(2), step=1e-20)


def test_catches_wants_a_failed_check():
    def passes(thing):
        pass

    def crashes(thing):
        raise IndexError("not a check's failure")

    with pytest.raises(AssertionError, match="passes accepts"):
        lab.catches(passes, ReLU())
    with pytest.raises(IndexError):
        lab.catches(crashes, ReLU())


@pytest.mark.parametrize("device", ["mps", "gpu", None])
def test_unknown_device(device):
    with pytest.raises(ValueError, match="auto"):
        lab.resolve_device(device)


# --- claims and the record ---

@pytest.mark.parametrize(
    ["verdict", "holds", "agrees"],
    [
        ("holds", True, True), ("holds", False, False), ("holds", {"a": True, "b": False}, False), ("holds", np.True_, True),
        ("wrong", False, True), ("wrong", True, False), ("wrong", {"a": True, "b": False}, False),
        ("holds-with-conditions", {"a": True, "b": False}, True), ("holds-with-conditions", {"a": True}, False),
        ("holds-with-conditions", True, False), ("holds-with-conditions", False, False),
        ("misleading", False, True), ("misleading", {"a": True, "b": False}, True), ("misleading", True, False),
    ],
)  # fmt: skip
def test_measurement_and_verdict(verdict, holds, agrees, monkeypatch):
    entry = {"id": "x.1", "says": "a < b", "verdict": verdict, "correct": "b & c", "test": "measure"}
    monkeypatch.setattr(lab, "catalogue", lambda: {"x.1": entry})
    if agrees:
        lab.claim("x.1", measured="1", holds=holds)
    else:
        with pytest.raises(AssertionError, match="x.1 is said to be"):
            lab.claim("x.1", measured="1", holds=holds)


def test_a_boundary_may_stand_for_the_measured_exception(monkeypatch):
    entry = {"id": "x.1", "says": "a", "verdict": "holds-with-conditions", "correct": "c", "boundary": "Li 2018", "test": "measure"}
    monkeypatch.setattr(lab, "catalogue", lambda: {"x.1": entry})
    lab.claim("x.1", measured="1", holds={"here": True})


def test_claims_that_do_not_suit(monkeypatch):
    entries = {name: {"id": name, "says": "a", "verdict": verdict, "correct": "c", "test": test}
               for name, verdict, test in [("m.1", "holds", "measure"), ("n.1", "holds", "none: definition"), ("o.1", "opinion", "measure")]}
    monkeypatch.setattr(lab, "catalogue", lambda: entries)
    with pytest.raises(KeyError, match="no claim 'missing.1'"):
        lab.claim("missing.1")
    for wrong in (1, "yes", {}, {"a": 1}, np.array([True])):
        with pytest.raises(TypeError, match="holds must be"):
            lab.claim("m.1", measured="1", holds=wrong)
    for id, arguments in [("m.1", {}), ("m.1", {"measured": "1"}), ("m.1", {"holds": True}), ("o.1", {"measured": "1", "holds": True}), ("o.1", {})]:
        with pytest.raises(ValueError, match="does not suit"):
            lab.claim(id, **arguments)
    lab.claim("n.1")
    lab.claim("o.1", measured="1")


def test_what_is_shown_is_escaped():
    box = lab.Claim({"says": "a < b", "verdict": "wrong", "correct": "<b>"}, "1 & 2", {"x > 0": False})._repr_html_()
    assert "a &lt; b" in box and "1 &amp; 2" in box and "&lt;b&gt;" in box and "x &gt; 0: no" in box and "style=" not in box


def test_the_record(tmp_path, monkeypatch):
    monkeypatch.setenv("BYHAND_RECORD", "record.jsonl")
    with pytest.raises(ValueError, match="absolute"):
        lab.write_record(kind="x")
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))
    lab.check_loss(MSELoss(), torch.nn.MSELoss(), np.ones((2, 3)), np.zeros((2, 3)), device="cpu")
    lab.claim("chain-rule.1", measured="한국어", holds=True)
    run, *checks, measured = map(json.loads, (tmp_path / "record.jsonl").read_text(encoding="utf-8").splitlines())
    assert run["kind"] == "run" and run["numpy"] == np.__version__
    assert {(row["quantity"], row["method"], row["dtype"]) for row in checks} == {
        (quantity, "", dtype) for quantity in ("output", "input.grad") for dtype in ("float64", "float32")
    } | {("input.grad", "numerical", "float64")}
    assert all(row["device"] == "cpu" and row["error"] <= row["limit"] for row in checks)
    assert measured["measured"] == "한국어" and measured["agrees"] is True


# --- statistics ---

def test_paired():
    difference = lab.paired([3.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert difference.mean == pytest.approx(7 / 3) and difference.low == pytest.approx(7 / 3 - 4.302653 / 3)  # s = 0.577
    assert difference.shown and difference.absent(4) and not difference.absent(3)
    assert not lab.paired([1.0, -1.0, 0.0], [0.0, 0.0, 0.0]).shown
    for a, b in [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 2.0]), ([[1.0, 2.0]], [[1.0, 2.0]])]:
        with pytest.raises(ValueError):
            lab.paired(a, b)


# --- data ---

def test_digits():
    data = lab.digits(3, n_train=200, n_test=100)
    assert data.x_train.shape == (200, 64) and data.x_test.shape == (100, 64) and data.x_train.dtype == np.float64
    assert data.x_train.min() == 0 and data.x_train.max() == 1 and set(data.y_train) == set(range(10))
    assert np.array_equal(data.x_train, lab.digits(3, n_train=200, n_test=100).x_train)
    assert not np.array_equal(data.x_train, lab.digits(4, n_train=200, n_test=100).x_train)
    assert len({row.tobytes() for row in np.vstack(lab.digits(0)[::2])}) == 1797  # no digit in both parts
    with pytest.raises(ValueError, match="1797"):
        lab.digits(0, n_train=1700, n_test=100)


@given(st.sampled_from(["0123456789", "aB7", "m", "Il1"]), st.integers(1, 9))
def test_rendered(characters, size):
    images, labels, names = lab.rendered(characters, size, lab.TEXT_FONTS[::8])
    assert images.shape == (len(names) * len(characters), size, size) and images.dtype == np.float64
    assert images.min() >= 0 and images.max() <= 1 and np.all(16 * images == np.round(16 * images))
    assert labels.tolist() == list(range(len(characters))) * len(names) and names == list(lab.TEXT_FONTS[::8])
    assert size < 4 or images.any(axis=(1, 2)).all()


def test_every_text_font_draws_every_letter_and_digit():
    images, labels, names = lab.rendered("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    assert names == list(lab.TEXT_FONTS)
    for letter in np.unique(labels):  # all fonts mean the same by a character: no symbol, no box; thin against bold is the worst
        alike = np.corrcoef(images[labels == letter].mean(axis=0).ravel(), images[labels == letter].reshape(len(names), -1))[0, 1:]
        assert np.median(alike) > 0.6, letter


def test_rendered_stands_upright_with_its_holes_open():
    images, labels, names = lab.rendered("0L7", 16, ["DejaVuSans"])
    zero, ell, seven = images
    assert zero[8, 8] == 0 and zero[8].max() == 1  # a hole, and ink around it
    assert ell[-2:].sum() > ell[:2].sum() and ell[:, :8].sum() > ell[:, 8:].sum() and seven[:2].sum() > seven[-2:].sum()
    assert images.any(axis=2).all()  # the height is filled


def test_rendered_leaves_fonts_out_and_refuses():
    assert lab.rendered(fonts=["STIXNonUni", "cmr10", "no such font"])[2] == ["cmr10"]
    for arguments in (("00",), ("é",), ("",), ("1-",), ("1", 0), ("1", 8, ["STIXNonUni"])):
        with pytest.raises(ValueError):
            lab.rendered(*arguments)


@pytest.fixture
def server(tmp_path):
    """Two mirrors on the loopback interface: /dead always fails, /good serves the files of a small data set."""
    folder = tmp_path / "served" / "good"
    folder.mkdir(parents=True)
    images = {"train": np.arange(24, dtype=np.uint8).reshape(6, 2, 2), "t10k": np.arange(8, dtype=np.uint8).reshape(2, 2, 2)}
    sums = {}
    for name, kind in [("train", "images"), ("train", "labels"), ("t10k", "images"), ("t10k", "labels")]:
        array = images[name] if kind == "images" else np.arange(len(images[name]), dtype=np.uint8)
        data = gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes(), mtime=0)
        file = folder / f"{name}-{kind}-idx{array.ndim}-ubyte.gz"
        file.write_bytes(data)
        sums[file.name] = hashlib.sha256(data).hexdigest()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder.parent))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_port}"
        yield {"mirrors": (f"{url}/dead", f"{url}/good"), "sha256": sums, "folder": folder}
        httpd.shutdown()


def test_mnist_from_the_second_mirror_then_from_disk(server, tmp_path):
    folder = server.pop("folder")
    data = lab.mnist(tmp_path / "new" / "mnist", **server)
    assert data.x_train.shape == (6, 4) and data.x_test.shape == (2, 4) and data.x_train[5, 3] == 23 / 255
    assert list(data.y_train) == [0, 1, 2, 3, 4, 5] and data.y_train.dtype == np.int64
    for file in folder.iterdir():
        file.unlink()
    again = lab.mnist(tmp_path / "new" / "mnist", dtype=np.float32, **server)  # nothing is asked of the mirrors
    assert again.x_train.dtype == np.float32 and sorted(p.suffix for p in (tmp_path / "new" / "mnist").iterdir()) == [".gz"] * 4


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:-1] + b"x", lambda data: b""], ids=["truncated", "altered", "empty"])
def test_mnist_refuses_wrong_bytes(spoil, server, tmp_path):
    folder = server.pop("folder")
    file = folder / "train-images-idx3-ubyte.gz"
    good = file.read_bytes()
    file.write_bytes(spoil(good))
    with pytest.raises(OSError, match=r"no mirror has train-images.*another SHA-256.*digits\(\)"):
        lab.mnist(tmp_path / "root", **server)
    assert not (tmp_path / "root").exists()
    file.write_bytes(good)
    lab.mnist(tmp_path / "root", **server)
    (tmp_path / "root" / file.name).write_bytes(spoil(good))
    with pytest.raises(ValueError, match="truncated or altered"):
        lab.mnist(tmp_path / "root", **server)
    assert (tmp_path / "root" / file.name).read_bytes() == spoil(good)  # and leaves it for its owner to delete


def test_an_answer_cut_short_leads_to_the_next_mirror(server, tmp_path):
    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")

        def log_message(self, *args):
            pass

    server.pop("folder")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Short) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        server["mirrors"] = (f"http://127.0.0.1:{httpd.server_port}", *server["mirrors"])
        assert len(lab.mnist(tmp_path / "root", **server).x_train) == 6
        httpd.shutdown()


def test_idx_files_say_what_they_hold():
    with pytest.raises(ValueError, match="not an IDX file"):
        lab._parse_idx(b"\x00\x00\x0d\x01" + b"\x00" * 8, "floats")
    with pytest.raises(ValueError, match="should hold 5 bytes, has 4"):
        lab._parse_idx(b"\x00\x00\x08\x01" + struct.pack(">I", 5) + b"1234", "short")


def test_mnist_offline_names_the_digits(tmp_path):
    with pytest.raises(OSError, match=r"digits\(\): it needs no network"):
        lab.mnist(tmp_path, mirrors=("http://127.0.0.1:1/nobody",))


# --- figures ---

def test_explore_wants_values_and_alt_texts():
    with pytest.raises(ValueError, match="at least one"):
        lab.explore(lambda ax, value: None, [], label="x", alt=str)
    with pytest.raises(ValueError, match="alt"):
        lab.explore(lambda ax, value: None, [1], label="x", alt=lambda value: "")
