"""Spectra: mel filters against Slaney's formulas written again, tones of known pitch and loudness, no later sample."""

import numpy as np
import pytest

import mlxworld
from tests.models.small import gap, module

BANDS, WINDOW, HOP, RATE = 64, 1024, 256, 30720

# librosa 0.11: mel_frequencies(10, fmin=0, fmax=11025), and of filters.mel(sr=30720, n_fft=1024, n_mels=64, norm=None)
# some bands with the bin where they are highest, the heights there and beside it, and two sums.
EDGES = [0, 369.7081, 739.4162, 1119.1141, 1638.5451, 2399.0673, 3512.5820, 5142.9289, 7529.9927, 11025]
HEIGHTS = [
    (0, 2, 0.5344051, 0.9311898, 0.3967848),
    (1, 4, 0.6032152, 0.8623797, 0.3279746),
    (7, 15, 0.4816711, 0.9839239, 0.4495188),
    (15, 30, 0.4977472, 0.9678477, 0.4334426),
    (30, 72, 0.8709822, 0.8871647, 0.6525687),
    (31, 76, 0.8166233, 0.9516617, 0.7302615),
    (45, 170, 0.8502428, 0.9545524, 0.9444489),
    (55, 304, 0.9369104, 0.9953757, 0.9491875),
    (63, 483, 0.9558313, 0.9926237, 0.9722386),
]
SUMS = (496.6319, 330.89047)  # of all heights, of their squares


def slaney_filters(bands, window, rate):
    """The same filters another way: numpy's interpolation over edges made from the published constants."""

    def to_mel(hz):
        return np.where(hz < 1000, 3 * hz / 200, 15 + np.log(np.maximum(hz, 1e-9) / 1000) / (np.log(6.4) / 27))

    dense = np.linspace(0, rate / 2, 2_000_001)
    edges = np.interp(np.linspace(0, to_mel(np.array(rate / 2.0)), bands + 2), to_mel(dense), dense)
    bins = np.fft.rfftfreq(window, 1 / rate)
    return np.stack([np.interp(bins, edges[m : m + 3], [0, 1, 0]) for m in range(bands)], axis=1)


def spectrum(backend, bands=BANDS, window=WINDOW, hop=HOP, rate=RATE):
    return module(backend, "openworld.signal").Spectrum(window, hop, bands, rate)


def tone(hz, amplitude=1.0, samples=4096, rate=RATE):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(samples) / rate + 0.3)).astype(np.float32)[None]


