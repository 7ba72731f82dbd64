"""Where a result came from: a checkout, an image that was told, or nobody knows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from digitsweep.provenance import Commit, current_commit

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one file, committed."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "code.py").write_text("")
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for arguments in (["init", "-q"], ["add", "code.py"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_a_checkout_says_its_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git knows better than the environment; what was changed since makes it dirty."""
    monkeypatch.setenv("DIGITSWEEP_COMMIT", SHA)
    found = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    sha = found.stdout.strip()
    assert current_commit(checkout) == Commit(sha, dirty=False)
    (checkout / "code.py").write_text("changed")
    assert current_commit(checkout) == Commit(sha, dirty=True)


@pytest.mark.parametrize(
    ("told", "commit"),
    [
        (SHA, Commit(SHA, dirty=False)),
        (f"{SHA}-dirty", Commit(SHA, dirty=True)),
        ("", Commit("unknown", dirty=False)),
        (None, Commit("unknown", dirty=False)),
    ],
)
def test_an_image_says_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, commit: Commit
) -> None:
    """Where there is no git, `DIGITSWEEP_COMMIT` says it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DIGITSWEEP_COMMIT", raising=False)
    if told is not None:
        monkeypatch.setenv("DIGITSWEEP_COMMIT", told)
    assert current_commit(tmp_path) == commit


def test_what_git_cannot_say_is_not_clean(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git knows the commit, but not what was changed since, nobody may take the code for clean."""
    found, programs = shutil.which("git"), tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(f'#!/bin/sh\ncase "$*" in *status*) exit 1;; esac\nexec {found} "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    assert current_commit(checkout).sha != "unknown"
    assert current_commit(checkout).dirty


def test_somebody_elses_checkout_is_not_ours(checkout: Path) -> None:
    """A package that is installed below another project's checkout has not that project's commit."""
    installed = checkout / ".venv" / "digitsweep"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("")
    assert current_commit(installed) == Commit("unknown", dirty=False)


def test_make_image_and_this_module_use_the_same_words(checkout: Path) -> None:
    """What the Makefile asks git for is what is read here."""
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    words = "describe --always --abbrev=40 --exclude='*' --dirty"
    assert f"git {words}" in makefile
    arguments = words.replace("'", "").split()
    (checkout / "code.py").write_text("changed")
    told = subprocess.run(
        ["git", "-C", str(checkout), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert told == current_commit(checkout).sha + "-dirty"
