"""The rooms of the package: imports go one way, and only one folder touches the file system."""

from __future__ import annotations

import ast
from pathlib import Path

import hierstore

PACKAGE = Path(hierstore.__file__).parent

# Each room may import from those before it, and from itself.
ROOMS = [
    {"errors", "clock", "naming", "values", "model", "reports", "sums", "history", "words", "pages"},
    {"log"},
    {"disk"},
    {
        "view", "tree", "snapshots", "forks", "trash", "purge", "check", "drafts", "turns", "settings", "links",
        "routes", "sharing", "shared", "placing", "compaction", "retention", "repair",
        "census", "diagnosis", "health", "listing", "search", "sizes", "statistics", "telling", "departed", "following", "watching",
    },
    {"transfer"},
    {"session"},
    {"looking"},
    {"keeping"},
    {"store"},
    {"__init__"},
    {"cli", "__main__"},
]  # fmt: skip


def _room(module: str) -> int:
    name = module.split(".")[1] if "." in module else "__init__"
    return next(number for number, names in enumerate(ROOMS) if name in names)


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def _imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_go_one_way() -> None:
    modules = _modules()
    assert len(modules) > 20
    for module, tree in modules.items():
        for name in _imports(tree) & modules.keys():
            # "from hierstore import clock" names the package too; what it takes from there is judged by itself.
            if name != "hierstore" or _room(module) > _room("hierstore"):
                assert _room(name) <= _room(module), f"{module} imports {name}"


def test_only_the_disk_room_and_the_command_touch_the_file_system() -> None:
    for module, tree in _modules().items():
        if module.startswith(("hierstore.disk", "hierstore.cli")):
            continue
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        touching = {call for call in calls if call == "open" or call.startswith(("os.open", "os.stat", "os.rename"))}
        assert not touching, f"{module} calls {touching}"


def test_the_log_room_does_no_io() -> None:
    for module, tree in _modules().items():
        if module.startswith("hierstore.log") or module in ("hierstore.model", "hierstore.values", "hierstore.naming"):
            assert not _imports(tree) & {"os", "io", "pathlib", "threading", "time", "hierstore.disk"}, module


def test_every_public_name_is_exported_and_documented() -> None:
    for name in hierstore.__all__:
        value = getattr(hierstore, name)
        assert value.__doc__, name


def test_modules_and_functions_stay_small() -> None:
    for module, tree in _modules().items():
        lines = max((getattr(node, "end_lineno", 0) for node in ast.walk(tree)), default=0)
        assert lines <= 500, f"{module} has {lines} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f"{module}.{node.name}"
