"""Sound: continuous over frame borders however the frames are cut, in tune, in band, never from later frames."""

import numpy as np
import pytest

from mlxworld.configs.openworld import preset
from tests.models.small import SMALL, B, changed, clip, gap, lively, module

LOOP = 8
CFGS = {"4 columns": SMALL, "630 samples": changed(audio={"bands": 8}).fitted(("noop",), 35, 22050, 630)}
EACH = pytest.mark.parametrize("cfg", CFGS.values(), ids=CFGS)


def heard(frames, seed=0):
    """Features of frames' sound (B, T, C)."""
    return np.random.default_rng(seed).normal(size=(B, frames, SMALL.decoder.dim)).astype(np.float32)


def decoder(backend, cfg=SMALL):
    return lively(backend, cfg).tokenizer.audio_decoder


def decode(backend, net, x, state=None, cuts=()):
    """audio (B, T, S) of features decoded in pieces, and the last state."""
    engine, out = backend.engine, []
    state = net.init_state(len(x)) if state is None else state
    with engine.inference():
        for piece in np.split(x, cuts, axis=1):
            audio, state, _ = net(engine.array(piece), state)
            out.append(engine.numpy(audio))
    return np.concatenate(out, axis=1), state


class Said:
    """A decoder whose controls are given: loudness of one tone, of one noise, and the pitch offset of all bands."""

    def __init__(self, backend, cfg, band, tone=0.0, noise=0.0, offset=0.0):
        self.net = module(backend, "openworld.audio").AudioDecoder(cfg, cfg.decoder.dim)
        loudness = np.full(2 * cfg.audio.bands, -60, np.float32)
        for at, value in ((band, tone), (band + cfg.audio.bands, noise)):
            loudness[at] = np.log(max(value, 1e-9))
        bias = np.concatenate([loudness + 6, np.full(cfg.audio.bands, np.arctanh(offset))])
        zero = {n: p * 0 for n, p in backend.engine.parameters(self.net).items()}
        backend.nn.assign(self.net, zero | {"head.bias": backend.engine.array(bias.astype(np.float32))})
        self.centre = backend.engine.numpy(self.net._centre) * cfg.sample_rate
        self.reach = backend.engine.numpy(self.net._half_width) * cfg.sample_rate


@EACH
def test_all_frames_at_once_or_one_by_one(backend, cfg):
    """Also beyond the noise's loop, and begun anywhere in it. A phase is summed over columns, so its error grows."""
    net, x = decoder(backend, cfg), heard(2 * LOOP + 3)
    whole, end = decode(backend, net, x)
    assert whole.std() > 0.01 and np.abs(whole).max() <= 1
    for cuts in (range(1, x.shape[1]), (3, 4, 14)):
        pieces, state = decode(backend, net, x, cuts=list(cuts))
        assert gap(pieces[:, :4], whole[:, :4]) < 1e-5 and gap(pieces, whole) < 5e-5
        for name, value in backend.engine.numpy(state).items():
            last = backend.engine.numpy(end[name])
            apart = np.abs(value - last)
            assert np.minimum(apart, 1 - apart if name == "phase" else apart).max() < 1e-4, name


def test_noise_comes_round_after_its_loop(backend):
    said = Said(backend, SMALL, 8, noise=0.2)
    x = np.repeat(heard(1), 3 * LOOP, axis=1)
    sound, _ = decode(backend, said.net, x)
    assert gap(sound[:, LOOP : 2 * LOOP], sound[:, 2 * LOOP :]) < 1e-5
    assert gap(sound[:, LOOP : LOOP + 1], sound[:, LOOP + 1 : LOOP + 2]) > 0.05
    line = sound[0, LOOP:].reshape(-1)
    inside, seam = np.abs(np.diff(line[:-1])).max(), abs(line[LOOP * 256] - line[LOOP * 256 - 1])
    assert seam <= inside


def test_the_noise_of_a_band_is_in_the_band(backend):
    """Unit mean square before its loudness, and nothing beyond its two neighbours' centres."""
    band = 8
    said = Said(backend, SMALL, band, noise=0.2)
    sound, _ = decode(backend, said.net, np.repeat(heard(1), 2 * LOOP, axis=1))
    line = sound[0, LOOP:].reshape(-1).astype(np.float64)
    assert line.std() == pytest.approx(0.2, rel=0.02)
    power, hz = np.abs(np.fft.rfft(line)) ** 2, np.fft.rfftfreq(len(line), 1 / SMALL.sample_rate)
    inside = (hz > said.centre[band - 1]) & (hz < said.centre[band + 1])
    assert power[inside].sum() / power.sum() > 0.999


