"""Recurrent memory of OmniLatent: what is written, how far back it is learnt, what it keeps, and what goes without."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from docs.memory import COLOURS, CONFIG, recall, streams, taught, watched
from mlxworld.configs.omnilatent import Config
from mlxworld.configs.optim import OptimConfig
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.training.turn import Turn
from tests.models.omnilatent import tiny


def made(backend, config=CONFIG):
    package, model = tiny.model(backend, config=config)
    package.engine.place(model)
    return package, model, importlib.import_module(f"{package.__name__}.models.omnilatent.memory")


@pytest.fixture(params=tiny.BOTH)
def one(request):
    return made(request.param)


@pytest.mark.parametrize("backend", tiny.BOTH)
def test_a_cue_four_clips_ago_is_recalled_and_without_memory_it_is_guessed(backend):
    package, model = taught(backend, bptt=5)
    assert recall(package, model) >= 0.9
    assert abs(recall(package, model, forgetful=True) - 1 / len(COLOURS)) < 0.07, "chance"


def test_memory_is_asked_after_later_clips_alone(one):
    """Asked after the first clip too, it would learn to write without any gradient from clip to clip."""
    package, model, memory = one
    batch = package.engine.array(streams(2, 3, 3)[0])
    told, asked = type(model).forward, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "forward", lambda own, *a, **k: asked.append(a[1]) or told(own, *a, **k))
        loss, parts = memory.recall_loss(model, batch, "image", "text", 2)
    states = [
        package.engine.numpy(watched(package, model, "image", streams(2, 3, 3)[0]["image"][:, :n])) for n in (2, 3)
    ]
    for ours, theirs in zip(asked, states, strict=True):
        np.testing.assert_allclose(package.engine.numpy(ours), theirs, atol=1e-6)
    loss, last = package.engine.numpy([loss, parts["recall"]])
    assert loss != last, "the mean, and the last alone"


def test_rows_of_a_batch_in_turn_are_streams_and_each_clip_counts_for_itself_too(one):
    package, model, memory = one
    array, losses = package.engine.array, importlib.import_module(f"{package.__name__}.models.omnilatent.losses")
    batch, pairs = streams(3, 2, 3)[0], (("image", "image"), ("image", "text"))
    flat = array({m: x.reshape(6, *x.shape[2:]) for m, x in batch.items()})
    whole, parts = memory.streams_loss(model, flat, pairs, 0.1, clips=3, source="image", target="text", bptt=2)
    recalled, last = memory.recall_loss(model, array(batch), "image", "text", 2)
    alone, _ = losses.pairs_loss(model, flat, pairs, 0.1)
    whole, told, recalled, last, alone = package.engine.numpy([whole, parts["recall"], recalled, last["recall"], alone])
    assert whole == pytest.approx(recalled + alone, rel=1e-5) and told == pytest.approx(last, rel=1e-5)


def slopes(package, model, memory, clips, bptt, target="text"):
    """By how much the recall after the last clip hangs on each clip's pixels, as far as the gradient says."""
    batch, ops = package.engine.array(streams(1, 2, clips)[0]), importlib.import_module(f"{package.__name__}.ops")
    batch["video"] = ops.stack([batch["image"]] * 4, axis=2)

    def told(video):
        return memory.recall_loss(model, batch | {"video": video}, "video", target, bptt)[1]["recall"]

    _, slope = ops.value_and_gradient(told, ops.float32(batch["video"]))
    return np.abs(package.engine.numpy(slope)).max(axis=(0, 2, 3, 4, 5))


def test_the_first_write_is_reached_through_all_clips_and_the_cut_is_where_it_was_asked_for(one):
    """A fault of the ancestor: the write path got no gradient."""
    assert (slopes(*one, clips=5, bptt=5) > 0).all()
    assert (slopes(*one, clips=2, bptt=2) > 0).all() and (slopes(*one, clips=2, bptt=2, target="image") > 0).all()
    assert (slopes(*one, clips=4, bptt=2) > 0).tolist() == [False, False, True, True]
    assert (slopes(*one, clips=2, bptt=1) > 0).tolist() == [False, True], "detached between clips: none"


def test_every_weight_of_the_write_path_moves(one):
    package, model, memory = one
    turn = Turn("t", lambda m, b, key: memory.recall_loss(m, b, "image", "text", 2), OptimConfig(), ("memory.",))
    before = package.engine.numpy(package.nn.parameters(model))
    before = {n: x.copy() for n, x in before.items() if n.startswith("memory.")}
    package.engine.Trainer(model, (turn,)).step(streams(0, 4, 2)[0], 0)
    after = package.engine.numpy(package.nn.parameters(model))
    assert len(before) == 5 and all((after[n] != x).any() for n, x in before.items())


