"""What is learnt of time: the tasks' definitions, what each teaches, what a clip may see, and a training of seconds."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from mlxworld.configs.optim import OptimConfig
from mlxworld.data.pairs.batches import sequence
from mlxworld.training.turn import Turn
from tests.models.omnilatent import tiny

CONFIG = replace(tiny.CONFIG, num_layers=2, timeline=True, segment=3)
N, C = 8, CONFIG.hidden_dim
DAY = 2400  # frames, 4 a second


@pytest.fixture(params=tiny.BOTH)
def made(request):
    package, model = tiny.model(request.param, config=CONFIG)
    return package, model, importlib.import_module(f"{package.__name__}.models.omnilatent.temporal")


def films(rng, count, shuffled=False):
    """Films of grey clips: red fades with the time of day, green and blue are of the scene, and green grows in it.
    shuffled: each clip is one of another time, of any film."""
    rows = []
    for _ in range(count):
        starts, scenes = sequence(rng, N, 4, DAY)
        first, blue = rng.uniform(0, 0.6, N)[scenes], rng.uniform(0, 1, N)[scenes]
        green = first + 0.06 * (np.arange(N) - np.searchsorted(scenes, scenes))
        shade = np.stack([1 - starts / DAY, green, blue], axis=1)
        rows.append((shade, starts / 4, scenes))
    shade, time, scene = (np.concatenate([row[i] for row in rows]) for i in range(3))
    shade = shade[rng.permutation(len(shade))] if shuffled else shade
    video = np.broadcast_to((255 * shade)[:, None, None, None], (len(shade), 4, 16, 16, 3)).astype(np.uint8)
    return {"video": video, "time": time.astype(np.float32), "scene": scene.astype(np.int32)}


def arrays(package, seed=0, rows=3):
    """Latents of clips, their seconds and the numbers of their scenes."""
    r = np.random.default_rng(seed)
    z = r.normal(size=(rows, N, C)).astype(np.float32)
    time = np.cumsum(10 ** r.uniform(0, 2.3, (rows, N)), axis=1).astype(np.float32)
    scene = np.cumsum(r.random((rows, N)) < 0.4, axis=1).astype(np.int32)
    return package.engine.array([z, time, scene])


def test_distances_are_of_four_classes(made):
    package, _, _ = made
    temporal = importlib.import_module(f"{package.__name__}.models.objectives.temporal")
    seconds = {0.0: 0, 9.99: 0, 10.0: 1, 59.9: 1, 60.0: 2, 299.0: 2, 300.0: 2, 300.1: 3, 1e5: 3, -5.0: 0, -400.0: 3}
    classes = temporal.distance_class(package.engine.array(np.array(list(seconds), np.float32)))
    assert package.engine.numpy(classes).tolist() == list(seconds.values())


def test_losses_of_order_distance_and_boundary_are_their_definitions(made):
    package, model, temporal = made
    z, time, scene = arrays(package)
    losses, told = package.engine.numpy([temporal.tasks(model.timeline, z, time, scene)[0], model.timeline(z)])
    t, number = package.engine.numpy([time, scene])
    order, distance, boundary = [], [], []
    for a in range(N):
        for b in range(a + 1, N):
            heads = [model.timeline.order(z[:, a], z[:, b]), model.timeline.distance(z[:, a], z[:, b])]
            o, d = package.engine.numpy(heads)
            order += list(np.log1p(np.exp(-o)))
            own = np.digitize(t[:, b] - t[:, a], [10, 60, 300])
            distance += list(np.log(np.exp(d).sum(1)) - d[np.arange(len(d)), own])
    for n in range(1, N):
        logit, new = told["boundary"][:, n - 1], number[:, n] != number[:, n - 1]
        boundary += list(np.log1p(np.exp(np.where(new, -logit, logit))))
    for name, values in (("order", order), ("distance", distance), ("boundary", boundary)):
        assert losses[name] == pytest.approx(np.mean(values), rel=1e-5), name


def test_distance_is_the_same_both_ways_and_not_nothing(made):
    package, model, _ = made
    z, _, _ = arrays(package)
    there, back = package.engine.numpy(
        [model.timeline.distance(z[:, 0], z[:, 1]), model.timeline.distance(z[:, 1], z[:, 0])]
    )
    assert (there == back).all() and np.abs(there - there[:1]).max() > 1e-4


def test_a_clip_changes_nothing_of_those_before_it_and_reaches_all_after_it(made):
    package, model, _ = made
    z, _, _ = arrays(package)
    first = package.engine.numpy(model.timeline(z))
    for clip in range(N):
        other = package.engine.numpy(z).copy()
        other[:, clip] += 1
        second = package.engine.numpy(model.timeline(package.engine.array(other)))
        moved = {
            name: np.abs(second[name] - first[name]).reshape(3, first[name].shape[1], -1).max((0, 2)) for name in first
        }
        assert moved["context"][:clip].max(initial=0) == 0 and moved["context"][clip:].min() > 1e-6
        assert moved["next"][:clip].max(initial=0) == 0 and moved["boundary"][: max(0, clip - 1)].max(initial=0) == 0


def test_what_is_older_than_a_segment_is_told_by_the_upper_level_alone(made):
    package, model, _ = made
    package.nn.assign(model.timeline.down, {"weight": package.ops.zeros((C, C))})
    z, _, _ = arrays(package)
    other = package.engine.numpy(z).copy()
    other[:, 0] += 1
    a, b = package.engine.numpy([model.timeline(z), model.timeline(package.engine.array(other))])
    moved = np.abs(a["context"] - b["context"]).max((0, 2))
    assert moved[: CONFIG.segment].min() > 1e-6 and moved[CONFIG.segment :].max() == 0


def test_the_target_of_the_next_clip_has_no_gradient(made):
    """The last clip is a target alone: were it moved to the prediction, all latents would soon be one."""
    package, model, temporal = made
    z, time, scene = arrays(package)

    def loss(z, scene=scene):
        return temporal.tasks(model.timeline, z, time, scene)[0]["next"]

    value, gradient = package.engine.numpy(package.ops.value_and_gradient(loss, z))
    assert value > 0.5 and (gradient[:, -1] == 0).all() and np.abs(gradient[:, :-1]).max() > 1e-4
    apart = package.engine.array(np.tile(np.arange(N, dtype=np.int32), (3, 1)))
    assert package.engine.numpy(loss(z, apart)) == 0, "the first clip of another scene cannot be known"


def test_the_next_clip_s_loss_is_its_definition_and_collapse_is_seen(made):
    package, _, temporal = made
    z, _, _ = arrays(package)
    guess, _, _ = arrays(package, 1)
    same = (np.random.default_rng(2).random((3, N - 1)) < 0.6).astype(np.float32)
    x, y = (v / np.sqrt(np.square(v).mean(-1, keepdims=True)) for v in package.engine.numpy([guess[:, :-1], z[:, 1:]]))
    loss, shown = temporal.next_loss(guess, z, package.engine.array(same))
    wanted = (np.square(x - y).mean(-1) * same).sum() / same.sum()
    assert package.engine.numpy(loss) == pytest.approx(wanted, rel=1e-4)
    assert package.engine.numpy(shown["spread_clips"]) > 0.5
    whole = package.engine.array(np.ones((3, N - 1), np.float32))
    moved = package.ops.concat([z[:, 1:], z[:, :1]], axis=1)
    assert package.engine.numpy(temporal.next_loss(moved, z, whole))[1]["next_right"] == pytest.approx(1)
    still = package.ops.ones((3, N, C), like=z)
    assert package.engine.numpy(temporal.next_loss(still, z, whole))[1]["spread_clips"] > 0.5, "it is of targets"
    loss, shown = package.engine.numpy(temporal.next_loss(still, still, whole))
    assert loss < 1e-6 and shown["spread_clips"] < 1e-3 and shown["next_right"] == 0, "a small loss alone says nothing"


@pytest.mark.parametrize("task", ["order", "distance", "next", "boundary"])
def test_each_task_teaches_the_last_layer_of_the_backbone(made, task):
    """A fault of the ancestor: its temporal tasks read the stems' patches, so the layers learnt nothing of time."""
    package, model, temporal = made

    def loss(model, batch, key):
        losses, shown = temporal.film_tasks(model, batch, N)
        return losses[task], shown

    last = f"blocks.{CONFIG.num_layers - 1}."
    optim = replace(OptimConfig(name="adamw"), lr=1e-2, weight_decay=0.0)
    package.engine.place(model)
    start = {n: x.copy() for n, x in package.engine.numpy(package.nn.parameters(model)).items()}
    trainer = package.engine.Trainer(model, (Turn("t", loss, optim, ("blocks.", "timeline.")),))
    batch = films(np.random.default_rng(0), 2)
    for step in range(3):
        trainer.step(batch, step)
    end = package.engine.numpy(package.nn.parameters(model))
    still = [n for n in start if n.startswith(last) and (start[n] == end[n]).all()]
    assert any(n.startswith(last) for n in start) and not still, still


