"""The tokenizer: what a latent may know (no later frame, no hidden modality, no shut gate), in every layout."""

import numpy as np
import pytest

from mlxworld.play import encode as windowed
from tests.models.small import SMALL, B, T, changed, clip, encode, gap, latents, lively, module, unit

CFGS = {
    "grid": SMALL,
    "queries": changed(latent={"layout": "queries"}),
    "fixed": changed(vision={"encoding": "fixed"}),
    "630 samples": changed(audio={"bands": 8}, vision={"temporal_window": 3}).fitted(("noop", "left"), 35, 22050, 630),
    "two sounds": changed(latent={"audio": 2}),
}
EACH = pytest.mark.parametrize("cfg", CFGS.values(), ids=CFGS)


def features(seed=0, columns=SMALL.audio.columns):
    rng = np.random.default_rng(seed)
    pictures = [rng.normal(size=(B, T, 16, 64)).astype(np.float32) for _ in SMALL.vision.taps]
    return pictures, rng.normal(size=(B, T, columns, 64)).astype(np.float32)


@EACH
def test_shapes_and_the_sphere(backend, cfg):
    net, given = lively(backend, cfg), clip(cfg)
    z = encode(backend, net, given)
    assert z.shape == (B, T, cfg.latent.tokens, cfg.latent.dim) and z.dtype == np.float32
    assert gap(np.square(z).mean(-1), 1) < 1e-3
    video, audio, _ = backend.engine.numpy(net.decode(backend.engine.array(z)))
    assert video.shape == given["video"].shape and audio.shape == given["audio"].shape
    assert np.abs(audio).max() <= 1


@EACH
def test_a_later_frame_changes_no_earlier_latent(backend, cfg):
    net, given = lively(backend, cfg), clip(cfg, 6)
    found = encode(backend, net, given)
    for name in ("video", "audio"):
        later = given[name].copy()
        later[:, 3] = later[:, 3, ::-1]
        other = encode(backend, net, given | {name: later})
        assert gap(other[:, :3], found[:, :3]) < 1e-6, name
        assert gap(other[:, 3], found[:, 3]) > 1e-3, name
        assert gap(other[:, 4], found[:, 4]) > 1e-4, f"{name} has no past"


@EACH
def test_a_chunk_needs_no_more_than_its_past(backend, cfg):
    """Training encodes long episodes in pieces that begin a receptive field early; one frame fewer would show."""
    net, given = lively(backend, cfg), clip(cfg, 9)
    whole = encode(backend, net, given)
    for begin in (4, 6):
        first = begin - cfg.receptive_field
        piece = encode(backend, net, {n: x[:, first:] for n, x in given.items()})
        assert gap(piece[:, cfg.receptive_field :], whole[:, begin:]) < 1e-4
        assert gap(piece[:, cfg.receptive_field - 1], whole[:, begin - 1]) > 1e-3


def test_the_order_of_the_past_matters(backend):
    """Else a latent could not tell where a ball goes. Only the pictures are exchanged, both are within its window."""
    net, given = lively(backend), clip(frames=4)
    other = given | {"video": given["video"][:, [0, 2, 1, 3]]}
    assert gap(encode(backend, net, given)[:, 3], encode(backend, net, other)[:, 3]) > 1e-3


def test_encode_without_learning_equals_encode(backend):
    """`play.encode`, which training and evaluation use: bytes in, one clip at a time."""
    net, given = lively(backend), clip()
    z = [windowed.encode(backend, net, *pair) for pair in zip(given["video"], given["audio"], strict=True)]
    assert gap(z, encode(backend, net, given)) < 1e-5


def test_a_clip_of_any_length_is_encoded_window_by_window(backend, monkeypatch):
    """As if at once: each window has the past that its latents depend on; 1,030 frames are no limit either."""
    net = lively(backend)
    given = {name: x[0] for name, x in clip(frames=30, count=1).items()}
    monkeypatch.setattr(windowed, "CHUNK", 8)
    z = windowed.encode(backend, net, given["video"], given["audio"])
    assert gap(z, windowed.encode_window(backend, net, given["video"], given["audio"])) < 1e-5
    long = clip(frames=2, count=1)
    rows = np.arange(1030) % 2
    assert windowed.encode_window(backend, net, long["video"][0, rows], long["audio"][0, rows]).shape[0] == 1030


@pytest.mark.parametrize("kind", ["learned", "fixed"])
def test_every_place_has_its_own_code(backend, kind):
    net = lively(backend, changed(vision={"encoding": kind})).tokenizer.vision_encoder.encoding
    codes = backend.engine.numpy(net(backend.engine.array(np.zeros((1, 1, 16, 64), np.float32))))[0, 0]
    apart = np.abs(codes[:, None] - codes[None]).max(-1) + np.eye(16)
    assert apart.min() > 0.1


def test_a_queries_latent_differs_by_query(backend):
    cfg = CFGS["queries"]
    z = encode(backend, lively(backend, cfg), clip(cfg))
    assert min(gap(z[:, :, i], z[:, :, j]) for i in range(4) for j in range(i)) > 0.1


