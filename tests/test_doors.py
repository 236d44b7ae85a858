"""The seven doors of the house: who may import what, what works with a framework absent, and how small the protocol is.

Doors 1 to 4 and 6 are read from the source of every file, lazy imports too; door 5 hides a framework in a subprocess.
"""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import mlxworld

ROOT = Path(__file__).parent.parent
STANDARD = set(sys.stdlib_module_names)
FRAMEWORKS = {"mlx", "torch"}
LEAVES = {
    "mlxworld.configs",
    "mlxworld.errors",
    "mlxworld.limits",
    "mlxworld.families",
    "mlxworld.training.turn",
}  # numpy
FILES_LEAVES = ("atomic", "checkpoint", "quantized", "reading", "shards", "tensor_file", "weights")
LEAVES |= {f"mlxworld.files.{leaf}" for leaf in FILES_LEAVES}
PROTOCOL = {f"mlxworld.{file}" for file in ("nn", "ops", "random", "engine")}
PROTOCOL |= {f"mlxworld.backend.{file}" for file in ("arrays", "distributed", "optim", "quantize", "count", "trainer")}
FILES = sorted(
    p.relative_to(ROOT).as_posix()
    for d in ("mlxworld", "torch_backend", "apps", "convert")
    for p in (ROOT / d).rglob("*.py")
)


def imports(path: str, source: str) -> set[str]:
    """Every name that a file imports, anywhere in it, absolute: `from ..nn import Linear` gives mlxworld.nn.Linear."""
    package, names = path.removesuffix(".py").split("/")[:-1], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def may_import(path: str, name: str) -> bool:
    """Whether a file of the house may import `name`: doors 1, 2, 3, 4 and 6."""
    top, file = name.split(".")[0], path.removesuffix(".py").replace("/", ".")
    if path.startswith("mlxworld/models/"):  # door 1
        inside = within(
            name, "mlxworld.models", "mlxworld.configs", *(f"mlxworld.{m}" for m in ("nn", "ops", "random"))
        ) or (path == "mlxworld/models/__init__.py" and within(name, "mlxworld.families"))
        return top in STANDARD - {"importlib"} or inside
    if file in PROTOCOL:  # door 2, MLX
        return top in STANDARD | {"numpy", "mlx", "ml_dtypes"} or within(
            name, "mlxworld.backend.blas", *PROTOCOL, *LEAVES
        )
    if path.startswith("torch_backend/"):  # door 2, PyTorch and what it brings along
        own = {"numpy", "torch", "torchao", "triton", "torch_backend", "ml_dtypes"}
        return top in STANDARD | own or within(name, *LEAVES)
    if path.startswith("apps/"):  # door 6
        public = any(within(name, f"mlxworld.{public}") for public in mlxworld.__all__)
        return (
            top not in FRAMEWORKS | {"mlxworld", "torch_backend", "convert"}
            or public
            or name in ("mlxworld", "mlxworld.cli.entry")
        )
    if path.startswith("convert/"):  # door 4
        return True
    if within(file, *LEAVES):
        return top in STANDARD | {"numpy", "safetensors", "ml_dtypes"} or within(name, *LEAVES)
    # Doors 3 and 4: all else in mlxworld takes a backend as a value. mlx.data is a loader, not the framework.
    return within(name, "mlx.data") or not within(name, *FRAMEWORKS, "torch_backend", "mlxworld.models", *PROTOCOL)


def broken(path: str, source: str) -> list[str]:
    return sorted(name for name in imports(path, source) if not may_import(path, name))


@pytest.mark.parametrize("path", FILES)
def test_doors_1_2_3_4_6_imports(path):
    assert not broken(path, (ROOT / path).read_text())


PLANTED = [
    ("mlxworld/models/openworld/x.py", "import mlx.core as mx"),
    ("mlxworld/models/openworld/x.py", "def f():\n    from mlxworld.engine import Trainer"),
    ("mlxworld/models/x.py", "import numpy"),
    ("mlxworld/models/x.py", "from ..engine import Trainer"),
    ("mlxworld/ops.py", "import torch"),
    ("mlxworld/engine.py", "from .models import blocks"),
    ("torch_backend/engine.py", "from mlxworld import ops"),
    ("torch_backend/graphs.py", "import mlx.core"),
    ("mlxworld/data/x.py", "def f():\n    import torch.utils.data"),
    ("mlxworld/evaluate/x.py", "from ..ops import stack"),
    ("mlxworld/train.py", "import torch_backend"),
    ("mlxworld/play/world.py", "from ..models.openworld import model"),
    ("mlxworld/files/checkpoint.py", "from ..play.world import World"),
    ("apps/play/x.py", "from mlxworld.play.world import World"),
    ("apps/play/x.py", "import torch"),
]


@pytest.mark.parametrize(("path", "source"), PLANTED)
def test_the_doors_shut(path, source):
    assert broken(path, source)