def test_both_backends_say_the_same():
    made = []
    for backend in tiny.BOTH:
        package, model = tiny.model(backend, config=CONFIG)
        temporal = importlib.import_module(f"{package.__name__}.models.omnilatent.temporal")
        batch = package.engine.array(films(np.random.default_rng(0), 3))
        made.append(package.engine.numpy(temporal.temporal_loss(model, batch, (), 0.0, N)[1]))
    assert made[0].keys() == made[1].keys()
    for name, x in made[0].items():
        assert x == pytest.approx(made[1][name], rel=1e-5, abs=1e-6), name


def learnt(made, shuffled):
    """What is found of films that were not learnt from, after some steps."""
    package, model, temporal = made
    optim = replace(OptimConfig(name="adamw"), lr=3e-3, weight_decay=0.0)
    turn = Turn("t", lambda m, batch, key: temporal.temporal_loss(m, batch, (), 0.0, N), optim)
    package.engine.place(model)
    start = {name: x.copy() for name, x in package.engine.numpy(package.nn.parameters(model)).items()}
    trainer, rng = package.engine.Trainer(model, (turn,)), np.random.default_rng(0)
    for step in range(50):
        trainer.step(films(rng, 8, shuffled), step)
    held = films(np.random.default_rng(1), 16, shuffled)
    found = temporal.temporal_loss(model, package.engine.array(held), (), 0.0, N)[1]
    time, scene = held["time"].reshape(-1, N), held["scene"].reshape(-1, N)
    a, b = np.triu_indices(N, 1)
    classes = np.digitize(time[:, b] - time[:, a], [10, 60, 300])
    new = (np.diff(scene, axis=1) != 0).mean()
    usual = {"order": 0.5, "distance": np.bincount(classes.ravel()).max() / classes.size, "boundary": max(new, 1 - new)}
    end = package.engine.numpy(package.nn.parameters(model))
    still = [name for name in end if name.startswith("timeline.") and np.abs(end[name] - start[name]).max() < 1e-3]
    return package.engine.numpy(found), usual, still


def test_all_four_are_learnt_in_seconds(made):
    found, usual, still = learnt(made, shuffled=False)
    assert found["in_order"] > 0.85 and found["distance_right"] > usual["distance"] + 0.2
    assert found["boundary_right"] > usual["boundary"] + 0.2 and found["next_right"] > 10 / (16 * (N - 1))
    assert found["spread_clips"] > 0.2 and not still, f"all learn, the tasks' weights too: {still}"


def test_of_shuffled_clips_nothing_is_learnt():
    """The control: with clips of other times each figure stays at chance, or at what the usual answer is worth."""
    package, model = tiny.model("torch", config=CONFIG)
    temporal = importlib.import_module(f"{package.__name__}.models.omnilatent.temporal")
    found, usual, _ = learnt((package, model, temporal), shuffled=True)
    assert abs(found["in_order"] - 0.5) < 0.1 and found["next_right"] < 5 / (16 * (N - 1))
    assert found["distance_right"] < usual["distance"] + 0.05 and found["boundary_right"] < usual["boundary"] + 0.05
