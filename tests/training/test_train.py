"""A training from the dataset to a world that plays: its files, its curriculum, its errors."""

import dataclasses
import errno
import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import mlxworld
from mlxworld import train
from mlxworld.data import open_frames, read_clip
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.play import encode
from mlxworld.training import latents
from mlxworld.training import run as runs
from mlxworld.training.run import Run
from mlxworld.training.stage import phases
from tests.data.episodes.films import camera_film, moving
from tests.training import tiny
from tests.training.test_monitor import scalars


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return tiny.dots(tmp_path_factory.mktemp("data") / "dots")


def argv(data, out, **changed) -> list[str]:
    return ["--data", str(data), "--out", str(out), *tiny.argv(**{"backend": "torch", **changed})]


SHORT = {"tokenizer.steps": 2, "dynamics.steps": 2, "forcing.steps": 2}


@pytest.fixture(scope="module")
def run(dots, tmp_path_factory):
    """A whole training, watched: its folder, the worlds as each checkpoint left them, what reached the trainers."""
    out, cards, made, given = tmp_path_factory.mktemp("runs") / "tiny", [], [], []
    torch = mlxworld.on("torch")

    class Trainer(torch.engine.Trainer):
        def __init__(self, model, turns, **options):
            super().__init__(model, turns, **options)
            made.append(options)
            self.peak = turns[0].optim.lr

        def step(self, batch, seed, rate):
            given.append((len(made), {n: tuple(x.shape) for n, x in batch.items()}, seed, rate * self.peak))
            return super().step(batch, seed, rate)

    def save(self, *args):
        original(self, *args)
        if len(cards) % 4 == 0:  # the first, the last, and some of each stage
            world = mlxworld.World.load(out, backend="torch")
            world.reset(seed=1)
            frame = world.step("up")
            assert frame.video.shape == (tiny.SIZE, tiny.SIZE, 3) and np.isfinite(frame.audio).all()
        cards.append(json.loads((out / "config.json").read_text())["card"])

    original = Run.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.engine, "Trainer", Trainer)
        patch.setattr(Run, "save", save)
        changed = {"dynamics.accumulate": 2, "forcing.accumulate": 4, "precision": "bfloat16"}
        train.main(argv(dots, out, **changed, **{"save-minutes": 0, "forcing.lr": 5e-5}))
    return SimpleNamespace(out=out, cards=cards, made=made, given=given)


def test_the_world_plays_at_its_checkpoints_and_its_card_tells_its_training(run):
    assert len(run.cards) == 6 + 6 + 4 + 1
    data = {"source": "dots", "frames": 70, "episodes": 2, "hours": round(70 / tiny.FPS / 3600, 3), "aspect": 1}
    steps = {"tokenizer": 6, "dynamics": 6, "forcing": 4}
    where = {"backend": "torch", "device": "cpu", "precision": "bfloat16", "preset": "nano-64"}
    last = run.cards[-1]
    assert last.pop("hours") >= 0
    assert last == {"data": data, "licence": "CC0-1.0", "steps": steps, **where}
    assert run.cards[7]["steps"] == {"tokenizer": 6, "dynamics": 2, "forcing": 0}
    names = {"config.json", "model.safetensors", "starts.safetensors", "train.json", "checkpoint.safetensors"}
    assert {p.name for p in run.out.iterdir()} == names | {"latents.npy", "samples", "events", "progress.html"}


def test_every_setting_of_a_stage_reaches_the_trainer(run):
    common = {"precision": "bfloat16", "compile": False, "sharded": False}
    assert run.made == [{"accumulate": n, **common} for n in (1, 2, 4)]
    shapes = [(i, given.get("video", given.get("z"))[:2]) for i, given, _, _ in run.given]
    assert shapes == [(1, (2, 4))] * 6 + [(2, (4, 4))] * 3 + [(2, (4, 6))] * 3 + [(3, (4, 6))] * 4
    dreams = [given.get("dream") for _, given, _, _ in run.given]
    assert dreams == [None] * 12 + [given["z"] for _, given, _, _ in run.given[12:]]
    assert len({seed for _, _, seed, _ in run.given}) == 16, "each step has noise of its own"
    assert [max(lr for i, _, _, lr in run.given if i == n) for n in (1, 2, 3)] == [1e-3, 1e-3, 5e-5]


