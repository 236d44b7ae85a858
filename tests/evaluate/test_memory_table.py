"""docs/memory.py: the table of a trained run."""

import json
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


def test_one_command_trains_on_told_scenes_and_measures(tmp_path, monkeypatch, capsys):
    sizes = ("config.hidden-dim=32", "config.num-layers=1", "config.max-text=24", "joint.batch=2", "memory.batch=3")
    argv = ["--train", str(tmp_path / "run"), "--preset", "nano", "--steps", "1", "--clips", "3", "--scenes", "2"]
    monkeypatch.setattr("sys.argv", ["memory", *argv, "--flags", *sizes, "--out", str(tmp_path / "table.json")])
    memory.main()
    figures = json.loads((tmp_path / "table.json").read_text())
    assert set(figures) == {"memory", "at once", "no memory", "of another stream"}
    assert json.loads(capsys.readouterr().out) == figures
    about = json.loads((tmp_path / "run/config.json").read_text())
    assert {n: k for n, k in about["card"]["steps"].items() if k} == {"joint": 1, "memory": 1}
    assert about["model"]["memory_tokens"] == 8
    monkeypatch.setattr(memory.training, "main", lambda *_: pytest.fail("what is done is trained again"))
    memory.main()


def test_minutes_are_of_all_and_a_stopped_training_goes_on(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(memory.training, "main", given.append)
    cfg = memory.MemoryConfig(train=tmp_path, minutes=10.0)
    memory.trained(cfg)
    (tmp_path / "checkpoint.safetensors").touch()
    memory.trained(cfg)
    assert given[1] == [*given[0], "--resume"]
    parsed = memory.training.parse(given[0])
    parsed.check()
    assert parsed.minutes == 10 - memory.MEASURING and parsed.to == ("text",)  # type: ignore[attr-defined]
    shares = {name: s.share for name, s in parsed.resolved(True).stages() if name in ("joint", "memory")}
    assert shares == {"joint": 1.0, "memory": 3.0}
