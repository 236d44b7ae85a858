"""Losses: each falls as the prediction improves, and a last frame that stands still minimises none."""

import functools

import numpy as np
import pytest

from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn
from tests.models.small import SMALL, changed, clip, fresh, gap, gradients, latents, lively, module

FRAMES = 6


def losses(backend):
    return module(backend, "openworld.losses")


def tones(seed=0, cfg=SMALL, frames=FRAMES):
    """Sound (B, T * S) whose pitch and loudness change with each frame."""
    return clip(cfg, frames, seed=seed)["audio"].reshape(2, -1)


def measures(backend):
    """{name: (loss(prediction, truth) of numpy arrays, truth, the last seen frame repeated)} of every single loss."""
    made, o, engine = losses(backend), fresh(backend).tokenizer.objective, backend.engine
    video_losses, audio_losses = (module(backend, f"objectives.{name}") for name in ("video", "audio"))
    decoder = fresh(backend).tokenizer.audio_decoder
    video = clip(frames=FRAMES)["video"].astype(np.float32) / 255
    still = np.repeat(video[:, :1], FRAMES, axis=1)
    sound = tones()
    frozen = np.tile(sound[:, : SMALL.samples], FRAMES)
    _, frequency = engine.numpy(o.mel.frequency(engine.array(sound)))
    centre, reach = engine.numpy([decoder._centre, decoder._half_width])
    offsets = np.clip((frequency - centre) / reach, -1, 1)
    held = np.repeat(offsets[:, : SMALL.audio.columns], FRAMES, axis=1).reshape(offsets.shape)

    def mel(a, b):
        return backend.ops.abs(o.mel.log_mel(a) - o.mel.log_mel(b)).mean()

    found = {
        "pixel": (made.pixel, video, still),
        "perceptual": (video_losses.edges, video, still),
        "waveform": (lambda a, b: audio_losses.short_time_energy(a, b, o.chunk), sound, frozen),
        "stft": (lambda a, b: audio_losses.multi_resolution_stft(o.spectra, a, b), sound, frozen),
        "mel": (mel, sound, frozen),
        "pitch": (lambda a, _: made.pitch(o.mel, decoder, a, engine.array(sound)), offsets, held),
    }
    return {
        n: (lambda a, b, f=f: float(engine.numpy(f(engine.array(a), engine.array(b)))), *rest)
        for n, (f, *rest) in found.items()
    }


@pytest.mark.parametrize("name", ["pixel", "perceptual", "waveform", "stft", "mel", "pitch"])
def test_a_loss_falls_as_the_prediction_improves(backend, name):
    loss, truth, frozen = measures(backend)[name]
    wrong = np.random.default_rng(0).permutation(truth.reshape(-1)).reshape(truth.shape)
    others = [0 * truth] if name == "waveform" else [wrong, frozen]  # between two sounds there is less than either
    for other in others:
        way = [loss((truth + (1 - s) * (other - truth)).astype(np.float32), truth) for s in (0, 0.5, 0.9, 0.99)]
        assert way == sorted(way, reverse=True) and way[-1] < 0.5 * way[0], way
    assert loss(truth, truth) < 1e-4 < 1e-2 * loss(frozen, truth)


def test_a_ball_is_worth_more_than_the_noise_of_a_wall(backend):
    """Four pixels that move are missed more than a whole picture that is one grey level off."""
    video = np.full((1, 8, 64, 64, 3), 0.3, np.float32)
    for t in range(8):
        video[0, t, 4 * t + 8 : 4 * t + 10, 30:32] = 0.9
    loss = losses(backend).pixel
    number = lambda x: float(backend.engine.numpy(loss(*backend.engine.array([x, video]))))  # noqa: E731
    without, dim = np.full_like(video, 0.3), video + np.float32(1 / 255)
    assert number(without) > 10 * number(dim)
    frozen = np.repeat(video[:, :1], 8, axis=1)
    assert number(frozen) > number(without)  # a ball in the wrong place is worse than none


def test_pixel_is_hubers_loss(backend):
    engine, truth = backend.engine, np.zeros((1, 1, 8, 8, 3), np.float32)
    for d, expected in ((0.02, 5 * 0.02**2), (0.1, 0.05), (0.5, 0.45)):
        assert float(
            engine.numpy(losses(backend).pixel(*engine.array([truth + np.float32(d), truth])))
        ) == pytest.approx(expected, rel=1e-4)


def test_perceptual_sees_edges_not_brightness(backend):
    loss, video, _ = measures(backend)["perceptual"]
    blurred = (video + np.roll(video, 1, 2) + np.roll(video, 1, 3)) / 3
    assert loss(video + np.float32(0.2), video) < 1e-5 < 1e-3 < loss(blurred, video)