def test_samples_show_real_above_and_dream_below_with_sound(run, dots):
    video, audio = read_clip(run.out / "samples/final.mp4", None, tiny.FPS, tiny.S)
    assert video.shape == (40, 2 * tiny.SIZE, tiny.SIZE, 3) and audio.shape == (40, tiny.S) and audio.any()
    real = open_frames(dots, size=tiny.SIZE).video[:40].astype(int)
    assert np.abs(video[:, : tiny.SIZE] - real).mean() < 3 < np.abs(video[:, tiny.SIZE :] - real).mean()
    with av.open(str(run.out / "samples/final.mp4")) as file:
        assert len(file.streams.audio) == 1
    with Image.open(run.out / "samples/final.png") as strip:
        assert strip.width > 10 * tiny.SIZE and strip.height > 4 * tiny.SIZE


def test_tensorboard_reads_losses_rates_and_the_curriculum(run):
    found = scalars(run.out / "events")
    assert {"tokenizer/loss", "tokenizer/pixel", "dynamics/flow", "dynamics/grad_norm", "forcing/lr"} <= set(found)
    assert {"dynamics/shortcut", "forcing/shortcut"} <= set(found), "in parts of two clips and of one, too"
    assert found["dynamics/part"] == [(7, 0), (8, 0), (9, 0), (10, 1), (11, 1), (12, 1)]
    assert [step for step, _ in found["forcing/loss"]] == [13, 14, 15, 16]
    assert all(0 <= share < 1 for stage in ("tokenizer", "dynamics") for _, share in found[f"{stage}/wait"])


def test_the_loop_waits_for_the_device_at_log_steps_only(dots, tmp_path, monkeypatch):
    read, events = [], []
    monkeypatch.setattr(Run, "_correct", lambda *_: None)
    engine = mlxworld.on("torch").engine
    numpy = engine.numpy
    monkeypatch.setattr(Run, "_report", lambda self, name, step, pending, _: read.append((name, step, len(pending))))
    monkeypatch.setattr(Run, "_keep", lambda *_: None)
    monkeypatch.setattr(Run, "_sample", lambda *_: None)
    monkeypatch.setattr(engine, "numpy", lambda x: (events.append(f"waits after {len(read)} reports"), numpy(x))[1])
    monkeypatch.setattr(engine.Trainer, "step", lambda self, *_: events.append("step"))
    train.main(argv(dots, tmp_path / "out", **{"log-steps": 4}))
    assert read == [
        *(("tokenizer", 4, 4), ("tokenizer", 6, 2), ("dynamics", 3, 3), ("dynamics", 4, 1), ("dynamics", 6, 2)),
        ("forcing", 4, 4),
    ]
    first, last = events.index("step"), len(events) - events[::-1].index("step")
    waits = {event for event in events[first:last] if event != "step"}
    assert waits == {"waits after 2 reports", "waits after 5 reports"}, "between the stages, when a part is done"


def test_on_a_gpu_mlx_dreams_with_the_weights_of_now(monkeypatch):
    """What is compiled keeps the weights of its first call, unless it is told whose they are."""
    import mlx.core as mx

    mlx = mlxworld.on("mlx")
    monkeypatch.setattr(mlx.engine, "device", lambda: "metal")
    layer, x = mlx.nn.Linear(2, 2), mx.ones((1, 2))
    mx.enable_compile()
    try:
        fixed = mlx.engine.fixed(lambda x: layer(x), layer)
        for weight in (1.0, 2.0):
            layer.weight = mx.full((2, 2), weight)
            assert mx.allclose(fixed(x), 2 * weight + layer.bias)
    finally:
        mx.disable_compile()


def test_the_curriculum_covers_every_step_once():
    assert phases(3, 10) == [(0, 4), (4, 7), (7, 10)]
    assert phases(3, 2) == [(0, 1), (1, 2), (2, 2)]


def test_a_dataset_is_encoded_as_if_at_once(dots, tmp_path, monkeypatch, backend):
    """Chunks see as much of the past as their latents depend on, and nothing of another episode."""
    monkeypatch.setattr(encode, "CHUNK", 8)
    cfg = train.parse(argv(dots, tmp_path))
    cache = open_frames(dots, size=tiny.SIZE)
    for memory, columns in ((4, 4), (1, 1)):
        vision = dataclasses.replace(cfg.config.vision, temporal_window=memory)
        audio = dataclasses.replace(cfg.config.audio, columns=columns)
        model_config = dataclasses.replace(cfg.config, vision=vision, audio=audio)
        model_config = model_config.fitted(cache.info.actions, tiny.FPS, cache.info.sample_rate, tiny.S)
        model_config = dataclasses.replace(model_config, audio=audio)
        kind = importlib.import_module(f"{backend.__name__}.models.openworld.model").TransformerWorldModel
        model = kind(model_config).init(backend.random.key(0))
        z = latents.encode_dataset(backend, model, cache, tmp_path / "latents.npy")
        for first, last in cache.spans():
            rows = np.arange(first, last)
            whole = encode.encode_window(backend, model, cache.video[rows], cache.sound(rows))
            np.testing.assert_allclose(z[first:last].astype(np.float32), whole, atol=2e-3)


