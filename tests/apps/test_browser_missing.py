"""On a machine without a browser its tests skip, and what they began is ended: later tests run as if alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AFTER = """
import asyncio

def test_a_loop_can_run():
    asyncio.run(asyncio.sleep(0))
"""
MISSING = {
    "Chromium": {"PATH": "/nowhere"},
    "what Playwright's driver needs": {"PLAYWRIGHT_NODEJS_PATH": "/nowhere/node"},
}


@pytest.mark.parametrize("environment", MISSING.values(), ids=MISSING)
def test_without_it_tests_skip_and_leave_nothing_running(environment, tmp_path):
    (tmp_path / "test_after.py").write_text(AFTER)
    env = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    browser = str(ROOT / "tests/apps/test_browser.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", browser, str(tmp_path / "test_after.py")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0 and "1 passed" in last and "skipped" in last and "failed" not in last, done.stdout[
        -3000:
    ]
    assert "needs Chromium" in done.stdout
