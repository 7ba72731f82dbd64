"""One set of versions, written down three times because three tools want it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def pinned(lines: list[str]) -> dict[str, str]:
    """Name: version, of the requirements that are pinned with `==`."""
    found = (re.match(r"([A-Za-z0-9_.-]+)==([^\s;\\]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def project() -> dict[str, str]:
    dependencies: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(pinned(dependencies)) == len(dependencies), "every dependency is pinned with =="
    return pinned(dependencies)


def test_conda_has_the_projects_versions() -> None:
    """conda.yaml lists exactly the dependencies of pyproject.toml, at the same versions."""
    listed = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    (pip,) = (each["pip"] for each in listed if isinstance(each, dict))
    assert pinned(pip) == project()
    assert len(pip) == len(project())


def test_the_lock_has_the_projects_versions() -> None:
    """requirements.txt holds every dependency of pyproject.toml at the same version, and a hash for each line."""
    text = (ROOT / "requirements.txt").read_text()
    lock = pinned(text.splitlines())
    assert project().items() <= lock.items()
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement or requirement.startswith("#"), requirement.splitlines()[0]


def test_the_extra_has_the_projects_versions() -> None:
    """requirements-ray.txt has the version of Ray that the extra names, and what both locks hold at one version."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = extras["ray"]
    asked = [each for each in (ROOT / "requirements-ray.in").read_text().splitlines() if not each.startswith("#")]
    assert asked == [wanted]
    text = (ROOT / "requirements-ray.txt").read_text()
    ours, extra = pinned((ROOT / "requirements.txt").read_text().splitlines()), pinned(text.splitlines())
    assert extra["ray"] == wanted.partition("==")[2]
    assert {name: version for name, version in extra.items() if ours.get(name, version) != version} == {}
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement or requirement.startswith("#"), requirement.splitlines()[0]


def test_the_server_has_the_projects_versions() -> None:
    """The lock of the tracking server has a hash for each line, and the version of the project wherever both have one."""
    text = (ROOT / "deploy" / "server" / "requirements.txt").read_text()
    ours, server = pinned((ROOT / "requirements.txt").read_text().splitlines()), pinned(text.splitlines())
    assert {name: version for name, version in server.items() if ours.get(name, version) != version} == {}
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement or requirement.startswith("#"), requirement.splitlines()[0]


def test_the_cluster_has_the_projects_versions() -> None:
    """The lock of the image of a cluster's nodes has a hash for each line, and the version of the project and of its extra
    wherever both have one; the RayJob names that image and that version of Ray."""
    text = (ROOT / "deploy" / "ray" / "requirements.txt").read_text()
    locks = [pinned((ROOT / f"requirements{extra}.txt").read_text().splitlines()) for extra in ("", "-ray")]
    cluster = pinned(text.splitlines())
    for lock in locks:
        assert {name: version for name, version in cluster.items() if lock.get(name, version) != version} == {}
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement or requirement.startswith("#"), requirement.splitlines()[0]
    image = f"digitsweep:{tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}-ray"
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {services[name]["image"] for name in ("head", "worker", "job")} == {image}
    rayjob = (ROOT / "deploy" / "kuberay" / "rayjob.yaml").read_text()
    assert re.findall(r"image: &image \S+/(\S+)", rayjob) == [image]
    assert re.findall(r"rayVersion: (\S+)", rayjob) == [cluster["ray"]]


def test_the_images_have_the_projects_versions() -> None:
    """The tags of the images in docker-compose.yml and what they are built from have the versions of the project."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["server"]["image"] == f"digitsweep-server:{project()['mlflow']}"
    (version,) = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert services["sweep"]["image"] == f"digitsweep:{version}"
    (conda,) = re.findall(r"python=(\S+)", (ROOT / "conda.yaml").read_text())
    for dockerfile in (ROOT / "Dockerfile", ROOT / "deploy" / "server" / "Dockerfile"):
        bases = set(re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE))
        assert len(bases) == 1
        assert bases.pop().startswith(f"python:{conda}.")


def test_the_installed_versions_are_the_locked_ones() -> None:
    """What these tests run with is what the lock says."""
    from importlib.metadata import version

    assert {name: version(name) for name in project()} == project()


def test_the_package_and_the_changelog_agree() -> None:
    """The version of the package is that of pyproject.toml, and the changelog's newest."""
    from digitsweep import __version__

    assert __version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