def test_the_picture_reads_content_alone(backend):
    net, z = lively(backend), latents()["z"]
    other = z.copy()
    other[..., SMALL.latent.content :] *= -1
    decode = lambda x: backend.engine.numpy(net.decode(backend.engine.array(x)))  # noqa: E731
    (seen, heard, _), (seen2, heard2, _) = decode(z), decode(other)
    assert np.array_equal(seen, seen2) and gap(heard, heard2) > 1e-2
    other = z.copy()
    other[..., 0] *= -1
    assert gap(backend.engine.numpy(net.tokenizer.picture(backend.engine.array(other))), seen) > 1e-2


def test_frames_are_decoded_each_for_itself(backend):
    net, z = lively(backend), latents()["z"]
    whole = backend.engine.numpy(net.tokenizer.picture(backend.engine.array(z)))
    alone = backend.engine.numpy(net.tokenizer.picture(backend.engine.array(z[1:, 3:4])))
    assert gap(whole[1:, 3:4], alone) < 1e-5


def test_depth_to_space_keeps_neighbours(backend):
    """(1, 1, 1, 4 * C) becomes a square of two by two, rows first."""
    spread, engine = module(backend, "openworld.decoder").depth_to_space, backend.engine
    x = np.arange(2 * 3 * 8, dtype=np.float32).reshape(1, 2, 3, 8)
    found = engine.numpy(spread(engine.array(x), 2))
    assert found.shape == (1, 4, 6, 2)
    for r, c in np.ndindex(4, 6):
        start = 2 * (2 * (r % 2) + c % 2)
        assert np.array_equal(found[0, r, c], x[0, r // 2, c // 2, start : start + 2])


@pytest.mark.parametrize("layout", ["grid", "queries"])
def test_a_grid_latent_is_its_square(backend, layout):
    """Compressor: token i of `grid` reads the patches of square i and nothing else; queries read all of them."""
    cfg = changed(latent={"layout": layout})
    net, engine = lively(backend, cfg).tokenizer.compressor, backend.engine
    rng = np.random.default_rng(0)
    video = rng.normal(size=(1, 1, 16, 64)).astype(np.float32)
    audio = rng.normal(size=(1, 1, 4, 64)).astype(np.float32)
    found = engine.numpy(net(engine.array(video), engine.array(audio)))
    moved = video.copy()
    moved[0, 0, 7] += 1  # row 1, column 3 of 4: square 1 of 2 by 2
    other = engine.numpy(net(engine.array(moved), engine.array(audio)))
    touched = np.abs(other - found).max((0, 1, 3)) > 1e-6
    assert touched.tolist() == ([False, True, False, False, False] if layout == "grid" else [True] * 5)


def test_with_shut_gates_each_pathway_is_its_own(backend):
    engine, fusion = backend.engine, lively(backend).tokenizer.fusion
    (seen, heard), (seen2, heard2) = features(0), features(1)

    def run(a, b):
        return engine.numpy(fusion(engine.array(a), engine.array(b)))

    both = run(seen, heard)
    assert gap(run(seen, heard2)[0], both[0]) > 1e-3 < gap(run(seen2, heard)[1], both[1])
    shut = {n: p * 0 for n, p in engine.parameters(fusion).items() if n.endswith(".channel_gate")}
    assert len(shut) == 4
    backend.nn.assign(fusion, shut)
    alone = run(seen, heard)
    assert np.array_equal(run(seen, heard2)[0], alone[0]) and np.array_equal(run(seen2, heard)[1], alone[1])
    assert gap(alone[0], both[0]) > 1e-3 < gap(alone[1], both[1])
    video, audio = None, engine.array(heard.reshape(-1, 1, 4, 64))
    for level, bring, x in zip(fusion.levels, fusion.project, seen, strict=True):  # the blocks alone, nothing across
        new = bring(engine.array(x.reshape(-1, 1, 16, 64)))
        video, audio = level.video_block(new if video is None else video + new)[0], level.audio_block(audio)[0]
    assert gap(engine.numpy(video).reshape(alone[0].shape), alone[0]) < 1e-5
    assert gap(engine.numpy(audio).reshape(alone[1].shape), alone[1]) < 1e-5


def test_a_gate_is_of_channels_and_a_weight_of_tokens(backend):
    """Crossing adds tanh(channel gate) * sigmoid(token gate) * attention: one open channel is all that moves."""
    engine, cross = backend.engine, lively(backend).tokenizer.fusion.levels[0].video_cross
    (seen, _), (_, heard) = features(0), features(0)
    x, y = engine.array(seen[0].reshape(-1, 1, 16, 64)), engine.array(heard.reshape(-1, 1, 4, 64))
    gate = np.zeros(64, np.float32)
    gate[5] = 1
    backend.nn.assign(cross, {"channel_gate": engine.array(gate)})
    moved = np.abs(engine.numpy(cross(x, y)) - engine.numpy(x)).max((0, 1, 2))
    assert moved[5] > 1e-3 and not np.delete(moved, 5).any()
    backend.nn.assign(cross, {"token_gate.bias": cross.token_gate.bias - 200})
    assert gap(engine.numpy(cross(x, y)), engine.numpy(x)) < 1e-6


@EACH
@pytest.mark.parametrize("name", ["video", "audio"])
def test_a_hidden_modality_changes_nothing(backend, cfg, name):
    """Hidden, its content is nobody's business; hidden in one frame, it is still there in the others."""
    net, given = lively(backend, cfg), clip(cfg)
    other = given | {name: clip(cfg, seed=1)[name]}
    present = f"{name}_present"
    nothing, all_of_it = (np.full((B, T), v, np.float32) for v in (0, 1))
    one, two = (encode(backend, net, x, **{present: nothing}) for x in (given, other))
    assert np.array_equal(one, two)
    whole = encode(backend, net, given)
    assert np.array_equal(whole, encode(backend, net, given, **{present: all_of_it}))
    assert gap(whole, encode(backend, net, other)) > 1e-2
    some = all_of_it.copy()
    some[0, 2] = 0
    found = encode(backend, net, given, **{present: some})
    changed_at = np.abs(found - whole).max((2, 3)) > 1e-4
    assert changed_at.tolist() == (some == 0).tolist()


@EACH
def test_sound_alone_changes_the_latent(backend, cfg):
    """The same pictures with another sound, then with none: another latent each time, in the sound's frames alone; and
    through fusion the picture's own tokens have heard it too."""
    net, given = lively(backend, cfg), clip(cfg)
    z, other = encode(backend, net, given), given["audio"].copy()
    other[:, 2] = other[:, 2, ::-1]
    heard = encode(backend, net, given | {"audio": other})
    apart = np.abs(heard - z).max((0, 3))
    assert apart[2].min() > 1e-3 and not apart[:2].any()
    with backend.engine.inference():
        video, silence = given["video"].astype(np.float32) / 255, np.zeros_like(other)
        silent = backend.engine.numpy(net.encode_silent(*backend.engine.array((video, silence))))
    assert np.array_equal(silent, encode(backend, net, given, audio_present=np.zeros((B, T), np.float32)))
    assert gap(silent, encode(backend, net, given | {"audio": silence})) > 1e-3  # unknown is not silent
    assert gap(silent, z) > 1e-3


def test_a_latent_with_another_sound_keeps_its_picture(backend):
    net, engine = lively(backend), backend.engine
    one, two = latents(seed=0)["z"], latents(seed=1)["z"]
    mixed = engine.numpy(net.with_sound(*engine.array((one, two))))
    cells = SMALL.latent.tokens - SMALL.latent.audio
    assert np.array_equal(mixed[:, :, :cells], one[:, :, :cells])
    assert np.array_equal(mixed[:, :, cells:], two[:, :, cells:])
    free = lively(backend, CFGS["queries"])  # its tokens are of picture and sound alike: what is expected stands
    assert np.array_equal(engine.numpy(free.with_sound(*engine.array((one, two)))), two)


def test_forward_sees_then_dreams(backend):
    """TransformerWorldModel: a later action changes no earlier dreamt frame; sound goes on where it was."""
    net, engine = lively(backend), backend.engine
    given, actions = clip(), np.random.default_rng(0).integers(0, 3, (B, T + 4)).astype(np.int32)
    video, audio = engine.array(given["video"].astype(np.float32) / 255), engine.array(given["audio"])

    def run(a):
        with engine.inference():
            out = net(video, audio, engine.array(a), 4, backend.random.key(1), intermediates=True)
        return engine.numpy(out | out.pop("reconstruction"))

    out = run(actions)
    assert out["future_video"].shape == (B, 4, 32, 32, 3) and out["future_audio"].shape == (B, 4, 256)
    assert gap(out["z"][:, :T], encode(backend, net, given)) < 1e-5
    assert np.array_equal(np.concatenate([out["z_content"], out["z_dynamics"]], -1), out["z"])
    later = actions.copy()
    later[:, T + 2] = (later[:, T + 2] + 1) % 3
    other = run(later)
    for name in ("future_video", "future_audio"):
        assert np.array_equal(other[name][:, :2], out[name][:, :2])
        assert gap(other[name][:, 2], out[name][:, 2]) > 1e-3
    whole, sound, _ = engine.numpy(net.decode(engine.array(out["z"])))
    assert gap(np.concatenate([out["video"], out["future_video"]], 1), whole) < 1e-5
    assert gap(np.concatenate([out["audio"], out["future_audio"]], 1), sound) < 1e-4
    assert set(net(video, audio, engine.array(actions[:, :T]), 0)) == {"reconstruction"}


def test_unit_is_the_sphere_of_radius_sqrt_d(backend):
    x = np.random.default_rng(0).normal(size=(3, 4, 16)).astype(np.float32) * 5
    found = backend.engine.numpy(module(backend, "openworld.dynamics").unit(backend.engine.array(x)))
    assert gap(found, unit(x)) < 1e-5
