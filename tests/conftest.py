"""How every test runs: float32 on the CPU, reduced precision and compilers off, few threads; on CI no test may skip.

The variables are set before either framework is imported, and are inherited by the tests' subprocesses. With
MLXWORLD_TEST_DEVICE=gpu tests run on the GPU, compiled, as worlds do: meant for tests/models, above all for its
test_cuda.py and test_metal.py, which skip elsewhere.
"""

import gc
import os

SETTINGS = {
    "MLXWORLD_DEVICE": "cpu",
    "MLX_ENABLE_TF32": "0",
    "MLX_DISABLE_COMPILE": "1",  # one compiled test lifts it in a subprocess of its own
    "OMP_NUM_THREADS": "1",
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
}
if os.environ.get("MLXWORLD_TEST_DEVICE") == "gpu":
    SETTINGS = {
        name: value for name, value in SETTINGS.items() if name not in ("MLXWORLD_DEVICE", "MLX_DISABLE_COMPILE")
    }
os.environ.update(SETTINGS)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

LONGEST = (
    *("tests/convert/test_coreml.py", "tests/families/test_families.py", "tests/convert/test_coreai.py"),
    *("tests/training/test_budget.py", "tests/test_install.py", "tests/training/test_resume.py"),
    *("tests/apps/test_browser_changes.py", "tests/apps/test_hostile.py", "tests/golden/test_goldens.py"),
    *("tests/models/test_compiled.py", "tests/training/test_distributed.py", "tests/protocol/test_engine.py"),
)

settings.register_profile("mlxworld", deadline=None, derandomize=True, max_examples=25, database=None)
settings.load_profile("mlxworld")


@pytest.fixture(scope="session", autouse=True)
def few_threads():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(params=["mlx", "torch"])
def backend(request):
    """Each backend in turn: the package whose `nn`, `ops`, `random`, `engine` and `models` run on it."""
    import mlxworld

    return mlxworld.on(request.param)


def pytest_collection_modifyitems(items):
    """The files that take longest come first, and so no worker is left alone with one at the end."""
    order = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.location[0], len(order)))


def pytest_collection_finish():
    """What was imported stays: no collection of garbage looks through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """On CI a skip is a failure, except those marked `platform`: what this operating system or chip cannot have."""
    report = (yield).get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail") and "platform" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped on CI: {call.excinfo and call.excinfo.value}"


def pytest_configure(config):
    config.addinivalue_line("markers", "platform: skips where the operating system or chip lacks what it tests (a GPU)")


def pytest_collectreport(report):
    """A module that skips itself whole (importorskip) is a failure on CI too."""
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} skipped on CI: {report.longrepr[-1]}"
