"""What a person installs: a Mac can, from wheels alone; the pins are what is tested; no file stays behind."""

import ast
import importlib.metadata
import itertools
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from mlxworld.cli import VERBS
from tests.play.small_world import small_world

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGES = WHEEL["packages"] + list(WHEEL["force-include"])
EXTRAS = PROJECT["project"]["optional-dependencies"]
MAC_EXTRAS = sorted(set(EXTRAS) - {"mlx-cuda"})


def dist(requirement: str) -> str:
    """The normalised name of a requirement: "mlx[cpu]>=0.32" is mlx."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+", line) for line in lines), "a pin is NAME==VERSION, nothing else"
    return dict(line.split("==") for line in lines)


def resolving(python: str, *options: str) -> subprocess.Popen:
    """Asks what `pip install` would choose on a Mac with Apple silicon, macOS 14 and wheels only."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"]
    command += ["--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    target = ["--python-platform", "aarch64-apple-darwin", "--python-version", python]
    env, pipe = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}, subprocess.PIPE
    return subprocess.Popen([*command, *target, *options], cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture(scope="module", autouse=True)
def resolutions():
    """For each version of Python what is chosen without extras, and with all of them: asked for when the first test of
    this file begins, since a registry takes its time, and read by the last."""
    everything = [word for extra in MAC_EXTRAS for word in ("--extra", extra)]
    cases = [(python, o) for python in ("3.11", "3.12", "3.13") for o in ([], [*everything, "-c", "constraints.txt"])]
    processes: dict[str, list[subprocess.Popen]] = {python: [] for python, _ in cases}
    for python, options in cases:
        processes[python].append(resolving(python, *options))
    yield processes
    for process in itertools.chain(*processes.values()):
        process.kill()
        process.communicate()


def test_the_pins_are_what_is_tested():
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}  # not what setuptools brings for itself
    distributions = importlib.metadata.distributions(path=list(paths))
    installed = {dist(d.name): d.version.split("+")[0] for d in distributions}
    differ = {name: (pin, installed[name]) for name, pin in pins().items() if installed.get(name, pin) != pin}
    assert not differ, f"make pins; pinned and installed: {differ}"
    asked = {dist(r) for extra in MAC_EXTRAS for r in EXTRAS[extra]} | {
        dist(r) for r in PROJECT["project"]["dependencies"]
    }
    assert asked <= set(pins()), "a dependency has no pin"


def test_whatever_the_packages_import_is_declared():
    declared = {dist(r) for r in [*PROJECT["project"]["dependencies"], *(r for e in EXTRAS.values() for r in e)]}
    provided = importlib.metadata.packages_distributions()
    missing = set()
    for path in (p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {*WHEEL["packages"]}:
                if not declared & {dist(d) for d in provided.get(top, [top])}:
                    missing.add(f"{path.relative_to(ROOT)}: {top}")
    kernels = ("decoding", "threefry")
    assert missing <= {f"torch_backend/{name}_triton.py: triton" for name in kernels}  # it comes with PyTorch for CUDA


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_ships_every_file_in_two_packages(wheel):
    shipped = set(zipfile.ZipFile(wheel).namelist())
    places = {package: package for package in WHEEL["packages"]} | WHEEL["force-include"]
    files = {
        (place, p.relative_to(ROOT / source))
        for source, place in places.items()
        for p in (ROOT / source).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {name for name in shipped if ".dist-info/" not in name} == {f"{place}/{p.as_posix()}" for place, p in files}
    assert any(name.endswith("licenses/LICENSE") for name in shipped)
    assert {name.split("/")[0] for name in shipped if ".dist-info/" not in name} == {"mlxworld", "torch_backend"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with apps and convert of its own, as a Django project has, and the wheel installed elsewhere: run(...)
    runs a command there."""
    folder, site = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    for name in ("apps", "apps/play", "convert", "parts"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('of another project')")
    small_world(folder / "small")

    def run(*argv: str) -> subprocess.CompletedProcess:
        env = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": ""}  # one compiles for those after it
        done = subprocess.run([sys.executable, *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{argv}: {done.stderr[-2000:]}"
        return done

    assert str(site) in run("-c", "import mlxworld; print(mlxworld.__file__)").stdout
    return run


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_works_from_the_wheel_beside_modules_of_its_names(installed, verb):
    for argv in (["-m", "mlxworld", verb], ["-c", "from mlxworld.cli import run; run()", verb]):
        assert "usage:" in installed(*argv, "--help").stdout


def test_the_converters_work_from_the_wheel(installed):
    """Files that lie beside each other in the checkout do so there."""
    installed("-m", "mlxworld", "convert", "weights", "small", "small-q8", "--to", "mlx-q8")
    flags = ["--world", "small-q8", "--part", "decoder", "--precision", "fp16"]
    installed("-m", "mlxworld", "convert", "coreml", *flags, "--out", "small.mlpackage")
    installed("-c", "import os; assert os.path.exists('small.mlpackage/Manifest.json')")


def test_a_python_too_old_is_one_line(tmp_path):
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "play", "PYTHON="],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "mlxworld: needs Python 3.11 or newer; found" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_mac_can_install_it(resolutions):
    for python, processes in resolutions.items():
        chosen = []
        for process in processes:
            said, errors = process.communicate(timeout=180)
            if "error sending request" in errors:
                pytest.skip("no package registry within reach")
            assert process.returncode == 0, f"Python {python}: {errors}"
            chosen.append(dict(line.split("==") for line in said.split()))  # name -> version
        base, full = chosen
        assert "mlx-metal" in base and "torch" not in base, "MLX is the one backend that a Mac gets by default"
        assert {"ale-py", "coremltools", "vizdoom", "pymunk"} <= set(full)
        assert full["torch"] == pins()["torch"] and full["mlx"] == pins()["mlx"]