def test_mel_filters_are_librosas():
    signal = module(mlxworld.on("mlx"), "openworld.signal")
    found = np.array(signal.mel_filters(BANDS, WINDOW, RATE))
    assert found.shape == (WINDOW // 2 + 1, BANDS)
    for band, k, *heights in HEIGHTS:
        assert found[:, band].argmax() == k
        assert gap(found[k - 1 : k + 2, band], heights) < 1e-5
    assert (found.sum(), (found**2).sum()) == pytest.approx(SUMS, abs=1e-3)
    assert gap(signal.mel_edges(8, 22050), EDGES) < 1e-3


def test_mel_is_slaneys_scale():
    """Auditory Toolbox: 0 to 1 kHz in steps of 200 / 3 Hz, then 27 steps for each factor 6.4."""
    signal = module(mlxworld.on("mlx"), "openworld.signal")
    assert signal.hz_to_mel(1000) == pytest.approx(15) and signal.hz_to_mel(6400) == pytest.approx(42)
    assert signal.hz_to_mel(500) == pytest.approx(7.5) and signal.mel_to_hz(10) == pytest.approx(2000 / 3)
    for hz in (0, 80, 999, 1001, 1050, 4000, 15000):
        assert signal.mel_to_hz(signal.hz_to_mel(hz)) == pytest.approx(hz)


@pytest.mark.parametrize(("bands", "window", "rate"), [(64, 1024, 30720), (64, 840, 22050), (20, 512, 16000)])
def test_mel_filters_are_slaneys(bands, window, rate):
    found = np.array(module(mlxworld.on("mlx"), "openworld.signal").mel_filters(bands, window, rate))
    assert gap(found, slaney_filters(bands, window, rate)) < 1e-5


def test_power_is_numpys(backend):
    x = np.random.default_rng(0).normal(0, 0.3, (2, 2048)).astype(np.float32)
    found = backend.engine.numpy(spectrum(backend).power(backend.engine.array(x)))
    padded = np.pad(x.astype(np.float64), [(0, 0), (WINDOW - HOP, 0)])
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    for j in range(8):
        column = np.fft.rfft(padded[:, j * HOP : j * HOP + WINDOW] * taper) * 4 / WINDOW
        np.testing.assert_allclose(found[:, j], np.abs(column) ** 2, rtol=1e-3, atol=1e-7)


def test_a_full_tone_has_magnitude_one(backend):
    s = spectrum(backend)
    found = backend.engine.numpy(s.power(backend.engine.array(tone(40 * RATE / WINDOW))))
    assert np.sqrt(found[0, 6:].max(-1)) == pytest.approx(1, abs=1e-3)
    mel = backend.engine.numpy(s.log_mel(backend.engine.array(tone(1200, 0.01))))
    quieter = backend.engine.numpy(s.log_mel(backend.engine.array(tone(1200, 0.001))))
    assert (mel - quieter)[0, 6:].max(-1) == pytest.approx(np.log(10), abs=0.01)


def test_silence_is_the_floor(backend):
    signal = module(backend, "openworld.signal")
    silent = backend.engine.array(np.zeros((1, 1024), np.float32))
    for x in (spectrum(backend).log_mel(silent), spectrum(backend).log_power(silent)):
        assert gap(backend.engine.numpy(x), np.log(signal.FLOOR)) < 1e-4
    quiet = module(backend, "openworld.audio").QUIET  # what the encoder sees of it
    assert quiet == pytest.approx((np.log(1e-4) + 5) / 3)


def test_columns_hear_nothing_later(backend):
    s, x = spectrum(backend), np.random.default_rng(0).normal(0, 0.3, (1, 8 * HOP)).astype(np.float32)
    found = backend.engine.numpy(s.log_mel(backend.engine.array(x)))
    for at in (4 * HOP, 5 * HOP - 1):  # the first and the last sample of column 4
        later = x.copy()
        later[0, at] += 1
        moved = np.abs(backend.engine.numpy(s.log_mel(backend.engine.array(later))) - found).max((0, 2))
        assert not moved[:4].any() and moved[5] > 1e-2


@pytest.mark.parametrize("hz", [55.0, 220.0, 440.0, 523.25, 1234.5, 4001.0, 12000.0])
def test_a_tones_frequency_is_found(backend, hz):
    """Within half a hertz, where a bin is 30 Hz wide."""
    power, frequency = backend.engine.numpy(spectrum(backend).frequency(backend.engine.array(tone(hz, 0.3))))
    for j in range(6, 16):
        loudest = power[0, j].argmax()
        assert frequency[0, j, loudest] * RATE == pytest.approx(hz, abs=0.5)


def test_two_tones_have_two_frequencies(backend):
    both = tone(440, 0.3) + tone(3000, 0.1)
    power, frequency = backend.engine.numpy(spectrum(backend).frequency(backend.engine.array(both)))
    edges = np.array(module(backend, "openworld.signal").mel_edges(BANDS, RATE))
    for hz in (440, 3000):
        band = np.abs(edges[1:-1] - hz).argmin()
        assert frequency[0, -1, band] * RATE == pytest.approx(hz, abs=0.5)


def test_backends_agree():
    x = np.random.default_rng(0).normal(0, 0.3, (2, 2048)).astype(np.float32)
    ours, theirs = (
        b.engine.numpy([spectrum(b).log_mel(b.engine.array(x)), spectrum(b).log_power(b.engine.array(x))])
        for b in map(mlxworld.on, ("mlx", "torch"))
    )
    assert gap(ours[0], theirs[0]) < 1e-5 and gap(ours[1], theirs[1]) < 1e-3
