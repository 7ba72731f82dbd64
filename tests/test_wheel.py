"""An installed wheel is whole: it needs no checkout beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import EXPERIMENTS, ROOT, Sweep

BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@dataclass(frozen=True)
class Installed:
    """A wheel of the working tree, in an environment of its own."""

    wheel: Path
    commit: str
    """Of the checkout that it was built from."""
    digitsweep: Path
    """The command."""

    def run(self, *arguments: str, cwd: Path, seconds: float = 60) -> str:
        """What `digitsweep ARGUMENTS` prints in a folder; it must succeed."""
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(self.digitsweep), *arguments]
        finished = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=seconds)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of a clean checkout, installed into an empty environment; its dependencies are those of these tests."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout, environment = folder / "checkout", folder / "environment"
    for name in ("src", "experiments"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, checkout)

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        command = ["git", "-C", str(checkout), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=All of it")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=checkout, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(environment, with_pip=True)
    binaries = environment / "bin"
    pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, env={**os.environ, "PYTHONPATH": ""})
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Installed(wheel, git("rev-parse", "HEAD"), binaries / "digitsweep")


def test_the_wheel_holds_what_it_needs(installed: Installed) -> None:
    """The wheel holds every experiment, the gate, the default configurations, the report's templates and the commit that it
    was built from."""
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = set(wheel.namelist())
        for path in EXPERIMENTS.glob("*.yaml"):
            assert wheel.read(f"digitsweep/experiments/{path.name}") == path.read_bytes()
        for path in (ROOT / "src" / "digitsweep").rglob("*.jinja"):
            assert path.relative_to(ROOT / "src").as_posix() in names
        assert "digitsweep/config/defaults.yaml" in names
        assert wheel.read("digitsweep/COMMIT").decode() == installed.commit


def test_an_installed_wheel_finds_its_experiments(installed: Installed, tmp_path: Path) -> None:
    """From an empty folder every shipped experiment is found by its name; a person's own of that name comes first."""
    assert "does every part of a sweep work" in installed.run("validate", "smoke", cwd=tmp_path).lower()
    own = tmp_path / "experiments"
    own.mkdir()
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    (own / "smoke.yaml").write_text(text.replace("question: Does every part of a sweep work together?", "question: Mine?"))
    assert "Mine?" in installed.run("validate", "smoke", cwd=tmp_path)


@pytest.mark.slow
def test_an_installed_wheel_does_it_all(installed: Installed, tmp_path: Path) -> None:
    """From an empty folder: sweep digits, compare, promote through the gate, and read a digit with the champion."""
    from PIL import Image
    from sklearn.datasets import load_digits

    installed.run("sweep", "digits", cwd=tmp_path, seconds=600)
    assert "best CNN" in installed.run("compare", cwd=tmp_path)
    assert "digits-cnn 1 is champion" in installed.run("promote", "digits-cnn", cwd=tmp_path, seconds=120)
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", "")
    champion = sweep.client.get_model_version_by_alias("digits-cnn", "champion")
    assert (champion.tags["digitsweep.commit"], champion.tags["digitsweep.dirty"]) == (installed.commit, "false")
    digits = load_digits()
    pixels = (255 - digits.images[0] * 255 / 16).astype("uint8")  # a zero, dark on light
    Image.fromarray(pixels).resize((80, 80)).save(tmp_path / "zero.png")
    assert '"label": 0' in installed.run(
        "predict", "zero.png", "--model", "digits-cnn@champion", "--json", cwd=tmp_path, seconds=120
    )