def test_door_4_both_frameworks_only_lazily():
    for path in (p for d in ("convert", "tests") for p in (ROOT / d).rglob("*.py")):
        top: list[ast.stmt] = [
            n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        seen = {name.split(".")[0] for name in imports(path.name, ast.unparse(ast.Module(top, [])))}
        assert not seen >= FRAMEWORKS, f"{path.name} imports both frameworks when it is imported"


HIDE = '''
import importlib, pkgutil, sys
class Hide:
    """A finder of modules that never finds the hidden ones, as if they were not installed."""
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {hidden} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Hide, sys.meta_path)
import mlxworld
def every(package, but=()):
    but = (*but, "mlxworld.convert")  # which sees both
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and not any((found.name + ".").startswith(b + ".") for b in but):
            importlib.import_module(found.name)
'''


def run(hidden: set[str], code: str) -> str:
    script = HIDE.format(hidden=hidden or "{''}") + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_door_5_importing_mlxworld_imports_no_framework():
    assert run(set(), "print({'mlx', 'torch', 'numpy', 'torch_backend'} & set(sys.modules))").strip() == "set()"


def test_door_5_without_any_framework():
    mlx_side = sorted({*PROTOCOL, "mlxworld.models"})
    out = run(
        FRAMEWORKS,
        f"every(mlxworld, but={mlx_side})\n"
        "assert mlxworld.installed() == []\n"
        "for name in mlxworld.BACKENDS:\n"
        "    try: mlxworld.on(name)\n"
        "    except mlxworld.MlxworldError as error: print(error)\n",
    )
    assert all("is not installed: pip install" in line for line in out.splitlines()) and len(out.splitlines()) == 2


FORWARD = """
backend = mlxworld.on({name!r})
assert mlxworld.installed() == [{name!r}]
every({package}, but=["torch_backend.decoding_triton", "torch_backend.threefry_triton"])  # triton is CUDA's
x = backend.random.normal(backend.random.key(7), (2, 8))
y = backend.nn.Linear(8, 4)(x)
assert backend.engine.numpy(y).shape == (2, 4)
assert {other!r} not in sys.modules
slow = {{"torch._dynamo", "torch.distributed.fsdp"}} & set(sys.modules)
assert not slow, f"imported, and not needed yet: {{slow}}"
"""


@pytest.mark.parametrize(
    ("name", "other", "package"), [("mlx", "torch", "mlxworld"), ("torch", "mlx", "torch_backend")]
)
def test_door_5_one_backend_without_the_other(name, other, package):
    """All of a backend's package imports, every model file included, and runs, the other framework being absent; and
    PyTorch's compiler, a second of every start, only where something is compiled."""
    run({other}, f"import {package}\n" + FORWARD.format(name=name, other=other, package=package))


def test_door_7_every_op_is_used_by_a_model_and_models_call_no_other():
    from mlxworld import ops

    used = set()
    for path in (ROOT / "mlxworld/models").rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        used |= {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "ops"}
    assert used == set(ops.__all__)


def model_classes() -> list[tuple[str, ast.ClassDef]]:
    paths = sorted((ROOT / "mlxworld/models").rglob("*.py"))
    trees = [(path.name, node) for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    return [(name, node) for name, node in trees if isinstance(node, ast.ClassDef)]


def test_no_model_uses_a_reserved_name():
    """MLX's Module is a dict, torch's has methods of its own: a child or method named keys or type breaks one."""
    import mlx.nn
    import torch

    reserved = {name for base in (mlx.nn.Module, torch.nn.Module) for name in dir(base) if not name.startswith("_")}
    assert {"keys", "values", "items", "update", "state", "copy", "pop", "get"} <= reserved
    classes = model_classes()
    assert classes
    for file, node in classes:
        if not node.bases:  # no module
            continue
        methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        stored = {
            n.attr
            for n in ast.walk(node)
            if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and ast.unparse(n.value) == "self"
        }
        assert not (methods - {"forward"} | stored) & reserved, f"{file}: {node.name}"


def test_files_stay_short():
    """One concept, one place: no source file over 400 lines."""
    sources = [p for d in ("mlxworld", "torch_backend", "apps", "convert", "tests") for p in (ROOT / d).rglob("*")]
    long = {p.name: n for p in sources if p.suffix in (".py", ".js") and (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_the_tree_names_no_machine():
    """No path of one person's machine, no package registry's host: what is installed from where is pip's business."""
    names = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    places = ["/" + d + "/" for d in ("work", "root", "farm", "opt")] + ["/" + "Users/", "/" + "home/"]
    hosts = ["py" + "pi.org", "python" + "hosted.org", "download." + "pytorch.org", "registry." + "npmjs.org"]
    for path in (ROOT / name for name in names.split("\0") if name):
        if path.exists() and b"\0" not in (data := path.read_bytes())[:8000]:
            found = [word for word in places + hosts if word.encode() in data]
            assert not found, f"{path.relative_to(ROOT)}: {found}"


def test_public_functions_of_the_protocol_are_documented():
    from mlxworld import protocol

    for name, kind in vars(protocol).items():
        if inspect.isclass(kind) and kind.__module__ == protocol.__name__:
            assert kind.__doc__, name
            assert all(f.__doc__ for f in vars(kind).values() if inspect.isfunction(f) and f.__name__[0] != "_"), name