@pytest.mark.parametrize("offset", [-0.8, 0.0, 0.5])
@pytest.mark.parametrize("cfg", [*CFGS.values(), preset("nano")], ids=[*CFGS, "nano"])
def test_a_steady_tone_is_pure_and_in_tune(backend, cfg, offset):
    band, frames = cfg.audio.bands // 2, 16
    said = Said(backend, cfg, band, tone=0.5, offset=offset)
    x = np.zeros((1, frames, cfg.decoder.dim), np.float32)
    sound, _ = decode(backend, said.net, x, cuts=[1, 2, 7])
    line, hz = sound[0, 1:].reshape(-1).astype(np.float64), said.centre[band] + offset * said.reach[band]
    time = np.arange(len(line)) / cfg.sample_rate
    waves = np.stack([np.sin(2 * np.pi * hz * time), np.cos(2 * np.pi * hz * time)], 1)
    found = np.linalg.lstsq(waves, line, rcond=None)[0]
    assert np.hypot(*found) == pytest.approx(0.5, abs=1e-3)
    assert np.abs(line - waves @ found).max() < 5e-3  # drift of a thousandth of a hertz over half a second shows


def test_loudness_has_no_steps(backend):
    """From silence a tone grows over a column; no sample jumps further than the sine's own slope and the ramp's."""
    said = Said(backend, SMALL, 3, tone=0.5)
    sound, _ = decode(backend, said.net, np.zeros((1, 4, 64), np.float32), cuts=[1, 2, 3])
    line = sound.reshape(-1)
    steepest = 0.5 * 2 * np.pi * said.centre[3] / SMALL.sample_rate + 0.5 / SMALL.hop
    assert abs(line[0]) < 0.5 / SMALL.hop * 1.01 and np.abs(np.diff(line)).max() <= steepest * 1.01
    assert np.abs(line[: SMALL.hop // 4]).max() < 0.5 * 0.26


@EACH
def test_later_features_change_no_earlier_sample(backend, cfg):
    net, x = decoder(backend, cfg), heard(6)
    whole, _ = decode(backend, net, x)
    later = x.copy()
    later[:, 3] *= -1
    other, _ = decode(backend, net, later)
    assert np.array_equal(other[:, :3], whole[:, :3])
    assert gap(other[:, 3], whole[:, 3]) > 1e-2 < gap(other[:, 4:], whole[:, 4:])


def test_silence_before_the_first_frame(backend):
    state = backend.engine.numpy(decoder(backend).init_state(3))
    assert {n: x.shape[0] for n, x in state.items()} == {"history": 3, "loudness": 3, "phase": 3, "tick": 1}
    assert not any(x.any() for x in state.values())


def test_a_fresh_decoder_is_quiet(backend):
    """So that training does not begin with a roar: exp(-6) a tone and a noise."""
    net = (
        module(backend, "openworld.model")
        .TransformerWorldModel(SMALL)
        .init(backend.random.key(0))
        .tokenizer.audio_decoder
    )
    sound, _ = decode(backend, net, heard(4))
    assert 1e-4 < np.abs(sound).max() < 0.1


@EACH
def test_the_encoder_hears_no_later_sample(backend, cfg):
    """Column j of frame t: changing the first sample of column 1 of frame 3 leaves all before it alone."""
    net, audio = lively(backend, cfg).tokenizer.audio_encoder, clip(cfg, 6)["audio"]
    run = lambda x: backend.engine.numpy(net(backend.engine.array(x)))  # noqa: E731
    found, later = run(audio), audio.copy()
    assert found.shape == (B, 6, cfg.audio.columns, cfg.vision.dim)
    later[:, 3, cfg.hop :] += 0.3 * np.random.default_rng(0).normal(size=later[:, 3, cfg.hop :].shape)
    moved = np.abs(run(later.astype(np.float32)) - found).max((0, 3)).reshape(-1)
    at = 3 * cfg.audio.columns + 1
    assert moved[:at].max() < 1e-6 < 1e-3 < moved[at]
    reach = 2 + 2 + cfg.audio.overlap - 1  # columns: two convolutions of three, and the window
    last = 4 * cfg.audio.columns - 1 + reach
    assert moved[last + 1 :].max(initial=0) < 1e-6
