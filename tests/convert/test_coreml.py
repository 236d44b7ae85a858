"""Core ML packages on a machine without Core ML: read back, evaluated, played; faults are seen."""

import ast
import json
import queue
import shutil
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from apps.play import wire
from apps.play.game import Choice, Game
from convert import mil, parts, rehearsal, verify_on_mac
from convert.mil import ct
from convert.mil_evaluator import OPS, Evaluated
from mlxworld import Clip, MlxworldError, World, on
from mlxworld.play.coreml import FUNCTIONS, WORLD, specification
from mlxworld.play.world import Snapshot
from tests.convert.packages import decibels, evaluated, function, made, psnr
from tests.models.small import changed, gap, lively, unit

LIMITS = verify_on_mac.LIMITS


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return made(tmp_path_factory.mktemp("coreml"))


@pytest.fixture(scope="module")
def original(package):
    return World.load(package.with_suffix(""), "torch", precision="float32")


@pytest.fixture
def world(package, monkeypatch):
    evaluated(monkeypatch)
    return World.load(package, backend="coreml")


def test_a_rollout_of_the_saved_package_is_near_the_world(world, original):
    assert psnr(world, original) >= LIMITS["fp16"]


def test_sound_goes_on_over_frames(world, original):
    for w in (world, original):
        w.reset(5, 1)
    ours, theirs = (np.concatenate([w.step(1).audio for _ in range(6)]) for w in (world, original))
    assert np.abs(theirs).max() > 0.01 and gap(ours, theirs) < 0.1 * np.abs(theirs).max()


def test_clips_of_any_length_encode_as_in_the_world(world, original):
    rng, (H, W) = np.random.default_rng(0), world.size
    for T in (1, 5, 25):  # shorter and longer than what the function takes
        video = rng.integers(0, 256, (T, H, W, 3)).astype(np.uint8)
        clip = Clip(video, rng.normal(size=(T, world.samples)).astype(np.float32) * 0.1, np.zeros(T, np.int32))
        assert world.encode(clip).shape == original.encode(clip).shape
        assert gap(world.encode(clip), original.encode(clip)) < 0.02
    assert world.reset(1, clip).index == original.reset(1, clip).index


def test_snapshot_and_fork_give_the_same_future_bit_for_bit(world):
    world.reset(3)
    kept = world.snapshot()
    first = [world.step(a) for a in (1, 2, 0)]
    twin = world.fork()
    assert np.array_equal(twin.step(1).video, world.step(1).video)
    world.restore(kept)
    for frame, action in zip(first, (1, 2, 0), strict=True):
        again = world.step(action)
        assert np.array_equal(frame.video, again.video) and np.array_equal(frame.audio, again.audio)
    world.restore(kept)
    assert not np.array_equal(world.step(2).video, first[0].video)


def test_a_moment_of_another_kind_of_world_is_refused(world, package, original):
    original.reset(3)
    first, fresh = world.reset(3), World.load(package, backend="coreml")
    (past, sound, key), index = world.snapshot().state, world.snapshot().index
    longer = {name: np.concatenate([x, x]) for name, x in past.items()}
    for foreign in (original.snapshot(), Snapshot((longer, sound, key), index, "coreml")):
        for each in (world, fresh):
            with pytest.raises(MlxworldError, match="it does not fit"):
                each.restore(foreign)
    fresh.restore(world.snapshot())
    assert np.array_equal(world.step(1).video, fresh.step(1).video) and first.index == 0


def test_it_has_no_model_to_measure(world):
    with pytest.raises(MlxworldError, match="runs on Core ML"):
        _ = world.model


@pytest.mark.platform
@pytest.mark.skipif(sys.platform == "darwin", reason="on a Mac it plays")
def test_off_a_mac_it_says_so(package):
    with pytest.raises(MlxworldError, match="macOS 15"):
        World.load(package)


def test_gymnasium_plays_it(package, monkeypatch):
    evaluated(monkeypatch)
    env = gymnasium.make("mlxworld.gym:mlxworld/World-v0", world=str(package), backend="coreml")
    seen, _ = env.reset(seed=3)
    assert env.observation_space.contains(seen) and env.observation_space.contains(env.step(1)[0])


