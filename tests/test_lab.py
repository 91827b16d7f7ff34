"""The lab: data and pictures."""

import base64
import gzip
import hashlib
import http.server
import re
import struct
import subprocess
import sys
import threading

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from byhand import lab


def test_the_import_is_light():
    """What is heavy is loaded by the function that needs it."""
    heavy = ("torch", "scipy", "sklearn", "pandas", "ipywidgets", "IPython",
             "matplotlib")
    code = ("import sys, byhand.lab\n"
            f"print([name for name in {heavy} if name in sys.modules])")
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# --- data ---

def test_digits():
    data = lab.digits(3, n_train=200, n_test=100)
    assert (data.x_train.shape == (200, 64) and data.x_test.shape == (100, 64)
            and data.x_train.dtype == np.float64)
    assert (data.x_train.min() == 0 and data.x_train.max() == 1
            and set(data.y_train) == set(range(10)))
    assert np.array_equal(data.x_train, lab.digits(3, n_train=200, n_test=100).x_train)
    assert not np.array_equal(data.x_train,
                              lab.digits(4, n_train=200, n_test=100).x_train)
    # no digit in both parts
    assert len({row.tobytes() for row in np.vstack(lab.digits(0)[::2])}) == 1797
    with pytest.raises(ValueError, match="1797"):
        lab.digits(0, n_train=1700, n_test=100)
    with pytest.raises(TypeError, match="float"):
        lab.digits(0, n_train=100.5)
    for seed in (None, 0.0, np.random.RandomState(0)):
        with pytest.raises(TypeError, match="integer"):
            lab.digits(seed)


def test_what_is_done_to_digits_is_done_to_one_copy():
    first, kept = lab.digits(3), [part.copy() for part in lab.digits(3)]
    for part in first:
        part[:] = 7
    assert all(map(np.array_equal, lab.digits(3), kept))


@given(st.sampled_from(["0123456789", "aB7", "m", "Il1"]), st.integers(1, 9))
def test_rendered(characters, size):
    images, labels, names = lab.rendered(characters, size, lab.TEXT_FONTS[::8])
    assert (images.shape == (len(names) * len(characters), size, size)
            and images.dtype == np.float64)
    assert (images.min() >= 0 and images.max() <= 1
            and np.all(16 * images == np.round(16 * images)))
    assert (labels.tolist() == list(range(len(characters))) * len(names)
            and names == list(lab.TEXT_FONTS[::8]))
    assert size < 4 or images.any(axis=(1, 2)).all()


def test_every_text_font_draws_every_letter_and_digit():
    images, labels, names = lab.rendered(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    if matplotlib.__version_info__ >= (3, 11):  # before, cmti10 lacked letters
        assert names == list(lab.TEXT_FONTS)
    # all fonts mean the same by a character: no symbol, no box; the worst is thin
    # against bold
    for letter in np.unique(labels):
        alike = np.corrcoef(images[labels == letter].mean(axis=0).ravel(),
                            images[labels == letter].reshape(len(names), -1))[0, 1:]
        assert np.median(alike) > 0.6, letter


def test_rendered_stands_upright_with_its_holes_open():
    images, labels, names = lab.rendered("0L7", 16, ["DejaVuSans"])
    zero, ell, seven = images
    assert zero[8, 8] == 0 and zero[8].max() == 1  # a hole, and ink around it
    assert (ell[-2:].sum() > ell[:2].sum() and ell[:, :8].sum() > ell[:, 8:].sum()
            and seven[:2].sum() > seven[-2:].sum())
    assert images.any(axis=2).all()  # the height is filled


def test_rendered_leaves_fonts_out_and_refuses():
    assert lab.rendered(fonts=["STIXNonUni", "cmr10", "no such font"])[2] == ["cmr10"]
    for arguments in (("00",), ("é",), ("",), ("1-",), ("1", 0),
                      ("1", 8, ["STIXNonUni"])):
        with pytest.raises(ValueError):
            lab.rendered(*arguments)


@pytest.fixture
def server(tmp_path):
    """Two mirrors on the loopback interface: /dead always fails, /good serves the files
    of a small data set.
    """
    folder = tmp_path / "served" / "good"
    folder.mkdir(parents=True)
    images = {"train": np.arange(24, dtype=np.uint8).reshape(6, 2, 2),
              "t10k": np.arange(8, dtype=np.uint8).reshape(2, 2, 2)}
    sums = {}
    for name, kind in [("train", "images"), ("train", "labels"), ("t10k", "images"),
                       ("t10k", "labels")]:
        array = (images[name] if kind == "images"
                 else np.arange(len(images[name]), dtype=np.uint8))
        data = gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim,
                                         *array.shape) + array.tobytes(), mtime=0)
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
        yield {"mirrors": (f"{url}/dead", f"{url}/good"), "sha256": sums,
               "folder": folder}
        httpd.shutdown()