def test_clips_longer_than_the_angles_period_are_trained_on(dots, tmp_path, backend):
    """No frame sees a period back."""
    long = {"dynamics.steps": 1, "dynamics.frames": (20,), "forcing.steps": 0, "tokenizer.steps": 1}
    name = "mlx" if backend.__name__ == "mlxworld" else "torch"
    train.main(argv(dots, tmp_path / "out", **long, **{"backend": name, "config.dynamics.period": 8}))
    assert scalars(tmp_path / "out/events")["dynamics/flow"][0][1] > 0


def test_videos_without_sound_and_without_actions(tmp_path):
    (tmp_path / "films").mkdir()
    for i in range(2):
        camera_film(tmp_path / f"films/{i}.mp4", moving(40, (64, 64), i), 30)
    train.main(argv(tmp_path / "films", tmp_path / "out", **SHORT))
    world = mlxworld.World.load(tmp_path / "out", backend="torch")
    world.reset()
    assert world.actions == ("noop",) and np.isfinite(world.step(0).audio).all()


def test_a_named_dataset_is_recorded_first_and_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    part = tmp_path / "data/.bounce.part"
    part.mkdir(parents=True)
    (part / "left.txt").touch()  # by a recording that was killed
    changed = {"record-steps": 40, "dynamics.steps": 0, "forcing.steps": 0, "physics.steps": 0, "tokenizer.steps": 1}
    train.main(argv("bounce", "runs/x", **changed))
    assert len(open_frames("data/bounce").actions) >= 40 and not part.exists()
    assert mlxworld.World.load("runs/x", backend="torch").actions == ("noop", "left", "right", "up", "down")