def test_the_play_app_plays_and_replays_it(package, monkeypatch):
    evaluated(monkeypatch)
    out: queue.Queue = queue.Queue()
    game = Game(World.load, [], ["mlx", "torch"], Choice(str(package)))
    game.start()
    game.emit = lambda target, message: out.put(message)

    def hear(kind):
        while not isinstance(message := out.get(timeout=30), dict) or message["type"] != kind:
            assert not isinstance(message, dict) or message["type"] != "error", message
        return message

    def do(kind, **fields):
        game.submit(wire.parse(wire.json.dumps({"type": kind, **fields})))

    try:
        for kind in ("step", "step", "fork", "step", "log"):
            do(kind)
        log = hear("log")["log"]
        assert (log["backend"], log["actions"]) == ("coreml", [[0, 3]])
        do("replay", log=log)
        assert hear("replayed")["same"]
    finally:
        game.stop()


def test_a_package_says_what_it_holds(package):
    spec = specification(package)
    about = json.loads((package.with_suffix("") / "config.json").read_text())
    assert json.loads(spec.description.metadata.userDefined[WORLD]) == about
    functions = {f.name: f for f in spec.description.functions}
    assert functions.keys() == FUNCTIONS.keys()
    assert all(port.shortDescription for f in functions.values() for port in (*f.input, *f.output, *f.state))
    rings = [s.type.stateType.arrayType for s in functions["step"].state if s.name.startswith("rings")]
    assert {(tuple(r.shape), r.dataType) for r in rings} == {
        ((1, 1, 5, 5, 64), ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16),
        ((1, 1, 9, 5, 64), ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16),
    }
    assert [s.name for s in functions["step"].state] == [s.name for s in functions["observe"].state]


def test_what_is_printed(package):
    said = package.with_suffix(".txt").read_text()
    lines = {line.partition(":")[0]: line for line in said.splitlines()}
    assert lines.keys() >= FUNCTIONS.keys() and "conv 5" in said
    assert "known to leave the Neural Engine: gather" not in lines["video"]
    assert any(line.startswith("video") and "Neural Engine: none" in line for line in said.splitlines())
    assert "magnitudes to" in said and "TOO LARGE" not in said


def faulty(package: Path, to: Path, function: str, kind: str, other: str) -> Path:
    """The package with the last operation of a kind in a function changed to another of the same inputs."""
    shutil.copytree(package, to)
    path = to / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    (block,) = spec.mlProgram.functions[function].block_specializations.values()
    [op for op in block.operations if op.type == kind][-1].type = other
    path.write_bytes(spec.SerializeToString())
    return to


@pytest.mark.parametrize(("function", "kind", "other"), [("video", "add", "sub"), ("step", "less_equal", "greater")])
def test_an_operation_swapped_is_seen(package, original, tmp_path, monkeypatch, function, kind, other):
    wrong = faulty(package, tmp_path / "wrong.mlpackage", function, kind, other)
    evaluated(monkeypatch, wrong, function)
    assert psnr(World.load(package), original) < LIMITS["fp16"]


@pytest.mark.parametrize(
    ("function", "name"), [("video", "tokenizer.video_decoder.head.bias"), ("step", "dynamics.head.weight")]
)
def test_a_weight_changed_is_seen(package, original, tmp_path, monkeypatch, function, name):
    """The first number of one weight, in the file of weights."""
    shutil.copytree(package, wrong := tmp_path / "wrong.mlpackage")
    path = wrong / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weight = dict(original.model.named_parameters())[name].detach().numpy().astype(np.float16)
    blob = path.read_bytes()
    at = blob.find(weight.tobytes())
    assert at > 0
    path.write_bytes(blob[:at] + np.float16(4).tobytes() + blob[at + 2 :])
    evaluated(monkeypatch, wrong, function)
    assert psnr(World.load(package), original) < LIMITS["fp16"]


def test_the_evaluator_never_skips(package, monkeypatch):
    monkeypatch.delitem(OPS, "silu")
    with pytest.raises(MlxworldError, match="no operation 'silu'"):
        Evaluated(package, "video")


def test_verify_on_mac_plays_the_saved_calls(package):
    beside = package.with_suffix(".verify")
    precision, calls = verify_on_mac.read(beside / "calls.npz")
    assert precision == "fp16" and {part for part, _, _ in calls} == FUNCTIONS.keys()
    functions = {name: function(str(package), name) for name in FUNCTIONS}
    ticks = iter(np.arange(1000) / 4)
    found, decibel = verify_on_mac.play(functions, calls, clock=lambda: next(ticks))
    assert verify_on_mac.passed(found, decibel, precision) and (decibel or 0) > 40
    assert found["step"][1] == [250.0] * 8 and max(found["step"][0]) < 0.1
    said = list(verify_on_mac.report("CPU", found, decibel))
    assert "a frame 750.00 ms" in said[-1] and len(said) == 2 + len(FUNCTIONS)