def test_mnist_from_the_second_mirror_then_from_disk(server, tmp_path):
    folder = server.pop("folder")
    data = lab.mnist(tmp_path / "new" / "mnist", **server)
    assert (data.x_train.shape == (6, 4) and data.x_test.shape == (2, 4)
            and data.x_train[5, 3] == 23 / 255)
    assert list(data.y_train) == [0, 1, 2, 3, 4, 5] and data.y_train.dtype == np.int64
    for file in folder.iterdir():
        file.unlink()
    # nothing is asked of the mirrors
    again = lab.mnist(tmp_path / "new" / "mnist", dtype=np.float32, **server)
    assert (again.x_train.dtype == np.float32 and sorted(
        p.suffix for p in (tmp_path / "new" / "mnist").iterdir()) == [".gz"] * 4)


@pytest.mark.parametrize("spoil", [lambda data: data[:-1],
                                   lambda data: data[:-1] + b"x", lambda data: b""],
                         ids=["truncated", "altered", "empty"])
def test_mnist_refuses_wrong_bytes(spoil, server, tmp_path):
    folder = server.pop("folder")
    file = folder / "train-images-idx3-ubyte.gz"
    good = file.read_bytes()
    file.write_bytes(spoil(good))
    with pytest.raises(
        OSError, match=r"no mirror has train-images.*another SHA-256.*digits\(\)"):
        lab.mnist(tmp_path / "root", **server)
    assert not (tmp_path / "root").exists()
    file.write_bytes(good)
    lab.mnist(tmp_path / "root", **server)
    (tmp_path / "root" / file.name).write_bytes(spoil(good))
    with pytest.raises(ValueError, match="truncated or altered"):
        lab.mnist(tmp_path / "root", **server)
    # and leaves it for its owner to delete
    assert (tmp_path / "root" / file.name).read_bytes() == spoil(good)


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
        server["mirrors"] = ((f"http://127.0.0.1:{httpd.server_port}",
                              *server["mirrors"]))
        assert len(lab.mnist(tmp_path / "root", **server).x_train) == 6
        httpd.shutdown()


def test_idx_files_say_what_they_hold():
    with pytest.raises(ValueError, match="not an IDX file"):
        lab._parse_idx(b"\x00\x00\x0d\x01" + b"\x00" * 8, "floats")
    with pytest.raises(ValueError, match="should hold 5 bytes, has 4"):
        lab._parse_idx(b"\x00\x00\x08\x01" + struct.pack(">I", 5) + b"1234", "short")


def test_pixels_are_floats(tmp_path):
    with pytest.raises(TypeError, match="one of floats, got int64"):
        lab.mnist(tmp_path, dtype=np.int64)


def test_mnist_offline_names_the_digits(tmp_path):
    with pytest.raises(OSError, match=r"digits\(\): it needs no network"):
        lab.mnist(tmp_path, mirrors=("http://127.0.0.1:1/nobody",))


# --- figures ---

def test_explore_wants_values_and_alt_texts():
    with pytest.raises(ValueError, match="at least one"):
        lab.explore(lambda ax, value: None, [], label="x", alt=str)
    with pytest.raises(ValueError, match="alt"):
        lab.explore(lambda ax, value: None, [1], label="x", alt=lambda value: "")
    with pytest.raises(ValueError, match="start must be one of"):
        lab.explore(lambda ax, value: None, [1, 2], label="x", alt=str, start=3)


