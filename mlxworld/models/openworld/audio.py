"""Sound in and out. AudioEncoder: log-mel columns through causal convolutions. AudioDecoder: a tone and a band of noise
for each mel band, whose loudness and pitch the latent decides; the running phases are its state.

A log-mel spectrogram holds no phase, nor does the latent: the decoder keeps phase itself, as a phase vocoder does
(Flanagan & Golden 1966) and as harmonic-plus-noise synthesis does (Serra & Smith 1990; DDSP, Engel et al. 2020). Sound
is therefore continuous over frame borders by construction, and exact in pitch, without a Fourier transform at play.

B batch, T frames, S samples of a frame, J columns of a frame, M bands, L = S / J samples of a column, C width.
"""

import math

from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops, random
from ...nn import Conv1d, Linear, Module, RMSNorm, role
from ..arrays import Array
from . import signal

LOOP = 8  # frames until the noise repeats
QUIET = (math.log(signal.FLOOR) + 5) / 3  # what the encoder sees of silence


class AudioEncoder(Module):
    """audio (B, T, S) -> features (B, T, J, C), one token a spectrogram column."""

    def __init__(self, cfg: OpenWorldConfig, dim: int):
        super().__init__()
        a = cfg.audio
        self.columns = a.columns
        self.spectrum = signal.Spectrum(cfg.stft_window, cfg.hop, a.bands, cfg.sample_rate)
        self.conv1 = Conv1d(a.bands, dim, 3)
        self.conv2 = Conv1d(dim, dim, 3)
        self.norm = RMSNorm(dim)
        self.code = ops.zeros((self.columns, dim))
        role(self, "embedding", "code")

    def forward(self, audio: Array) -> Array:
        B, T, S = audio.shape
        x = (self.spectrum.log_mel(ops.float32(audio).reshape(B, T * S)) + 5) / 3  # -1.4 .. 1.7
        x = ops.cast(x, like=self.code)
        x = ops.silu(self.conv1(ops.pad(x, [(0, 0), (2, 0), (0, 0)], QUIET)))
        x = x + self.conv2(ops.pad(x, [(0, 0), (2, 0), (0, 0)]))
        return self.norm(x).reshape(B, T, self.columns, x.shape[-1]) + self.code


class AudioDecoder(Module):
    """Features of the frames' sound (B, T, C) -> samples (B, T, S) in [-1, 1], and the next call's state."""

    def __init__(self, cfg: OpenWorldConfig, dim: int):
        super().__init__()
        a = cfg.audio
        self.columns, self.bands, self.length = a.columns, a.bands, cfg.hop
        self.expand = Linear(dim, a.columns * a.dim)
        self.conv = Conv1d(a.dim, a.dim, 3)
        self.norm = RMSNorm(a.dim)
        self.head = role(Linear(a.dim, 3 * a.bands), "head")  # tone, noise, pitch
        edges = [f / cfg.sample_rate for f in signal.mel_edges(a.bands, cfg.sample_rate)]
        self._centre = ops.array(edges[1:-1])
        self._half_width = ops.array([(high - low) / 2 for low, high in zip(edges, edges[2:], strict=False)])
        self._loudest = ops.array([-6.0] * (2 * a.bands))  # where an untrained head starts: quiet
        self._ramp = ops.array([(i + 1) / self.length for i in range(self.length)])  # (L,)
        self._turns = ops.array([float(i + 1) for i in range(self.length)])
        self._noise = _band_noise(cfg)  # (LOOP, J, L, M), each band of unit mean square
        self._order = ops.arange(LOOP)

    def init_state(self, B: int) -> dict[str, Array]:
        """Silence before the first frame."""
        zero = ops.zeros((B, self.bands), like=self._centre)
        history = ops.zeros((B, 2, self.conv.weight.shape[0]), like=self.conv.weight)
        return {
            "history": history,
            "loudness": ops.concat([zero, zero], axis=-1),
            "phase": zero * 1,
            "tick": self._order[:1] * 0,
        }

    def controls(self, x: Array, history: Array) -> tuple[Array, Array, Array]:
        """x (B, T, C) -> loudness of tones and noises (B, T*J, 2M), pitch offset (B, T*J, M) in [-1, 1], history."""
        B, T, _ = x.shape
        x = ops.silu(self.expand(x)).reshape(B, T * self.columns, -1)
        x = ops.concat([history, x], axis=1)
        y = x[:, 2:] + self.conv(x)
        y = ops.float32(self.head(self.norm(y)))
        loudness = ops.exp(ops.clip(y[..., : 2 * self.bands] + self._loudest, -16.0, 1.0))
        return loudness, ops.tanh(y[..., 2 * self.bands :]), x[:, -2:]

    def forward(self, x: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array], Array]:
        """x (B, T, C) -> audio (B, T, S), state, and the pitch offsets (B, T*J, M) for the loss."""
        B, T, _ = x.shape
        J, L, M = T * self.columns, self.length, self.bands
        loudness, pitch, history = self.controls(x, state["history"])
        before = ops.concat([state["loudness"][:, None], loudness[:, :-1]], axis=1)
        envelope = before[:, :, None] + (loudness - before)[:, :, None] * self._ramp[:, None]  # (B, J, L, 2M)
        f = ops.stop_gradient(self._centre + self._half_width * pitch)  # cycles a sample; learnt from its own loss
        turns = f * L - ops.floor(f * L)  # of a column; whole ones dropped, or float32 loses phase over a long clip
        phase = state["phase"][:, None] + turns.cumsum(axis=1) - turns
        phase = phase[:, :, None] + f[:, :, None] * self._turns[:, None]  # (B, J, L, M)
        tone = ops.sin(math.tau * (phase - ops.floor(phase)))
        order = self._order + state["tick"]  # of the noise's frames
        order = ops.concat([ops.where(order < LOOP, order, order - LOOP)] * -(-T // LOOP))[:T]
        noise = ops.take(self._noise, order, axis=0).reshape(J, L, M)
        sound = (envelope[..., :M] * tone + envelope[..., M:] * noise).sum(axis=-1)  # (B, J, L)
        last, tick = phase[:, -1, -1], state["tick"] + T % LOOP
        state = {
            "history": history,
            "loudness": loudness[:, -1],
            "phase": last - ops.floor(last),
            "tick": ops.where(tick < LOOP, tick, tick - LOOP),
        }
        return ops.clip(sound, -1.0, 1.0).reshape(B, T, self.columns * L), state, pitch


def _band_noise(cfg):
    """Noise of each mel band (LOOP, J, L, M): random phases under the band's filter, so it loops without a seam."""
    a, n = cfg.audio, LOOP * cfg.samples
    filters = signal.mel_filters(a.bands, n, cfg.sample_rate)
    spectrum = ops.sqrt(ops.array(filters)).swapaxes(0, 1)  # (M, F)
    phase = random.uniform(random.key(0), spectrum.shape) * math.tau
    x = ops.irfft(spectrum * ops.cos(phase), spectrum * ops.sin(phase), n)  # (M, n)
    x = x * ops.rsqrt(ops.square(x).mean(axis=-1, keepdims=True))
    return x.swapaxes(0, 1).reshape(LOOP, a.columns, cfg.hop, a.bands)
