"""The documents cannot rot: what they name is there, and what is there is named."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from running import EXPERIMENTS, ROOT

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "docs/server.md", "experiments/LOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    """Every relative link and picture in a document is a file of the project."""
    path = ROOT / document
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_make_help_names_the_targets_of_the_readme() -> None:
    """Every `make` target that the README names is one that `make help` explains."""
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE)):
        assert f"make {target} " in helped, target


def test_the_readmes_experiment_loads(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The experiment that the README shows is one, but for the family that it leaves out."""
    from digitsweep.experiment_file import load_experiment

    shown = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    folder = tmp_path_factory.mktemp("readme")
    (folder / "digits.yaml").write_text((EXPERIMENTS / "digits.yaml").read_text())
    (folder / "shown.yaml").write_text(shown[1].replace("  cnn: ...\n", ""))
    experiment = load_experiment(folder / "shown.yaml")
    default = load_experiment(EXPERIMENTS / "mnist.yaml")
    assert (experiment.question, experiment.budget, experiment.data) == (default.question, default.budget, default.data)


def test_every_module_is_in_the_architecture() -> None:
    """docs/architecture.md has a place for each module."""
    for path in (ROOT / "src" / "digitsweep").iterdir():
        if path.suffix == ".py" and not path.name.startswith("__"):
            assert f"`{path.stem}`" in ARCHITECTURE, path.stem


def test_every_experiment_is_in_the_readme() -> None:
    """The README names each experiment that is shipped."""
    from digitsweep.experiment_file import experiments_in

    for path in experiments_in(EXPERIMENTS):
        assert f"`{path.stem}`" in README, path.stem


def test_the_compose_file_pins_its_images() -> None:
    """docker-compose.yml names an exact version of each image, and listens on this machine only where .env says nothing."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in services.values():
        assert re.search(r":v?\d+\.\d+", service["image"])
        assert all(re.match(r"(\$\{TLS_ADDRESS:-)?127\.0\.0\.1\}?:", port) for port in service.get("ports", []))


def test_the_server_document_names_every_setting() -> None:
    """docs/server.md names each variable of docker-compose.yml, and each target that it speaks of is one."""
    document = (ROOT / "docs" / "server.md").read_text()
    for name in set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())):
        assert f"`{name}`" in document, name
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)", document)):
        assert f"\n{target}:" in makefile or target.startswith("bench-"), target