def test_explore_opens_where_it_is_told(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    lab.explore(lambda ax, value: None, [1, 2, 4], label="x", alt=str, start=4)
    slider, stack = shown[0].children
    assert slider.index == stack.selected_index == 2


def test_explore_joins_pictures_to_a_slider(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    lab.explore(lambda axes, value: axes[1].plot([0, value]), [1, 2.5], label="height",
                panels=2, figsize=(3, 2), alt=lambda value: f'A "line" up to {value}')
    (box,) = shown
    slider, stack = box.children
    assert (slider.description == "height"
            and [text for text, _ in slider.options] == ["1", "2.5"])
    pictures = [frame.value for frame in stack.children]
    assert [picture.split('"')[1] for picture in pictures] == [
        "A &quot;line&quot; up to 1", "A &quot;line&quot; up to 2.5"]
    first, second = (base64.b64decode(picture.split("base64,")[1][:-2])
                     for picture in pictures)
    assert b"<svg" in first and first != second
    assert not plt.get_fignums()


def test_explore_leaves_no_figure_open_and_shows_nothing_by_halves(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    with pytest.raises(ZeroDivisionError):
        lab.explore(lambda ax, value: 1 / value, [1, 0], label="x", alt=str)
    assert not shown and not plt.get_fignums()


# --- colours ---


def contrast(one, other):
    """WCAG's contrast ratio of two colours, "#rrggbb"."""
    def light(colour):
        values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(values <= 0.04045, values / 12.92,
                          ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_are_seen_in_both_themes(root):
    """Text has a contrast of 4.5, marks of 3, on white and on the dark page."""
    source = (root / "book" / "_ext" / "pages.py").read_text(encoding="utf-8")
    dark = dict(re.findall(r'"(#[0-9a-f]{6})": "(#[0-9a-f]{6})"', source))
    ink = lab.STYLE["text.color"]
    marks = [entry["color"] for entry in lab.STYLE["axes.prop_cycle"]]
    assert {ink, *marks} <= dark.keys()
    for colour, least in [(ink, 4.5), ("#767676", 4.5), *((mark, 3) for mark in marks)]:
        assert contrast(colour, "#ffffff") >= least, colour
        assert contrast(dark[colour], "#121212") >= least, dark[colour]


def test_every_digit_has_its_label():
    """All 1,797 of scikit-learn's, in two parts."""
    images, labels = load_digits(return_X_y=True)
    expected = {row.tobytes(): label for row, label in zip(images / 16, labels)}
    data = lab.digits(0, n_train=1787, n_test=10)
    for x, y in (data[:2], data[2:]):
        assert y.dtype == np.int64 and len(x) == len(y)
        assert all(expected[row.tobytes()] == label for row, label in zip(x, y))
    for n_train, n_test in ((1788, 10), (1787, 11), (1700, 9), (9, 100)):
        with pytest.raises(ValueError, match="together at most 1797"):
            lab.digits(0, n_train=n_train, n_test=n_test)


@pytest.mark.parametrize("corner", [(0, 0), (5, -3), (-20, 7)])
def test_a_polygon_fills_the_middle_wherever_it_stands(corner):
    wide = np.array([(0, 0), (4, 0), (4, 2), (0, 2), (0, 0)]) + corner
    expected = np.zeros((8, 8))
    expected[2:6] = 1
    np.testing.assert_array_equal(lab._filled([wide], 8), expected)
    np.testing.assert_array_equal(lab._filled([wide[:, ::-1]], 8), expected.T)


def test_notebooks_store_figures_without_a_date(monkeypatch):
    chosen = []
    monkeypatch.setattr("IPython.get_ipython", object)
    monkeypatch.setattr("matplotlib_inline.backend_inline.set_matplotlib_formats",
                        lambda *names, **options: chosen.append((names, options)))
    with plt.rc_context():
        lab.use_style()
    assert chosen == [(("svg",), {"bbox_inches": "tight", "metadata": {"Date": None}})]


def test_explore_draws_at_the_size_that_is_asked(monkeypatch):
    shown, figures = [], []
    monkeypatch.setattr("IPython.display.display", shown.append)
    lab.explore(lambda ax, value: figures.append(ax.figure), [1], label="x", alt=str,
                figsize=(3, 2), caption="See <here>.")
    (box,), (figure,) = shown, figures
    picture = base64.b64decode(box.children[1].children[0].value.split("base64,")[1])
    assert b'width="216pt" height="144pt"' in picture and b"<dc:date>" not in picture
    assert figure.get_constrained_layout()
    assert "byhand-explore" in box._dom_classes  # what the style sheet and the site ask
    assert box.children[2].value == "See &lt;here&gt;."
