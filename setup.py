"""What pyproject.toml cannot say: a wheel holds the shipped experiments, and records the commit that it was built from.

`digitsweep promote` asks for that commit, and an installed wheel has no checkout to ask git about.
"""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class Build(build_py):
    """Adds `digitsweep/experiments` and `digitsweep/COMMIT`, as `git describe` words it, to the modules of a wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib) / "digitsweep"
            (package / "COMMIT").write_text(built_from())
            no_log = shutil.ignore_patterns("*.md")
            shutil.copytree(HERE / "experiments", package / "experiments", ignore=no_log, dirs_exist_ok=True)


def built_from() -> str:
    """The checkout's commit, with `-dirty` where it was changed; outside a checkout `DIGITSWEEP_COMMIT`, or nothing."""
    try:
        git("ls-files", "--error-unmatch", "setup.py")  # an unpacked archive may lie in somebody else's checkout
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("DIGITSWEEP_COMMIT", "")


def git(*arguments: str) -> str:
    command = ["git", "-C", str(HERE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


setup(cmdclass={"build_py": Build})
