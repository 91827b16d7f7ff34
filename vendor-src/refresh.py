#!/usr/bin/env python3
"""Fetch the browser libraries of the site with npm and lay them under vendor/, byte for
byte as published.

    python vendor-src/refresh.py          # needs npm; rewrites vendor/ and SHA256SUMS
    python vendor-src/refresh.py --check  # offline: is vendor/ what SHA256SUMS lists?

To move to a new version, change VERSION and INTEGRITY below (`npm view NAME@VERSION
dist.integrity`).
"""

import base64
import fnmatch
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "vendor"
SUMS = "SHA256SUMS"
OWN = {"README.md", SUMS}  # the files under vendor/ that are ours and not npm's

# folder under vendor/: package, where its source lies, its licence, its version, the
# integrity that npm publishes, and which files the site needs
PACKAGES = {
    "katex": {
        "name": "katex",
        "home": "https://github.com/KaTeX/KaTeX",
        "licence": "MIT",
        "version": "0.16.22",  # the version that sphinxcontrib-katex renders with
        "integrity": "sha512-XCHRdUw4lf3SKBaJe4EvgqIuWwkPSo9XoeO8GjQW94Bp7TWv9hNh"
                     "zZjZ+OH9yf1UmLygb7DIT5GSFQiyt16zYg==",
        "files": {
            "LICENSE": "",
            "dist/katex.min.css": "",
            "dist/fonts/*.woff2": "fonts",
        },
        "leave": set(),
    },
    "minisearch": {
        "name": "minisearch",
        "home": "https://github.com/lucaong/minisearch",
        "licence": "MIT",
        "version": "7.2.0",
        "integrity": "sha512-dqT2XBYUOZOiC5t2HRnwADjhNS2cecp9u+TJRiJ1Qp/f5qjkeT5APcGP"
                     "jHw+bz89Ms8Jp+cG4AlE+QZ/QnDglg==",
        "files": {"LICENSE.txt": "", "dist/umd/index.js": ""},
        "leave": set(),
    },
    "fsrs": {
        "name": "ts-fsrs",
        "home": "https://github.com/open-spaced-repetition/ts-fsrs",
        "licence": "MIT",
        "version": "5.4.2",
        "integrity": "sha512-z4qop4pzTcyTzuJ566d9EaX/4bZZzhYfeaPImfVr+xcYT65c5oBgFDij"
                     "UhCE/D+C78eaolHIhKRZ04/RwF+v2g==",
        "files": {"LICENSE": "", "dist/index.umd.js": ""},
        "leave": set(),
    },
    "sortable": {
        "name": "sortable-tablesort",
        "home": "https://github.com/tofsjonas/sortable",
        "licence": "Unlicense",
        "version": "4.1.7",
        "integrity": "sha512-0LX+ca57WjhQCUZjkz7q1XOS4gQ7QhaVgkz3kGPqXPule8oDB5rOCvbW"
                     "MIAnT8ElLePTBWMQHce1hFP82Hm5HA==",
        "files": {"LICENSE": "", "dist/sortable.min.js": "",
                  "dist/sortable.a11y.min.js": ""},
        "leave": set(),
    },
}


def tarball(name, version, integrity, folder):
    """Download one package as npm publishes it and hold it to its integrity."""
    out = subprocess.run(
        ["npm", "pack", f"{name}@{version}", "--json", "--ignore-scripts",
         "--pack-destination", folder],
        check=True, stdout=subprocess.PIPE, text=True, cwd=folder,
    ).stdout
    path = (Path(folder)
            / json.loads(out)[0]["filename"].replace("@", "").replace("/", "-"))
    got = ("sha512-"
           + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode())
    if got != integrity:
        raise SystemExit(f"{name}@{version}: integrity is {got}, expected {integrity}")
    return path


def expect(package, described):
    """The package says of itself what we say of it."""
    for ours, theirs in (("name", "name"), ("version", "version"),
                         ("licence", "license")):
        if described.get(theirs) != package[ours]:
            raise SystemExit(f"{package['name']}: {theirs} is "
                             f"{described.get(theirs)}, expected {package[ours]}")


def unpack(path, package, target):
    """Copy the files that the site needs; each pattern must find at least one."""
    found = {pattern: 0 for pattern in package["files"]}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            inner = member.name.split("/", 1)[-1]  # npm puts everything below package/
            if not member.isfile() or inner in package["leave"]:
                continue
            if inner == "package.json":
                expect(package, json.load(archive.extractfile(member)))
            for pattern, folder in package["files"].items():
                if fnmatch.fnmatchcase(inner, pattern):
                    found[pattern] += 1
                    to = target / folder / Path(inner).name
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_bytes(archive.extractfile(member).read())
                    break
    missing = [pattern for pattern, count in found.items() if count == 0]
    if missing:
        raise SystemExit(f"{package['name']}: nothing matches {missing}")


def sums(vendor=VENDOR):
    """{path below vendor: SHA-256} of every file but our own."""
    return {
        path.relative_to(vendor).as_posix(): hashlib.sha256(
            path.read_bytes()).hexdigest()
        for path in sorted(vendor.rglob("*"))
        if path.is_file() and path.relative_to(vendor).as_posix() not in OWN
    }


def listed(vendor=VENDOR):
    """{path: SHA-256} as written in SHA256SUMS, the format of `sha256sum`."""
    lines = (vendor / SUMS).read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def differences(vendor=VENDOR):
    """What is wrong with vendor/, one sentence a file; empty when all is as listed."""
    have, want = sums(vendor), listed(vendor)
    return (
        [f"{path}: listed and not there" for path in sorted(want.keys() - have.keys())]
        + [f"{path}: there and not listed"
           for path in sorted(have.keys() - want.keys())]
        + [f"{path}: altered"
           for path in sorted(want.keys() & have.keys()) if want[path] != have[path]]
    )


def refresh():
    VENDOR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        fresh = {}
        for folder, package in PACKAGES.items():
            fresh[folder] = Path(scratch) / "unpacked" / folder
            unpack(tarball(package["name"], package["version"], package["integrity"],
                           scratch), package, fresh[folder])
        for old in VENDOR.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
        for folder, path in fresh.items():
            shutil.copytree(path, VENDOR / folder)
    (VENDOR / SUMS).write_text("".join(
        f"{digest}  {path}\n" for path, digest in sums().items()), encoding="utf-8")
    print(f"{len(sums())} files under {VENDOR.name}/")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        wrong = differences()
        print("\n".join(wrong) or f"vendor/ is as listed: {len(listed())} files")
        raise SystemExit(bool(wrong))
    refresh()