def test_waveform_rewards_no_silence(backend):
    """The right sound at another phase is better than none."""
    loss, sound, _ = measures(backend)["waveform"]
    assert loss(-sound, sound) < 1e-6 < 0.1 * loss(0 * sound, sound)


def test_uncertainties_weigh_and_learn(backend):
    """sum of exp(-s) L + s; at s = log L its slope is nothing, and the trainer moves s."""
    engine, net = backend.engine, fresh(backend).tokenizer
    made, objective = losses(backend), net.objective
    names = list(made.START)
    assert gap(engine.numpy(objective.log_variance), list(made.START.values())) < 1e-6
    parts = {n: engine.array(np.float32(i + 1)) for i, n in enumerate(names)}
    s, sizes = np.array(list(made.START.values())), np.arange(1, 8)
    assert float(engine.numpy(objective(parts))) == pytest.approx((np.exp(-s) * sizes + s).sum(), rel=1e-5)
    backend.nn.assign(objective, {"log_variance": engine.array(np.log(sizes).astype(np.float32))})
    slope = gradients(backend, objective, lambda o, batch, _: (o(batch), 0), parts)["log_variance"]
    assert gap(slope, 0) < 1e-5
    before = engine.numpy(net.objective.log_variance)
    trainer = engine.Trainer(net, (Turn("tokenizer", made.tokenizer_loss, OptimConfig(lr=1e-2)),))
    trainer.step(clip(frames=3), seed=0)
    assert (np.abs(engine.numpy(engine.parameters(net))["objective.log_variance"] - before) > 1e-3).all()


def seed_that_hides(backend, count, *what):
    """A seed under which tokenizer_loss hides the picture ("video") of one of `count` clips, the sound of another."""
    for seed in range(1000):
        first = backend.random.split(backend.random.key(seed), 4)[0]
        chance = backend.engine.numpy(backend.random.uniform(first, (count, 1)))
        if ("video" not in what or chance.min() < 0.04) and ("audio" not in what or chance.max() > 0.96):
            return seed
    raise AssertionError("no such seed")


LAYOUTS = {
    "grid": SMALL,
    "queries": changed(latent={"layout": "queries"}),
    "fixed, deep": changed(vision={"encoding": "fixed", "depth": 3, "taps": (1, 3)}),
}


@pytest.mark.parametrize("cfg", LAYOUTS.values(), ids=LAYOUTS)
def test_every_parameter_of_the_tokenizer_learns(backend, cfg):
    """From the first step on, whatever is in the stream; blocks after the last tap would be dead and get none."""
    seed = seed_that_hides(backend, 8, "video", "audio")
    net = lively(backend, cfg).tokenizer
    found = gradients(backend, net, losses(backend).tokenizer_loss, clip(cfg, 4, 8), seed)
    dead = [n for n, g in found.items() if not np.abs(g).max() > 1e-8]
    assert set(found) == set(backend.engine.parameters(net)) and not dead
    assert all(np.isfinite(g).all() for g in found.values())
    assert (
        np.abs(found["audio_decoder.head.weight"]).max(-1) > 0
    ).all()  # each band's tone, noise and, by its own loss, pitch


@pytest.mark.parametrize("head", ["flow", "regression"])
@pytest.mark.parametrize("start", [lively, fresh])
def test_every_parameter_of_the_dynamics_learns(backend, head, start):
    net = start(backend, changed(dynamics={"head": head, "action_dropout": 0.3})).dynamics
    found = gradients(backend, net, losses(backend).dynamics_loss, latents(frames=8, count=12))
    dead = [n for n, g in found.items() if not np.abs(g).max() > 1e-10]
    assert set(found) == set(backend.engine.parameters(net)) and not dead
    assert (np.abs(found["embed_action.weight"]).max(-1) > 0).all()  # the hidden action's row too
    levels = np.abs(found["embed_noise_level.weight"]).max(-1) > 0
    strides = np.abs(found["embed_step_size.weight"]).max(-1) > 0
    flow = head == "flow"
    assert levels.tolist() == ([True] * 5 if flow else [True, False, False, False, True])
    assert strides.tolist() == ([True, True, True, False, True] if flow else [True, False, False, False, True])


def test_checkpointing_changes_no_gradient(backend):
    for part, loss, batch in (
        ("tokenizer", losses(backend).tokenizer_loss, clip(frames=3, count=4)),
        ("dynamics", losses(backend).dynamics_loss, latents(frames=6, count=8)),
    ):
        plain, saving = (getattr(lively(backend, changed(checkpointing=on)), part) for on in (False, True))
        if part == "tokenizer":
            parts = saving.vision_encoder, saving.fusion, saving.video_processor, saving.audio_processor
            assert all(p.checkpointing for p in parts)
            found = [gradients(backend, net, loss, batch) for net in (plain, saving)]
        else:
            dynamics_loss = functools.partial(loss, checkpointing=True)
            found = [gradients(backend, plain, f, batch) for f in (loss, dynamics_loss)]
        for name in found[0]:
            scale = np.abs(found[0][name]).max()
            assert gap(found[0][name], found[1][name]) <= 1e-4 * scale + 1e-7, name