@pytest.mark.parametrize("wrong", [0.02, np.nan])
def test_verify_on_mac_sees_a_wrong_machine(package, wrong):
    class Off(Evaluated):
        def predict(self, inputs, state=None):
            return {name: x + wrong for name, x in super().predict(inputs, state).items()}

    precision, calls = verify_on_mac.read(package.with_suffix(".verify") / "calls.npz")
    calls = [call for call in calls if call[0] == "video"]
    found, decibel = verify_on_mac.play({"video": Off(package, "video")}, calls)
    assert not verify_on_mac.passed(found, decibel, precision)


def test_verify_on_mac_needs_coremltools_and_numpy_alone(package):
    tree = ast.parse((package.with_suffix(".verify") / "verify_on_mac.py").read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert names == {"sys", "time", "pathlib", "numpy", "coremltools"}


@pytest.mark.parametrize(
    ("part", "cfg"),
    [("step", changed(dynamics={"head": "regression", "depth": 1})), ("video", changed(latent={"layout": "queries"}))],
)
def test_other_heads_and_layouts_convert(part, cfg, tmp_path):
    model = lively(on("torch"), cfg).eval()
    made = {p.name: p for p in parts.parts(parts.Source(tmp_path, {}, cfg, model, {}))}[part]
    mil.program(made, "fp16").save(str(tmp_path / "x.mlpackage"))
    function = Evaluated(tmp_path / "x.mlpackage")
    state, rng = function.make_state() if made.state else None, np.random.default_rng(0)
    for _ in range(3):
        inputs = {
            n: unit(rng.normal(size=x.shape)) if x.is_floating_point() else x.numpy() for n, x in made.examples.items()
        }
        with torch.no_grad():
            expected = made.module(**{n: torch.tensor(x) for n, x in inputs.items()})[0]
        assert gap(function.predict(inputs, state)[next(iter(made.outputs))], expected) < 0.03


def test_root_mean_square_norm_of_zeros_and_of_numbers_that_float16_cannot_square():
    x = torch.tensor([[0.0] * 4, [1e-3, -2e-3, 3e-3, 0], [300.0, -500, 1000, 20]])
    expected = torch.nn.functional.rms_norm(x, (4,), eps=1e-5)
    assert gap(mil.rms_norm(x, (4,)), expected) < 1e-6
    assert gap(mil.rms_norm(x.half(), (4,)).float(), expected) < 5e-3


@pytest.mark.timeout(900)  # minutes of two slow cores
def test_the_shipped_world(tmp_path):
    """Pong's dynamics and pictures: 8 dreamt frames, each painted from the package's own latents."""
    from convert.package import write

    source = parts.load("pong")
    chosen = [p for p in parts.parts(source) if p.name in ("step", "observe", "video")]
    programs = {p.name: mil.program(p, "fp16") for p in chosen}
    calls, sizes = rehearsal.rehearse(source), []
    for precision, limit in LIMITS.items():
        with mil.tamed():
            models = {name: mil.compressed(model, precision) for name, model in programs.items()}
        path = tmp_path / f"{precision}.mlpackage"
        write(path, models, chosen, source.about, source.folder / "starts.safetensors")
        sizes.append(sum(p.stat().st_size for p in path.rglob("*")))
        assert decibels(dream(path, calls)) >= limit
    assert sizes[0] > 1.7 * sizes[1] > 2.8 * sizes[2]


def dream(path, calls):
    """Differences of pictures, of the dreamt frames."""
    functions = {name: Evaluated(path, name) for name in ("step", "observe", "video")}
    state, z, gaps = functions["step"].make_state(), None, []
    for call in calls:
        if call.part in ("step", "observe"):
            z = functions[call.part].predict(call.inputs, state).get("z")
        elif call.part == "video" and z is not None:
            gaps.append(functions["video"].predict({"z": z})["video"].clip(0, 1) - call.outputs["video"].clip(0, 1))
    assert len(gaps) == 8
    return gaps
