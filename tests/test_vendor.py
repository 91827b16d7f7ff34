"""vendor/ holds what npm published, no more and no less."""

import pytest


@pytest.fixture(scope="module")
def refresh(script):
    return script("vendor-src/refresh.py")


def test_vendor_is_as_listed(refresh):
    assert refresh.listed(), "the list is empty"
    assert refresh.differences() == []


def test_each_package_brings_its_licence(refresh):
    for folder in refresh.PACKAGES:
        assert {f"{folder}/LICENSE", f"{folder}/LICENSE.txt"} & refresh.listed().keys()


def test_the_readme_names_source_version_and_licence(refresh, root):
    readme = (root / "vendor" / "README.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1].rstrip("/"): line for line in readme.splitlines()
            if line.startswith("| `")}
    assert rows.keys() == refresh.PACKAGES.keys()
    for folder, package in refresh.PACKAGES.items():
        named = f"[`{package['name']}`]({package['home']}) {package['version']} |"
        assert named in rows[folder]
        assert f"| {package['licence']} (`{folder}/LICENSE" in rows[folder]


def test_each_licence_is_the_one_that_is_named(refresh, root):
    words = {"MIT": "Permission is hereby granted, free of charge",
             "Unlicense": "released into the public domain"}
    for folder, package in refresh.PACKAGES.items():
        (path,) = (root / "vendor" / folder).glob("LICENSE*")
        text = path.read_text(encoding="utf-8")
        assert words[package["licence"]] in text, folder


def test_the_style_sheet_fits_what_typesets(refresh):
    """The formulas' HTML is made by the KaTeX that sphinxcontrib-katex brings."""
    katex = pytest.importorskip("sphinxcontrib.katex")
    assert refresh.PACKAGES["katex"]["version"] == katex.katex_version


def test_a_package_that_says_something_else_is_refused(refresh):
    package = refresh.PACKAGES["katex"]
    described = {"name": package["name"], "version": package["version"],
                 "license": package["licence"]}
    refresh.expect(package, described)
    for change in ({"license": "GPL-3.0"}, {"version": "9.9.9"}, {"name": "katexx"}):
        with pytest.raises(SystemExit, match="expected"):
            refresh.expect(package, described | change)


@pytest.mark.parametrize("damage, word", [("alter", "altered"), ("remove", "not there"),
                                          ("add", "not listed")])
def test_damage_is_noticed(refresh, tmp_path, damage, word):
    good = {"a/one.js": b"1", "a/two.js": b"2"}
    for path, content in good.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    sums = refresh.sums(tmp_path)
    (tmp_path / refresh.SUMS).write_text(
        "".join(f"{digest}  {path}\n" for path, digest in sums.items()))
    assert refresh.differences(tmp_path) == []
    if damage == "alter":
        (tmp_path / "a/one.js").write_bytes(b"one")
    elif damage == "remove":
        (tmp_path / "a/one.js").unlink()
    else:
        (tmp_path / "a/three.js").write_bytes(b"3")
    (found,) = refresh.differences(tmp_path)
    assert word in found