def test_states_and_what_they_tell_are_the_same_on_both_backends_also_from_a_file(tmp_path):
    results = []
    for backend in tiny.BOTH:
        package, model, _ = made(backend, replace(CONFIG, num_layers=3))
        array, data, to = package.engine.array, tiny.data(), package.engine.numpy
        state = model.memory.start(2)
        for modality in ("video", "audio", "text"):
            state, latent = model.remember(state, modality, array(data[modality]))
        path = tmp_path / f"{backend}.safetensors"
        checkpoint.save(path, {"state": to(state)}, {})
        state = array(checkpoint.load(path)[0]["state"])
        told = model("memory", state, "text", text=array(data["text"]))["output"]
        both = model.forward_multimodal({"memory": state, "image": array(data["image"])}, ("audio",))["audio"]
        results.append([to(x) for x in (state, latent, told, both)])
    for ours, theirs in zip(*results, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert results[0][0].shape == (2, 8, 32)


def test_a_cache_writes_from_memory_what_whole_texts_do(one):
    package, model, _ = one
    to, state = package.engine.numpy, watched(package, model, "image", streams(3, 2)[0]["image"])
    text = to(model.generate("memory", state, 4))
    whole = to(model("memory", state, "text", text=package.engine.array(text))["output"])
    assert (whole.argmax(-1) == text)[:, 0].all()
    logits, cached = model.step(model.init_state("memory", state, 4), None)
    second, _ = model.step(cached, package.engine.array(text[:, 0]))
    assert np.abs(to(logits) - whole[:, 0]).max() < 2e-6 and np.abs(to(second) - whole[:, 1]).max() < 2e-6


def test_a_row_that_starts_anew_is_as_a_fresh_one_and_its_neighbour_stays(one):
    package, model, _ = one
    array, to, image = package.engine.array, package.engine.numpy, streams(4, 2, 3)[0]["image"]
    whole = to(watched(package, model, "image", image))
    state = to(watched(package, model, "image", image[:, :2])).copy()
    state[0] = 0
    mixed, _ = model.remember(array(state), "image", array(image[:, 2].astype(np.float32) / 255))
    np.testing.assert_array_equal(to(mixed)[1], whole[1])
    np.testing.assert_allclose(to(mixed)[0], to(watched(package, model, "image", image[:, 2:]))[0], atol=2e-6)
    assert np.abs(to(mixed)[0] - whole[0]).max() > 1e-3


def test_a_latent_is_of_the_clip_after_what_came_before_it_and_frames_that_do_not_count_move_nothing(one, monkeypatch):
    package, model, memory = one
    array, to, audio = package.engine.array, package.engine.numpy, tiny.data()["audio"]
    first, second = watched(package, model, "image", streams(5, 2, 1)[0]["image"]), model.memory.start(2)
    latents = [to(model.remember(state, "audio", array(audio))[1]) for state in (first, second)]
    assert latents[0].shape == (2, 32) and np.abs(latents[0] - latents[1]).max() > 1e-4
    write, came = memory.Memory.write, []
    monkeypatch.setattr(memory.Memory, "write", lambda own, state, y: came.append(y) or write(own, state, y))
    latent = to(model.remember(first, "audio", array(audio))[1])
    of_all = to(model.forward_multimodal({"memory": first, "audio": array(audio)}, ("text",))["latent"])
    alone = (12 * of_all - to(came[0]).sum(axis=1)) / 4  # 8 tokens of memory and 4 of the clip
    np.testing.assert_allclose(latent, alone, atol=1e-5)
    whole = model.remember(first, "audio", array(audio), lengths=array(np.array([6, 4], np.int32)))
    alone = model.remember(first[1:], "audio", array(audio[1:, :4]))
    for ours, theirs in zip(whole, alone, strict=True):
        np.testing.assert_allclose(to(ours)[1], to(theirs)[0], atol=2e-6)


def test_a_state_stays_bounded_and_weights_that_are_large_can_hold_it(one):
    package, model, _ = one
    nn, to, image = package.nn, package.engine.numpy, streams(6, 1, 30)[0]["image"]
    bias = package.engine.array(np.full(32, -40, np.float32))
    nn.assign(model.memory.content, {"weight": 50 * model.memory.content.weight})
    state = to(watched(package, model, "image", image))
    assert 0.5 < np.abs(state).max() <= 1
    nn.assign(model.memory.gate, {"weight": 0 * model.memory.gate.weight, "bias": bias})
    held, _ = model.remember(package.engine.array(state), "image", package.engine.array(image[:, 0] / np.float32(255)))
    np.testing.assert_array_equal(to(held), state)


def test_what_reads_no_memory_is_bit_equal_to_a_model_without(one):
    package, model, _ = one
    plain = type(model)(replace(CONFIG, memory_tokens=0))
    weights = package.nn.parameters(model)
    package.nn.assign(plain, {n: x for n, x in weights.items() if not n.startswith("memory.")})
    package.engine.place(plain)
    video, to = package.engine.array(tiny.data()["video"]), package.engine.numpy
    np.testing.assert_array_equal(
        to(model("video", video, "image")["output"]), to(plain("video", video, "image")["output"])
    )


def test_bad_input_says_what_it_is(one):
    package, model, _ = one
    image = package.engine.array(tiny.data()["image"])
    with pytest.raises(ValueError, match=r"a memory is \(8, 32\) a row, not \(4, 32\)"):
        model.remember(model.memory.start(2)[:, :4], "image", image)
    _, plain = tiny.model("mlx" if package.__name__ == "mlxworld" else "torch")
    with pytest.raises(ValueError, match="made without a memory"):
        plain.remember(model.memory.start(2), "image", image)
    for wrong in (-1, 1025):
        with pytest.raises(MlxworldError, match="memory_tokens lies between 0 and 1024"):
            Config(memory_tokens=wrong)
