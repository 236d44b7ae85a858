"""OmniLatent: 16 pairs on both backends, masks, ragged rows, generation with a cache."""

import importlib
import itertools

import numpy as np
import pytest

from mlxworld.configs.omnilatent import MODALITIES, PRESETS, Config
from mlxworld.errors import MlxworldError
from tests.models.omnilatent import tiny

PAIRS = list(itertools.product(MODALITIES, MODALITIES))


@pytest.fixture(scope="module")
def both():
    return [tiny.model(backend) for backend in tiny.BOTH]


@pytest.mark.parametrize("hooked", [False, True], ids=["plain", "hooked"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_is_the_same_on_both_backends(both, source, target, hooked):
    results = []
    for package, model in both:
        if hooked:
            model.register_hook(tiny.hook(package))
        arrays = package.engine.array(tiny.data())
        out = model(source, arrays[source], target, text=arrays["text"] if target == "text" else None)
        results.append(package.engine.numpy(out))
        if hooked:
            model.remove_hook("h")
    shape = (2, 4, 30) if target == "text" else tiny.data()[target].shape
    assert results[0]["output"].shape == shape
    for name in ("output", "latent"):
        ours, theirs = (r[name] for r in results)
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.fixture(params=tiny.BOTH)
def made(request):
    return tiny.model(request.param)


@pytest.mark.parametrize("source", MODALITIES)
def test_a_cache_writes_what_whole_texts_do(made, source):
    package, model = made
    model.register_hook(tiny.hook(package))
    arrays, to = package.engine.array(tiny.data()), package.engine.numpy
    text = to(model.generate(source, arrays[source], 5))
    whole = to(model(source, arrays[source], "text", text=package.engine.array(text))["output"])
    state, ids = model.init_state(source, arrays[source], 5), None
    alive = np.ones(2, bool)
    for t in range(5):
        logits, state = model.step(state, ids)
        assert np.abs(to(logits) - whole[:, t])[alive].max() < 2e-6
        assert (whole[:, t].argmax(-1) == text[:, t])[alive].all()
        alive &= ~np.isin(text[:, t], (0, 2))
        ids = package.engine.array(text[:, t])


def test_generation_uses_hooks(made):
    """A fault of the ancestor: `generate` ignored them."""
    package, model = made
    arrays = package.engine.array(tiny.data())
    before, _ = model.step(model.init_state("image", arrays["image"], 3), None)
    model.register_hook(tiny.hook(package))
    after, _ = model.step(model.init_state("image", arrays["image"], 3), None)
    assert np.abs(package.engine.numpy(before) - package.engine.numpy(after)).max() > 1e-3


@pytest.mark.parametrize("hooked", [False, True])
def test_text_sees_no_later_token(made, hooked):
    package, model = made
    if hooked:
        model.register_hook(tiny.hook(package, bias=3.0))
    data, to = tiny.data(), package.engine.numpy
    image, text = package.engine.array(data["image"]), data["text"]
    other = text.copy()
    other[:, 2] = 11
    a, b = (to(model("image", image, "text", text=package.engine.array(x))["output"]) for x in (text, other))
    assert np.abs(a - b)[:, :3].max() < 1e-6 < 1e-4 < np.abs(a - b)[:, 3].max()


def test_ragged_rows_are_as_they_are_alone(made):
    package, model = made
    data, to, array = tiny.data(), package.engine.numpy, package.engine.array
    text = np.array([[3, 4, 5, 6], [7, 8, 0, 0]], np.int32)
    model.register_hook(tiny.hook(package))
    whole, alone = (model("text", array(x), "image") for x in (text, text[1:, :2]))
    for name in ("output", "latent"):
        np.testing.assert_allclose(to(whole[name])[1], to(alone[name])[0], atol=2e-6)
    for modality, n in (("audio", 4), ("video", 2)):
        lengths = array(np.array([data[modality].shape[1], n], np.int32))
        whole = model(modality, array(data[modality]), "image", lengths=lengths)
        alone = model(modality, array(data[modality][1:, :n]), "image")
        for name in ("output", "latent"):
            np.testing.assert_allclose(to(whole[name])[1], to(alone[name])[0], atol=2e-6)


def test_the_latent_is_of_the_source_alone(made):
    package, model = made
    arrays, to = package.engine.array(tiny.data()), package.engine.numpy
    latent = to(model.encode("video", arrays["video"]))
    for target in ("image", "audio"):
        np.testing.assert_allclose(to(model("video", arrays["video"], target)["latent"]), latent, atol=2e-6)


def test_several_sources_together(made):
    package, model = made
    arrays, to = package.engine.array(tiny.data()), package.engine.numpy
    two = {m: arrays[m] for m in ("image", "audio")}
    out = model.forward_multimodal(two, ("video", "text"), text=arrays["text"])
    assert to(out["video"]).shape == (2, 4, 16, 16, 3) and to(out["text"]).shape == (2, 4, 30)
    silent = model.forward_multimodal(two | {"audio": arrays["audio"] * 0}, ("video",))
    assert np.abs(to(out["video"]) - to(silent["video"])).max() > 1e-4


def test_targets_of_one_pass_do_not_see_each_other(made):
    package, model = made
    arrays, to = package.engine.array(tiny.data()), package.engine.numpy
    for source in ("text", "video"):
        for targets in (("text", "audio", "image", "video"), ("video", "text", "image")):
            out = model.forward_multimodal({source: arrays[source]}, targets, text=arrays["text"])
            for target in targets:
                alone = model(source, arrays[source], target, text=arrays["text"])
                np.testing.assert_allclose(to(out[target]), to(alone["output"]), atol=5e-6)
                np.testing.assert_allclose(to(out["latent"]), to(alone["latent"]), atol=2e-6)


def test_patches_come_back_where_they_were(made):
    package, _ = made
    stem = importlib.import_module(f"{package.__name__}.models.omnilatent.stems").PatchStem(384, 16, 8, 2, 4)
    eye = package.engine.array({"weight": np.eye(384, dtype=np.float32), "bias": np.zeros(384, np.float32)})
    for layer in (stem.inward, stem.head):
        package.nn.assign(layer, eye)
    video = package.engine.array(tiny.data()["video"])
    tokens, back = package.engine.numpy([stem.embed(video), stem.read(stem.embed(video))])
    np.testing.assert_allclose(back, tiny.data()["video"], atol=1e-6)
    corner = tiny.data()["video"][:, :2, :8, 8:].reshape(2, -1) * 2 - 1
    np.testing.assert_allclose(tokens[:, 1], corner, atol=1e-6)  # the second tubelet is the picture's upper right


def test_attention_can_be_far_from_uniform(made):
    """A fault of the ancestor: the scale behind the norm of queries and keys held attention near uniform."""
    package, _ = made
    cfg = PRESETS["default"].block
    x = np.random.default_rng(0).normal(size=(1, 1, 64, cfg.width)).astype(np.float32)
    q = package.engine.numpy(package.ops.rms_norm(package.engine.array(x)))
    scores = q[0, 0] @ q[0, 0].T * cfg.width**-0.5
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    assert np.diag(weights).min() > 0.7, "a key that is the query gets most of it; uniform is 1/64"


def test_a_default_model_has_about_140_million_parameters():
    for preset, low, high in (("default", 130e6, 150e6), ("small", 27e6, 36e6)):
        package, model = tiny.model("torch", config=PRESETS[preset], fresh=False)
        assert low < sum(x.numel() for x in package.nn.parameters(model).values()) < high


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"image_size": 100, "image_patch": 16}, "multiple of image_patch"),
        ({"num_heads": 7}, "hidden_dim"),
        ({"max_text": 5000}, "at most 1024 tokens"),
        ({"frames": 0}, "at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, line):
    with pytest.raises(MlxworldError, match=line):
        Config(**wrong)
