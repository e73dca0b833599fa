"""Which room may import which."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mmseg_domino"
STREET_WORLD = ROOT / "street_world" / "street_world"
HOST = {"mmseg", "mmengine", "mmcv", "mmpretrain", "mmdet"}

#: For each room, the other rooms it may import. ``OPEN`` rooms may be imported from everywhere.
ALLOWED = {
    "utils": set(),
    "metrics": set(),
    "page": set(),
    "domain": set(),
    "weather": set(),
    "inference": {"reporting"},
    "datasets": {"domain", "weather"},
    "models": {"domain"},
    "evaluation": {"reporting"},
    "reporting": set(),
    "synthesis": {"domain", "datasets", "weather"},
    "engine": {"domain", "datasets", "models", "evaluation", "reporting"},
    "apps": {"domain", "datasets", "models", "operators", "reporting", "engine", "synthesis",
             "inference"},
    "detection": {"domain", "datasets", "models", "evaluation", "reporting", "engine"},
    "experiments": {"engine"},
    "operators": set(),
    "cli": {
        "apps", "datasets", "detection", "domain", "engine", "experiments", "inference", "models",
        "reporting",
    },
}  # fmt: skip
#: The same inside ``models``.
MODELS = {
    "kernels": set(),
    "layers": {"kernels"},
    "adapters": {"layers"},
    "diffusion": {"kernels", "layers", "adapters"},
    "backbones": {"layers", "adapters", "diffusion"},
    "necks": {"layers"},
    "heads": {"layers", "backbones"},
}
#: Rooms that know nothing of the host framework.
HOST_FREE = {"utils", "metrics", "page", "domain", "reporting", "weather", "inference"}
OPEN = {"utils", "metrics", "page"}
#: Rooms that do without torch.
NUMPY_ONLY = {"metrics", "page", "reporting", "weather"}
#: Heavy dependencies stay behind these modules.
ADAPTERS = {
    "diffusers": ("models/diffusion/", "models/backbones/vpd", "synthesis/"),
    "timm": ("models/backbones/timm_vit",),
    "mmdet": ("detection/",),
    "pycocotools": ("detection/",),
    "peft": ("models/adapters/lora",),
    "open_clip": (
        "domain/encoder",
        "models/backbones/open_clip_vit",
        "models/diffusion/class_embeddings",
        "models/diffusion/text_towers",
    ),
}


def modules():
    return sorted(
        path for path in PACKAGE.rglob("*.py") if ".mim" not in path.relative_to(PACKAGE).parts
    )


def statements(path: Path):
    """Of every import, wherever in the file: absolute name of the module, and what of it."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield module, [alias.name for alias in node.names]


def imports(path: Path):
    """Absolute names of everything a file imports."""
    for module, names in statements(path):
        yield module
        yield from (f"{module}.{name}" for name in names)


def room_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "mmseg_domino" and len(parts) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path):
    parts = path.relative_to(PACKAGE).parts
    if len(parts) == 1:
        return  # the package's own front door
    room, names = parts[0], set(imports(path))
    used = {room_of(name) for name in names} & set(ALLOWED)
    open_rooms = OPEN if room not in OPEN else {"utils"}
    assert used <= ALLOWED[room] | {room} | open_rooms, f"{room} may not import {used}"
    assert not any(name.split(".")[0] == "tools" for name in names)
    if room in HOST_FREE:
        assert not {name.split(".")[0] for name in names} & HOST
    if room in NUMPY_ONLY:
        assert "torch" not in {name.split(".")[0] for name in names}
    if room == "models" and parts[1] in MODELS:
        own = {name.split(".")[2] for name in names if name.startswith("mmseg_domino.models.")}
        assert own <= MODELS[parts[1]] | {parts[1]}, f"{parts[1]} may not import {own}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_dependencies_stay_behind_their_adapters(path):
    relative = path.relative_to(PACKAGE).as_posix()
    tops = {name.split(".")[0] for name in imports(path)}
    for library, places in ADAPTERS.items():
        assert library not in tops or relative.startswith(places), f"{relative} imports {library}"


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda p: p.name)
def test_tools_use_public_names_only(path):
    for name in (name for name in imports(path) if name.startswith("mmseg_domino")):
        assert not any(part.startswith("_") for part in name.split(".")), name


def test_every_room_is_known():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))}
    assert rooms == set(ALLOWED)


def test_the_map_in_the_docs_is_the_code():
    """The map of ``docs/design.md`` names every room once, and imports go down its lines."""
    table = (ROOT / "docs" / "design.md").read_text().split("## The map")[1].split("\n\n")[2]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    line_of = {}
    for line, cell in enumerate(cells):
        for room in re.findall(r"`(\w+)/`", cell):
            assert room not in line_of, f"{room} is on the map twice"
            line_of[room] = line
    assert len(cells) == 10
    assert set(ALLOWED) <= set(line_of)
    assert all((ROOT / room).is_dir() for room in set(line_of) - set(ALLOWED))
    for room, others in ALLOWED.items():
        above = {other for other in others if line_of[other] <= line_of[room]}
        assert not above, f"{room} imports {above}, which the map does not have below it"


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count: they hide a circle and do not open it."""
    names = {}
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {module: set() for module in names}
    for module, path in names.items():
        for used, parts in statements(path):
            # what is imported of a room may be one of its modules
            inside = {f"{used}.{part}" for part in parts}
            graph[module] |= inside & set(names)
            if used in names and (not parts or inside - set(names)):
                graph[module].add(used)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    "path", sorted(STREET_WORLD.rglob("*.py")), ids=lambda p: str(p.relative_to(STREET_WORLD))
)
def test_the_street_world_stands_alone(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {*HOST, "mmseg_domino", "benchmarks", "tests"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_needs_neither_street_world_nor_benchmarks(path):
    """But for the command that makes the street world, which says how to install it."""
    tops = {name.split(".")[0] for name in imports(path)}
    allowed = {"street_world"} if path.relative_to(PACKAGE).as_posix() == "cli/data.py" else set()
    assert not (tops & {"street_world", "benchmarks", "tests", "tools"}) - allowed
