"""The house, held to its plan: imports go one way, and only training pays for Lightning."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src" / "symgnn"

FACE = "symgnn"
"""The package's own ``__init__``, which gathers the names users need: above every room but the command line."""

LINES = (
    {"errors"},
    {"files"},
    {"types", "config"},
    {"skeleton", "nn"},
    {"models", "data", "viz"},
    {"evaluation"},
    {"training", "runtime"},
    {"experiments"},
    {FACE},
    {"cli"},
    {"__main__"},
)
"""Each line may import the lines above it and nothing beside itself."""

HEIGHT = {room: height for height, line in enumerate(LINES) for room in line}

LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric"}


def room_of(path: Path, package: Path) -> str:
    first = path.relative_to(package).parts[0].removesuffix(".py")
    return FACE if first == "__init__" else first


def imported_names(source: str) -> set[str]:
    """Dotted names a module imports, anywhere in it: inside functions and under TYPE_CHECKING as well."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            # `from symgnn import nn` names a room, `from torch import nn` does not
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_rooms(source: str, rooms: set[str]) -> set[str]:
    inside = (name.split(".") for name in imported_names(source) if name.split(".")[0] == "symgnn")
    return {parts[1] if len(parts) > 1 and parts[1] in rooms else FACE for parts in inside}


def violations(package: Path) -> list[str]:
    """Every import of the package that goes up, sideways or to a room the plan does not have."""
    modules = {path: room_of(path, package) for path in sorted(package.rglob("*.py"))}
    rooms = set(modules.values()) - {FACE}
    found = [f"{room} is a room without a place in the plan" for room in sorted(rooms - HEIGHT.keys())]
    for path, room in modules.items():
        others = imported_rooms(path.read_text(encoding="utf-8"), rooms | HEIGHT.keys()) - {room}
        up = {other for other in others & HEIGHT.keys() if HEIGHT[other] >= HEIGHT.get(room, len(LINES))}
        found += [f"{path.relative_to(package)}: {room} must not import {other}" for other in sorted(up)]
    return found


def third_party() -> dict[Path, set[str]]:
    """Top-level names of what each module of the package imports from outside it and the standard library."""
    own = sys.stdlib_module_names | {"symgnn"}
    return {
        path: {name.split(".")[0] for name in imported_names(path.read_text(encoding="utf-8"))} - own
        for path in PACKAGE.rglob("*.py")
    }


def test_imports_go_one_way():
    assert not violations(PACKAGE)


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("nn/joint.py", "from symgnn.skeleton import joint_graph", "nn must not import skeleton"),
        ("nn/joint.py", "import symgnn.models.backbone", "nn must not import models"),
        ("data/store.py", "from symgnn import models", "data must not import models"),
        ("data/store.py", "def load():\n    from symgnn.training import fit", "data must not import training"),
        ("config.py", "from symgnn.types import Motion", "config must not import types"),
        ("viz/body.py", "from symgnn import load", f"viz must not import {FACE}"),
        ("helpers.py", "", "helpers is a room without a place in the plan"),
        (
            "models/backbone.py",
            "from symgnn.nn import Block\nfrom symgnn.skeleton import load_layout\nfrom torch import nn",
            None,
        ),
        ("models/backbone.py", "from symgnn.models.heads import Head\nfrom symgnn import types", None),
    ],
)
def test_the_rule_itself(tmp_path: Path, module: str, source: str, expected: str | None):
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(source, encoding="utf-8")
    found = violations(tmp_path)
    assert not found if expected is None else len(found) == 1 and found[0].endswith(expected)


def test_config_and_errors_need_no_torch():
    for module, allowed in (("errors", set()), ("config", {"pydantic", "yaml"})):
        assert third_party()[PACKAGE / f"{module}.py"] <= allowed


def test_only_training_imports_lightning():
    users = {room_of(path, PACKAGE) for path, names in third_party().items() if names & LIGHTNING}
    assert users <= {"training"}


def test_nothing_but_training_loads_lightning():
    """All of load, predict and the command line: every room but training, and experiments, which runs it."""
    modules = [
        ".".join(("symgnn", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if room_of(path, PACKAGE) not in {"training", "experiments", "__main__"}
    ]
    program = f"""
        import importlib, sys
        for module in {modules!r}:
            importlib.import_module(module)
        assert "torch" in sys.modules
        print(*sorted({LIGHTNING!r} & sys.modules.keys()))
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"], *project["optional-dependencies"]["export"]]
    declared = {normal(re.split(r"[^\w.-]", line)[0]) for line in wanted}
    distributions = importlib.metadata.packages_distributions()
    for path, names in third_party().items():
        for name in names:
            owners = {normal(owner) for owner in distributions.get(name, ())}
            assert owners & declared, f"{path.relative_to(PACKAGE)} imports {name}, which pyproject.toml does not ask for"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
