"""docs/memory.py: the table of a trained run."""

from dataclasses import replace

import pytest

from docs import memory
from mlxworld.data.envs.scenes import tell
from mlxworld.data.pairs.scenes import held_out
from mlxworld.errors import MlxworldError
from mlxworld.text.bytes import Bytes
from mlxworld.text.rows import rows
from tests.translators import SCENES, run_folder


def test_facts_of_the_first_scene_count_and_each_arm_sees_its_clips(tmp_path, monkeypatch):
    run = run_folder(tmp_path / "run", config=replace(SCENES, memory_tokens=2, max_text=160))
    scenes, seen = held_out(9, False), []

    def watched(package, model, source, clips):
        seen.append(clips.shape[:2])
        return len(seen)

    def generate(model, source, arm, letters):  # memory knows the first scenes, at once all but one, no memory none
        own = scenes[::3] if arm == 1 else [scenes[0], scenes[3], scenes[3]] if arm == 2 else scenes[2::3]
        return model._package.engine.array(rows([tell(s) for s in own], letters, Bytes()))

    load = memory.Translator.load

    def loaded(*args):
        translator = load(*args)
        object.__setattr__(translator.model, "_package", translator.package)
        monkeypatch.setattr(type(translator.model), "generate", generate)
        return translator

    monkeypatch.setattr(memory, "watched", watched)
    monkeypatch.setattr(memory.Translator, "load", loaded)
    figures = memory.told(memory.MemoryConfig(world=str(run), clips=3, scenes=3))
    assert seen == [(3, 3), (3, 1), (3, 1)]
    assert figures == {"memory": 1.0, "at once": pytest.approx(2 / 3), "no memory": 0.0, "of another stream": 0.0}


def test_a_run_without_a_memory_is_one_line(tmp_path):
    with pytest.raises(MlxworldError, match=r"was trained without a memory: see --memory\.steps"):
        memory.told(memory.MemoryConfig(world=str(run_folder(tmp_path / "run"))))
    run = run_folder(tmp_path / "with", config=replace(SCENES, memory_tokens=2))
    with pytest.raises(MlxworldError, match="--clips must be at least 2"):
        memory.told(memory.MemoryConfig(world=str(run), clips=1))
    assert set(memory.told(memory.MemoryConfig(world=str(run), clips=2, scenes=2))) == {
        "memory",
        "at once",
        "no memory",
        "of another stream",
    }
