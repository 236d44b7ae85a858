"""What training minimises. Stage one, the tokenizer: `tokenizer_loss`; then `dynamics_loss`. On request the decoder of
pictures last of all, against a critic that judges them: `sharpen_loss` and `critic_loss` in turn.

Each takes (model, batch, key) and returns the loss and its parts, all scalars. Tasks are weighed by learned uncertainty
(Kendall et al. 2018): sum of exp(-s) L + s, where the s are parameters of the tokenizer, so they are in its optimizer.

B batch, T frames, H, W pixels, S samples of a frame, K tokens of width D.
"""

from typing import Any

from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops, random
from ..arrays import Array
from ..objectives import adversarial
from ..objectives import audio as audio_losses
from ..objectives import video as video_losses
from ..objectives.uncertainty import Uncertainty
from .dynamics import unit
from .signal import Spectrum

# Sizes that the losses have when things go well: where each log-variance starts, so that no task drowns another.
START = {"pixel": -5.5, "perceptual": -4.5, "motion": -1.5, "mel": -1.5, "stft": -1.5, "waveform": -5.0, "pitch": -2.0}
MOVING = 50.0  # extra weight of a pixel that moves; a ball is 4 pixels of 16,384
EDGE = 0.1  # of Huber's loss, where 1 is the full range of a pixel
HIDDEN = 0.04  # share of clips without picture, and of clips without sound
SWAPPED = 8  # frames, at most, that a swapped token stays
CHANGED = 4.0  # extra weight of a latent token that changes


class Objective(Uncertainty):
    """The tokenizer's losses: the constants of their spectra, and the tasks' log-variances (a parameter)."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__(START)
        hops = [n for n in range(cfg.hop // 4, cfg.hop + 1) if cfg.samples % n == 0]
        self.mel = Spectrum(cfg.stft_window, cfg.hop, cfg.audio.bands, cfg.sample_rate)
        self.spectra = [Spectrum(4 * hop, hop) for hop in (hops[0], cfg.samples)]  # short windows, and long ones
        self.chunk = max(n for n in range(1, 65) if cfg.samples % n == 0)


def pixel(prediction: Array, video: Array) -> Array:
    """Huber's loss of pixels (B, T, H, W, 3), more where the clip moves."""
    return video_losses.motion_huber(prediction, video, EDGE, MOVING)


def pitch(spectrum: Spectrum, decoder: Any, offsets: Array, audio: Array) -> Array:
    """Offsets (B, J, M) against the frequency of the true sound in each band, weighed by its share of the power."""
    power, frequency = spectrum.frequency(audio)
    target = ops.clip((frequency - decoder._centre) / decoder._half_width, -1.0, 1.0)
    share = power / (power.sum(axis=-1, keepdims=True) + 1e-6)
    return (share * ops.abs(offsets - ops.stop_gradient(target))).sum(axis=-1).mean()