def test_checkpointing_keeps_dropout(backend):
    """Both at once: the same gradients as without checkpointing, and not those without dropout."""
    batch, loss = latents(frames=6, count=8), losses(backend).dynamics_loss
    dropping, plain = (lively(backend, changed(dynamics={"dropout": p})).dynamics for p in (0.3, 0.0))
    saving = functools.partial(loss, checkpointing=True)
    one, two = (gradients(backend, dropping, f, batch) for f in (loss, saving))
    none = gradients(backend, plain, loss, batch)
    for name in one:
        scale = np.abs(one[name]).max()
        assert gap(one[name], two[name]) <= 1e-4 * scale + 1e-7, name
    assert gap(one["head.weight"], none["head.weight"]) > 1e-3 * np.abs(none["head.weight"]).max()


@pytest.mark.parametrize(
    ("hidden", "parts"), [("video", ("pixel", "perceptual")), ("audio", ("mel", "stft", "waveform"))]
)
def test_what_is_hidden_is_not_asked_for(backend, hidden, parts):
    """With the picture (sound) of the one clip hidden, its content moves no loss, and its own losses are nothing."""
    net, made = lively(backend).tokenizer, losses(backend)
    seed = seed_that_hides(backend, 1, hidden)

    def run(given):
        parts = made.tokenizer_loss(net, backend.engine.array(given), backend.random.key(seed))[1]
        return {n: float(x) for n, x in backend.engine.numpy(parts).items()}

    given = {n: x[:1] for n, x in clip(frames=3).items()}
    other = given | {hidden: clip(frames=3, seed=1)[hidden][:1]}
    assert run(given) == run(other)
    assert all(run(given)[name] < 1e-6 for name in parts)
    shown = {"video": "audio", "audio": "video"}[hidden]
    assert run(given) != run(given | {shown: clip(frames=3, seed=1)[shown][:1]})


class Told:
    """Stands where LatentDynamics does and predicts what it is told, whatever it sees."""

    def __init__(self, net, z):
        self.cfg, self.hidden, self.controls = net.cfg, net.hidden, net.controls
        self.noisy, self.z, self.asked = net.noisy, z, []

    def forward(self, z, action, noise_level, step_size, past=None, key=None, checkpointing=False):
        self.asked.append((z, action, noise_level, step_size, past))
        return self.z[: z.shape[0]] + 0 * z


@pytest.mark.parametrize("head", ["flow", "regression"])
def test_the_truth_beats_the_last_frame(backend, head):
    """In dynamics_loss the true future scores nothing, nearly right scores little, and the last frame repeated much."""
    engine, net = backend.engine, lively(backend, changed(dynamics={"head": head})).dynamics
    z = np.repeat(latents(frames=8, count=1)["z"], 8, axis=0)  # one episode, so that any row is any other
    frozen = np.concatenate([z[:, :1], z[:, :-1]], axis=1)
    batch = engine.array({"z": z, "actions": np.zeros((8, 8), np.int32)})

    def loss(guess):
        told = Told(net, engine.array(guess.astype(np.float32)))
        return float(engine.numpy(losses(backend).dynamics_loss(told, batch, backend.random.key(0))[0]))

    way = [loss(z + s * (frozen - z)) for s in (1, 0.5, 0.1, 0)]
    assert way == sorted(way, reverse=True) and way[-1] < 1e-4 < 0.01 * way[0], way


def test_what_changes_counts_more(backend):
    """A miss in a token that moves costs more than the same miss in one that stands still."""
    engine, net = backend.engine, lively(backend).dynamics
    z = np.repeat(latents(frames=8, count=1)["z"], 4, axis=0)
    z[:, :, 1:] = z[:, :1, 1:]  # only the first token moves
    batch = engine.array({"z": z, "actions": np.zeros((4, 8), np.int32)})

    def loss(token):
        guess = z.copy()
        guess[:, 1:, token] += 0.5
        told = Told(net, engine.array(guess))
        return float(engine.numpy(losses(backend).dynamics_loss(told, batch, backend.random.key(1))[1]["flow"]))

    assert loss(0) > 3 * loss(1)


