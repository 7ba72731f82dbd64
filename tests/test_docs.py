"""The documents cannot rot: what they name is there, and what is there is named."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import click
import pytest
import yaml
from running import EXPERIMENTS, ROOT

from digitsweep.cli import main

README = (ROOT / "README.md").read_text()
PACKAGE = ROOT / "src" / "digitsweep"
MAKE_HELP = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
FURNITURE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md", "experiments/LOG.md")
PAGES = [*FURNITURE, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]


def code(page: str) -> list[str]:
    """Every line of code in a page: of its blocks, and between backticks."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"^    \S.*", text, re.MULTILINE)
    return [line.strip().removeprefix("$ ") for line in lines] + re.findall(r"`([^`\n]+)`", text)


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: the page's headings, as GitHub and MyST write them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_readme_is_short() -> None:
    """A newcomer reads the README in five minutes: it has at most 1,300 words."""
    assert len(README.split()) <= 1300


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link and picture in a page is a file of the project, and has the heading that the link names."""
    path = ROOT / page
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    """Every command of digitsweep in a page exists, says what it does, and takes the options that are shown."""
    for line in code(page):
        for words in re.findall(r"^(?:[A-Z_]+=\S+ )*digitsweep ([a-z][^#|]*)", line):
            name, *rest = shlex.split(words)
            command = main.commands.get(name)
            while isinstance(command, click.Group) and rest and rest[0] in command.commands:
                command = command.commands[rest.pop(0)]
            assert command is not None, line
            assert command.help, name
            known = {option for parameter in command.params for option in parameter.opts}
            assert {each.partition("=")[0] for each in rest if each.startswith("--")} <= known | {"--help"}, line


@pytest.mark.parametrize("page", PAGES)
def test_targets_exist(page: str) -> None:
    """Every `make` target in a page is one that `make help` explains, with each variable that is shown."""
    helps = dict(re.findall(r"^  make ([a-z-]+) +(.*)$", MAKE_HELP, re.MULTILINE))
    for line in code(page):
        for words in re.findall(r"^make ([a-z][^#|]*)", line):
            targets = [each for each in words.split() if "=" not in each]
            assert set(targets) <= {*helps, "bench-", "bench-NAME"}, line
            explained = " ".join(helps.get(target, "") for target in targets)
            for name in re.findall(r"(\w+)=", words):
                assert f"{name}=" in explained, line


@pytest.mark.parametrize("page", PAGES)
def test_entry_points_exist(page: str) -> None:
    """Every `mlflow run` in a page names an entry point of MLproject, with parameters that it has."""
    points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    for line in code(page):
        for words in re.findall(r"^mlflow run \. (.*)", line):
            (point,) = re.findall(r"-e (\w+)", words)
            assert set(re.findall(r"-P (\w+)=", words)) <= set(points[point]["parameters"]), line


def test_the_readmes_commands_are_tested() -> None:
    """Every command line in the README is complete for digitsweep, make or MLflow, or one of these two."""
    others = {"pip install dist/digitsweep-*.whl", "source .venv/bin/activate"}
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    blocks = [line.partition("#")[0].strip() for line in re.findall(r"^    \S.*", prose, re.MULTILINE)]
    inline = re.findall(r"`((?:digitsweep|make|mlflow|pip|source) [^`\n]+)`", prose)
    assert len(blocks) > 10
    for line in blocks + inline:
        program, *words = shlex.split(line)
        if program == "digitsweep":
            try:
                main.commands[words[0]].make_context(words[0], words[1:])
            except click.UsageError as error:
                pytest.fail(f"{line}: {error.format_message()}")
        else:  # test_targets_exist and test_entry_points_exist read the rest of these lines
            assert program == "make" or line.startswith("mlflow run .") or line in others, line


@pytest.mark.parametrize("page", PAGES)
def test_python_runs(page: str) -> None:
    """Every Python block in a page compiles, and what it imports is there."""
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("digitsweep"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, each.name) for each in node.names), node.module


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("CHANGELOG.md", "experiments/LOG.md")])
def test_files_exist(page: str) -> None:
    """Every file of the project that a page names is there: from the top, in the package, or among tests or experiments."""
    bases = [ROOT, *(ROOT / name for name in ("src/digitsweep", "tests", "docs", "experiments", "deploy"))]
    artifacts = {"comparison/report.html", "comparison/draw.html", "draw.html", "report.md", "experiment.yaml"}
    artifacts.add("my_models.py")  # a file of the reader's
    for name in set(re.findall(r"`([\w./-]+\.(?:py|yaml|sh|md|ini|html))`", (ROOT / page).read_text())) - artifacts:
        if "NAME" not in name and "FAMILY" not in name:
            found = any((base / name).exists() for base in bases) or ("/" not in name and any(PACKAGE.rglob(name)))
            assert found, name


def test_the_twelve_tasks_are_small() -> None:
    """Each of the twelve tasks in CONTRIBUTING.md names at most three files to change, and a test; all of them are there."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Twelve tasks")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 12
    for _, change, test in rows:
        files = {name for name in re.findall(r"`([\w/]+\.py|MLproject|Makefile)`", change) if "NAME" not in name}
        assert 1 <= len(files) + change.count("NAME.py") <= 3, change
        assert all((PACKAGE / name).is_file() or (ROOT / name).is_file() for name in files), change
        assert (ROOT / re.findall(r"`(tests/\w+\.py)`", test)[0]).is_file(), test


