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


def test_the_readme_names_the_versions(refresh, root):
    readme = (root / "vendor" / "README.md").read_text(encoding="utf-8")
    for package in refresh.PACKAGES.values():
        assert f"`{package['name']}` {package['version']}" in readme


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