def test_a_loss_that_is_not_finite_stops_with_a_checkpoint_to_go_on_from(dots, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(MlxworldError, match=r"loss of dynamics is not finite before step 3: the last good .* lower"):
        train.main(argv(dots, out, **{"dynamics.lr": 1e30, "log-steps": 3}))
    train.main([*argv(dots, out, **{"dynamics.lr": 1e-4, "log-steps": 3}), "--resume"])
    state, _ = checkpoint.load(out / "checkpoint.safetensors")
    assert all(np.isfinite(x).all() for x in state.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_bad_step_stops_float32_and_bfloat16(precision, tmp_path):
    with pytest.raises(MlxworldError, match="before step 6: no checkpoint was saved yet"):
        report(precision, [1, 1, 1, 1, 0, 1], tmp_path)


def test_only_many_bad_steps_in_a_row_stop_float16(tmp_path):
    limit = runs.PATIENCE["float16"]
    shown = report("float16", [0] * (limit - 1) + [1] + [0] * (limit - 1) + [1], tmp_path)
    assert shown[-1] == {"loss": 1.0, "lr": 0.1} and {} in shown
    with pytest.raises(MlxworldError, match="not finite"):
        report("float16", [1] + [0] * limit, tmp_path)


def report(precision, finite, folder):
    """What a run makes of such steps, read three at a time."""
    run: Any = object.__new__(Run)
    shown = []
    run.cfg, run.engine = SimpleNamespace(precision=precision), SimpleNamespace(numpy=lambda x: x)
    run.checkpoint, run._bad = folder / "none", 0
    run.monitor = SimpleNamespace(update=lambda step, values: shown.append(values))
    for i in range(0, len(finite), 3):
        pending = [{"finite": x, "loss": 1.0 if x else np.nan} for x in finite[i : i + 3]]
        run._report("dynamics", i + 3, pending, {"lr": 0.1})
    return shown


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


FULL = {
    "checkpoint": lambda patch: patch.setattr(os, "fsync", full),
    "latents": lambda patch: patch.setattr(np.lib.format, "write_array_header_1_0", full),
    "picture": lambda patch: patch.setattr(Image.Image, "save", full),
    "clip": lambda patch: patch.setattr(av, "open", full),
    "events": lambda patch: patch.setattr("mlxworld.training.monitor.RecordWriter.flush", full),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_stops_with_a_checkpoint_to_go_on_from(what, dots, tmp_path):
    out = tmp_path / "out"
    words = argv(dots, out, **SHORT, **{"sample-minutes": 0})
    original = Run.save
    with pytest.MonkeyPatch.context() as patch:

        def save(self, index, step):
            original(self, index, step)
            FULL[what](patch)

        patch.setattr(Run, "save", save)
        with pytest.raises(MlxworldError, match=r"(write|written).*No space left on device") as error:
            train.main(words)
    assert "\n" not in str(error.value)
    state, _ = checkpoint.load(out / "checkpoint.safetensors")
    assert state["place"].tolist() == [0, 2]
    assert mlxworld.World.load(out, backend="torch").reset().video.any()
    if what == "checkpoint":  # the others differ only in where they stop
        train.main([*words, "--resume"])


BAD = [
    ({"preset": "giant"}, "unknown preset 'giant' of openworld: choose one of nano, "),
    ({"backend": "jax"}, "unknown backend 'jax'"),
    ({"data": "nowhere"}, "no dataset at nowhere: give a folder, or pong, "),
    ({"precision": "int8"}, "unknown precision 'int8'"),
    ({"seed": -1}, "--seed lies between"),
    ({"log-steps": 0}, "--log-steps must be >= 1"),
    ({"tokenizer.batch": 3, "tokenizer.accumulate": 2}, "--tokenizer.batch must be a multiple of"),
    ({"dynamics.frames": (4, 41)}, "long enough for --dynamics.frames 41: the longest of 2 has 40 frames"),
    ({"config.latent.content": 99}, "OpenWorldConfig: latent.content"),
    ({"critic": "nan"}, "--critic must be a finite number, not nan"),
    ({"save-minutes": "nan"}, "--save-minutes must be a finite number"),
    ({"tokenizer.lr": "inf"}, "--tokenizer.lr must be a finite number, not inf"),
    ({"config.latent.noise": "inf"}, "--config.latent.noise must be a finite number"),
    ({"config.dynamics.depth": 10**9}, "more modules than"),
    ({"optim.clip": 0}, "OptimConfig: eps and clip must be positive"),
]


@pytest.mark.parametrize(("changed", "line"), BAD, ids=lambda x: next(iter(x)) if isinstance(x, dict) else "")
def test_what_a_person_can_put_right_is_one_line_and_leaves_no_run(changed, line, dots, tmp_path):
    changed = dict(changed)
    data = changed.pop("data", dots)
    with pytest.raises(MlxworldError) as error:
        train.main(argv(data, tmp_path / "out", **changed))
    assert line in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out/train.json").exists()


def test_what_is_wrong_with_a_run_is_one_line(run, dots, tmp_path):
    words = argv(dots, run.out, **{"dynamics.accumulate": 2, "forcing.accumulate": 4, "precision": "bfloat16"})
    others, fewer = tiny.dots(tmp_path / "others", actions=("noop", "left")), tiny.dots(tmp_path / "fewer", (40, 20))
    for changed, line in (
        (words, "already holds a run: add --resume"),
        ([*words, "--resume"], "is done: choose another --out"),
        ([*words, "--resume", "--seed", "3"], "resume with the same: --seed was 0, not 3"),
        ([*words, "--resume", "--optim.weight-decay", "0"], "--optim.weight-decay was 0.01, not 0.0"),
        ([*words, "--resume", "--data", str(others)], "has the actions noop, left, but noop, up, down are needed"),
        ([*words, "--resume", "--data", str(fewer)], "frames 60, not 70"),
        ([*words, "--resume", "--out", str(tmp_path / "new")], "holds no run to resume"),
    ):
        with pytest.raises(MlxworldError) as error:
            train.main(changed)
        assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("words", "line"), [([], "no dataset at nowhere"), (["--resume"], "holds no run to resume")])
def test_the_command_says_one_line_and_exits_with_2(words, line, tmp_path):
    command = [sys.executable, "-m", "mlxworld.train", "--data", "nowhere", "--out", str(tmp_path / "out"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("mlxworld: ") and line in done.stderr and done.stderr.count("\n") == 1


def test_help_names_the_flags_and_explains_them(capsys):
    with pytest.raises(SystemExit) as end:
        train.main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and text.startswith("usage: mlxworld train")
    assert all(
        flag in text for flag in ("--dynamics.steps", "--config.latent.grid", "--minutes", "--optim.ema", "--resume")
    )
    assert "the curriculum" in text