def test_what_the_dynamics_is_shown(backend):
    """Frames of every level over a nearly clean past (the dreamt one in self forcing), some actions hidden."""
    engine, net = backend.engine, lively(backend, changed(dynamics={"action_dropout": 0.25})).dynamics
    given = latents(frames=16, count=32)
    dreamt = latents(frames=16, count=32, seed=1)["z"]
    told = Told(net, engine.array(given["z"]))
    losses(backend).dynamics_loss(told, engine.array(given | {"dream": dreamt}), backend.random.key(0))
    assert len(told.asked) == 4  # the finest step, two half steps, the long one
    (z, action, level, stride, past), *longer = engine.numpy([list(a) for a in told.asked])
    assert len(z) == 24 and all(len(x[0]) == 8 for x in longer)
    assert set(level.reshape(-1)) == {0, 1, 2, 3} and (stride == 1).all()
    assert 0.15 < (action == 3).mean() < 0.35 and (action == given["actions"][:24])[action != 3].all()

    def share(a, b):  # of b in a, frame by frame
        return (a * b).sum((-1, -2)) / (b * b).sum((-1, -2))

    for i in range(4):
        assert share(z, given["z"][:24])[level == i].mean() == pytest.approx(i / 4, abs=0.05)
    assert share(past, dreamt[:24]).mean() == pytest.approx(0.95, abs=0.02)
    assert all(share(x[4], dreamt[24:]).mean() == pytest.approx(0.95, abs=0.02) for x in longer)
    (_, _, start, half, _), (_, _, later, _, _), (_, _, begun, whole, _) = longer
    assert (start == begun).all() and (whole == 2 * half).all() and set(whole.reshape(-1)) == {2, 4}
    assert (later == start + half).all() and (start % whole == 0).all()


def test_a_swapped_past_is_another_clips_for_a_few_frames(backend):
    """A share of each clip's tokens are another's for 1 to 8 frames, and what is asked for stays the clip's own."""
    cfg = changed(dynamics={"context_swap": 0.25, "context_noise": 0.0})
    engine, net = backend.engine, lively(backend, cfg).dynamics
    given = latents(cfg, frames=16, count=32)
    told = Told(net, engine.array(given["z"]))
    parts = losses(backend).dynamics_loss(told, engine.array(given), backend.random.key(0))[1]
    past = np.concatenate([engine.numpy(told.asked[i][4]) for i in (0, 1)])
    assert float(engine.numpy(parts["flow"])) < 1e-6
    own, other = (gap_of_tokens(past, z) < 1e-6 for z in (given["z"], np.roll(given["z"], 1, axis=0)))
    assert (own ^ other).all()
    runs = other.sum(axis=1)  # (B, K) frames, cut where a clip ends
    assert set(np.unique(runs)) == set(range(9)) and 0.2 < (runs > 0).mean() < 0.3
    begins = (np.diff(other, axis=1, prepend=False) & other).sum(axis=1)
    assert ((begins == 1) == (runs > 0)).all() and (begins < 2).all()


def gap_of_tokens(a, b):
    """The largest difference of each token, (B, T, K)."""
    return np.abs(a - b).max(axis=-1)


def test_a_long_step_learns_two_half_steps(backend):
    """The shortcut's target: the mean of both slopes, to the end of the path. Nothing else is asked of it."""
    engine, net = backend.engine, lively(backend).dynamics
    z = np.repeat(latents(frames=4, count=1)["z"], 8, axis=0)
    batch = engine.array({"z": z, "actions": np.zeros((8, 4), np.int32)})
    parts = losses(backend).dynamics_loss(Told(net, batch["z"]), batch, backend.random.key(2))[1]
    assert set(parts) == {"flow", "shortcut"} and float(engine.numpy(parts["shortcut"])) < 1e-6
    off = losses(backend).dynamics_loss(Told(net, -batch["z"]), batch, backend.random.key(2))[1]
    assert float(engine.numpy(off["shortcut"])) < 1e-6 < float(engine.numpy(off["flow"]))  # consistent, though wrong


@pytest.mark.parametrize("clips", [1, 2, 3, 4, 9])
def test_the_shortcut_is_learnt_from_however_few_clips(backend, clips):
    """A batch may be cut in parts of any size: each asks for long steps of a quarter of its clips, one at least."""
    engine, net, batch = backend.engine, lively(backend).dynamics, latents(frames=4, count=clips)
    told = Told(net, engine.array(batch["z"]))
    parts = losses(backend).dynamics_loss(told, engine.array(batch), backend.random.key(2))[1]
    assert set(parts) == {"flow", "shortcut"} and len(told.asked) == 4
    fine, *coarse = (len(z) for z, *_ in told.asked)
    assert coarse == [max(1, clips // 4)] * 3 and fine == max(1, clips - coarse[0])
    found = gradients(backend, net, losses(backend).dynamics_loss, batch)
    assert (np.abs(found["embed_step_size.weight"]).max(-1) > 0).sum() >= 2, "a longer step is learnt"