def tokenizer_loss(model: Any, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
    """model: AudioVideoTokenizer. batch: video (B, T, H, W, 3) uint8, audio (B, T, S).

    The decoders read latents with a random amount of noise in them, as a rollout's will have. Now and then one modality
    of a clip is hidden, so that silent video and sound without picture have a latent too.
    """
    video, audio = ops.float32(batch["video"]) / 255, ops.float32(batch["audio"])
    B, T = video.shape[:2]
    keys = random.split(key, 4)
    chance = random.uniform(keys[0], (B, 1))
    shown, heard = (ops.float32(x) + ops.zeros((B, T), like=audio) for x in (chance > HIDDEN, chance < 1 - HIDDEN))
    z = model.encode(video, audio, shown, heard)
    noisy = _with_noise(model, z, keys[1], keys[2])
    sound, _, offsets = model.sound(noisy)
    shown, heard = shown[:, :, None, None, None], heard[:, :, None]  # what is hidden is not asked for either
    picture, video = shown * model.picture(noisy), shown * video
    sound, audio = ((heard * x).reshape(B, -1) for x in (sound, audio))
    content, motion = model.split(z)
    change = ops.stop_gradient(content[:, 1:] - content[:, :-1])
    predicted_change = model.motion(ops.cast(motion[:, 1:], like=model.motion.weight))
    o = model.objective
    parts = {
        "pixel": pixel(picture, video),
        "perceptual": video_losses.edges(picture, video),
        "motion": ops.square(ops.float32(predicted_change) - change).mean(),
        "mel": ops.abs(o.mel.log_mel(sound) - o.mel.log_mel(audio)).mean(),
        "stft": audio_losses.multi_resolution_stft(o.spectra, sound, audio),
        "waveform": audio_losses.short_time_energy(sound, audio, o.chunk),
        "pitch": pitch(o.mel, model.audio_decoder, offsets, audio),
    }
    return o(parts), parts


def sharpen_loss(model: Any, batch: dict[str, Array], key: Array, weight: float) -> tuple[Array, dict[str, Array]]:
    """What is between latents and pixels learns. model: AudioVideoTokenizer with a `critic`. batch: as of the
    tokenizer. weight: of the critic's gradient at the pixels, where that of the reconstruction is 1."""
    video, picture = _pictures(model, batch, key)
    o = model.objective
    log_variance = {task: o.log_variance[i] for i, task in enumerate(o.tasks)}
    pixel_weight, edge_weight = (ops.stop_gradient(ops.exp(-log_variance[t])) for t in ("pixel", "perceptual"))

    def reconstruction(x):
        return pixel_weight * pixel(x, video) + edge_weight * video_losses.edges(x, video)

    def deceived(x):
        return adversarial.deception(model.critic, x, video)

    loss, scale = adversarial.balanced(reconstruction, deceived, picture, weight)
    return loss, {"pixel": pixel(picture, video), "perceptual": video_losses.edges(picture, video), "scale": scale}


def critic_loss(model: Any, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
    """The critic's turn: arguments as of `sharpen_loss`."""
    video, picture = _pictures(model, batch, key)
    loss = adversarial.critic_loss(model.critic, picture, video)
    return loss, {"hinge": loss}


def _pictures(model, batch, key):
    """The true video, and what is decoded of its latents with a random amount of noise in them."""
    video, audio = ops.float32(batch["video"]) / 255, ops.float32(batch["audio"])
    z = ops.stop_gradient(model.encode(video, audio))
    return video, model.picture(_with_noise(model, z, *random.split(key, 2)))


def _with_noise(model, z, strength_key, noise_key):
    """Latents (B, T, K, D) with a random amount of noise in each frame, as a rollout's will have."""
    strength = model.cfg.latent.noise * random.uniform(strength_key, (*z.shape[:2], 1, 1))
    return unit(z + strength * random.normal(noise_key, z.shape))


def dynamics_loss(
    model: Any, batch: dict[str, Array], key: Array, checkpointing: bool = False
) -> tuple[Array, dict[str, Array]]:
    """model: LatentDynamics. batch: z (B, T, K, D) and actions (B, T), or rows (B, T, A); for self forcing also `dream`
    (B, T, K, D), what the model itself made of these frames: then the past is the dreamt one, and the target stays the
    truth.

    Every frame has a random noise level and is predicted from earlier ones with a little noise. Three quarters of the
    batch learn the finest step from the truth ("flow"); the rest, one clip at least, learn a longer step from two half
    as long ("shortcut"). A clip that is alone learns both. So both losses are there in every batch, however few clips
    each of its accumulated parts has; only the regression head, and a model of one noise level, have no longer step.
    """
    c, z, actions = model.cfg, batch["z"], batch["actions"]
    z = ops.float32(z)
    B, T = z.shape[:2]
    keys = random.split(key, 7)
    hide = random.bernoulli(keys[0], c.action_dropout, (B, T))
    hide = hide[:, :, None] if model.controls else hide
    actions = ops.where(hide, ops.cast(actions * 0 + model.hidden, like=actions), actions)
    noise = random.normal(keys[1], z.shape)
    dropout_key = keys[6] if c.dropout > 0 else None
    past = ops.float32(batch["dream"]) if "dream" in batch else z
    if c.context_swap > 0:
        past = _swapped(past, c.context_swap, random.split(keys[5], 2)[1])
    share = 2 * c.context_noise * random.uniform(keys[2], (B, T, 1, 1))
    past = (1 - share) * past + share * random.normal(keys[5], z.shape)

    def predict(x, noise_level, step_size, rows):
        return model.forward(x, actions[rows], noise_level, step_size, past[rows], dropout_key, checkpointing)

    changed = ops.square(z[:, 1:] - z[:, :-1]).mean(axis=-1)
    weight = 1 + CHANGED * ops.concat([ops.zeros((B, 1, z.shape[2]), like=z), ops.clip(changed, 0.0, 1.0)], axis=1)

    def error(prediction, target, rows):
        w = weight[rows]
        return (w * ops.square(prediction - ops.stop_gradient(target)).mean(axis=-1)).sum() / w.sum()

    if c.head == "regression":
        every, zero = slice(0, B), ops.int32(ops.zeros((B, T), like=z))
        truth = error(predict(z * 0, zero, zero + c.noise_levels, every), z, every)
        return truth, {"flow": truth}

    longest = c.noise_levels.bit_length() - 1  # the longest step is 2^longest levels
    coarse_clips = max(1, B // 4) if longest > 0 else 0
    fine, coarse = slice(0, max(1, B - coarse_clips)), slice(B - coarse_clips, B)
    noise_level = random.randint(keys[3], 0, c.noise_levels, (B, T))
    one = noise_level * 0 + 1
    x = model.noisy(z, noise, noise_level)[fine]
    truth = error(predict(x, noise_level[fine], one[fine], fine), z[fine], fine)
    if longest == 0:
        return truth, {"flow": truth}

    # A step of size 2^i begins at a multiple of itself; its target is where two half steps lead.
    power = random.randint(keys[4], 1, longest + 1, (B, 1)) + 0 * noise_level
    step_size = 2**power
    start = ops.int32(ops.floor(ops.float32(noise_level) / step_size)) * step_size
    half, start, step_size = (step_size // 2)[coarse], start[coarse], step_size[coarse]
    x = model.noisy(z[coarse], noise[coarse], start)
    first = _velocity(predict(x, start, half, coarse), x, start, c.noise_levels)
    middle = ops.stop_gradient(x + first * _share(half, c.noise_levels))
    second = _velocity(predict(middle, start + half, half, coarse), middle, start + half, c.noise_levels)
    target = x + 0.5 * (first + second) * (1 - _share(start, c.noise_levels))
    shortcut = error(predict(x, start, step_size, coarse), target, coarse)
    return truth + shortcut, {"flow": truth, "shortcut": shortcut}


def _swapped(past, share, key):
    """A past (B, T, K, D) in which this share of the tokens of each clip are, for 1 to SWAPPED frames, those of the
    clip before: clean and wrong, as a dream's own mistakes are. The target stays the truth, which other tokens and
    older frames still tell."""
    B, T, K, _ = past.shape
    keys, t = random.split(key, 3), ops.arange(T, like=past)[None, :, None]
    first = random.randint(keys[0], 0, T, (B, 1, K))
    last = first + random.randint(keys[1], 0, SWAPPED, (B, 1, K))
    chosen = random.bernoulli(keys[2], share, (B, 1, K)) & (t >= first) & (t <= last)
    return ops.where(chosen[..., None], ops.roll(past, 1, axis=0), past)


def _share(noise_level, noise_levels):
    return ops.float32(noise_level)[:, :, None, None] / noise_levels


def _velocity(clean, x, noise_level, noise_levels):
    """Of the straight path from x at `noise_level` to the predicted clean latent."""
    return (ops.stop_gradient(clean) - x) / (1 - _share(noise_level, noise_levels))