def test_every_command_has_a_place() -> None:
    """The getting-started page names every command."""
    text = (ROOT / "docs" / "getting-started.md").read_text()
    for name in main.commands:
        assert f"`digitsweep {name}" in text, name


def test_every_variable_has_a_place() -> None:
    """The getting-started page names every environment variable that digitsweep reads."""
    text = (ROOT / "docs" / "getting-started.md").read_text()
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(r"\bDIGITSWEEP_[A-Z]+\b", path.read_text()):
            assert f"`{name}`" in text, name


def test_every_field_has_a_place() -> None:
    """The pages name each field of an experiment, each hyperparameter and each rule of the gate."""
    from digitsweep.config.experiment import Experiment
    from digitsweep.families import FAMILIES
    from digitsweep.registry.gate import Gate

    experiments, registry = ((ROOT / "docs" / name).read_text() for name in ("experiments.md", "registry.md"))
    inner = {"path", "text", "images"}  # where it was read from
    for name in set(Experiment.model_fields) - inner:
        part = Experiment.model_fields[name].annotation
        assert f"`{name}" in experiments, name
        for kind in () if name == "families" else (part, *get_args(part)):  # what each family has stands in a sentence
            for field in getattr(kind, "model_fields", ()):
                assert f"`{name}.{field}`" in experiments, (name, field)
    for params in (each.params for each in FAMILIES.values()):
        for name in params.model_fields:
            assert f"| `{name}` |" in experiments, name
    for name in Gate.model_fields:
        assert f"| `{name}` |" in registry, name


def test_the_readmes_experiment_loads(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The experiment that the README shows is one, but for the family that it leaves out."""
    from digitsweep.config.experiment_file import load_experiment

    shown = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    folder = tmp_path_factory.mktemp("readme")
    (folder / "digits.yaml").write_text((EXPERIMENTS / "digits.yaml").read_text())
    (folder / "shown.yaml").write_text(shown[1].replace("  cnn: ...\n", ""))
    experiment = load_experiment(folder / "shown.yaml")
    default = load_experiment(EXPERIMENTS / "mnist.yaml")
    assert (experiment.question, experiment.budget, experiment.data) == (default.question, default.budget, default.data)


def test_every_room_is_in_the_architecture() -> None:
    """docs/architecture.md gives each room of the package in its table, and names no room or file that is not there."""
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    rooms |= {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")} - {"errors.py"}
    rows = [
        line for line in ARCHITECTURE.split("## The rooms")[1].split("\n\n## ")[0].splitlines() if line.startswith("| `")
    ]
    assert {row.split("`")[1].rstrip("/") for row in rows} == rooms
    for row in rows:
        folder = PACKAGE / row.split("`")[1]
        for name in re.findall(r"`([a-z_]+\.py|[a-z_]+/)`", row.split("|")[3]):
            assert (folder / name).exists(), f"{folder.name}: {name}"


def test_every_experiment_has_a_place() -> None:
    """The README and the page about experiments name each experiment that is shipped."""
    from digitsweep.config.experiment_file import experiments_in

    for path in experiments_in(EXPERIMENTS):
        for page in ("README.md", "docs/experiments.md"):
            assert f"`{path.stem}`" in (ROOT / page).read_text(), (path.stem, page)


def test_the_compose_file_pins_its_images() -> None:
    """docker-compose.yml names an exact version of each image, and listens on this machine only where .env says nothing."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in services.values():
        assert re.search(r":v?\d+\.\d+", service["image"])
        assert all(re.match(r"(\$\{TLS_ADDRESS:-)?127\.0\.0\.1\}?:", port) for port in service.get("ports", []))


def test_the_server_document_names_every_setting() -> None:
    """docs/server.md names each variable of docker-compose.yml."""
    document = (ROOT / "docs" / "server.md").read_text()
    for name in set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())):
        assert f"`{name}`" in document, name


def test_the_workflow_may_do_little() -> None:
    """The workflow for pull requests is valid YAML; it may read the code and comment, and no step of it puts a value that a
    stranger chose into a script."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "pull-requests.md").read_text(), re.DOTALL | re.MULTILINE)
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) == {"pull_request"}, "`on`, which YAML 1.1 reads as true"
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert job["timeout-minutes"] <= 60
    ours = {line for path in (ROOT / ".github").rglob("*.yml") for line in re.findall(r"uses: (\S+)", path.read_text())}
    assert {each["uses"] for each in job["steps"] if "uses" in each} <= ours, "the versions that our own workflow uses"
    scripts = [each["run"] for each in job["steps"] if "run" in each]
    assert not any("${{" in each for each in scripts)
    (saved,) = (each for each in scripts if "digitsweep" in each)
    _, name, *words = shlex.split(saved)
    main.commands[name].make_context(name, words)
