"""Commands and code of the pages in docs/ are such as there are."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import tyro

from mlxworld import new
from mlxworld.cli import VERBS

DOCS = Path(__file__).parents[1] / "docs"
TEACH = (DOCS / "teach.md").read_text()
COMMANDS = [line.split("#")[0].strip() for line in TEACH.splitlines() if re.match(r"    mlxworld ", line)]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    name, verb, *flags = shlex.split(command)
    assert name == "mlxworld" and verb in VERBS
    if verb == "new":
        cfg = tyro.cli(new.NewConfig, args=flags)
        new.check(cfg)
        assert cfg.env is None or new.environment(cfg.env).partition(":")[0] in ("gym", "atari", "doom")


@pytest.mark.parametrize("page", ["teach.md", "generate.md"])
def test_code_is_python_and_calls_what_there_is(page):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
    named = {env.split(":")[2] for env in re.findall(r"gym:\w+:[\w-]+", TEACH)}
    assert all(f'gymnasium.register("{name}"' in TEACH for name in named)
