"""What training minimises, each task weighed by its learned uncertainty. B rows, T tokens or frames, V words."""

from typing import Any

from mlxworld.configs.omnilatent import MODALITIES, PAD

from ... import ops
from ..arrays import Array
from ..objectives.contrastive import info_nce, spread
from ..objectives.next_token import next_token
from ..objectives.predictive_coding import Relay


def text_loss(logits: Array, ids: Array) -> Array:
    """Cross entropy of logits (B, T, V), padding left out."""
    return next_token(logits, ids, ops.float32(ids != PAD))


def audio_loss(mel: Array, target: Array) -> Array:
    """Mean absolute and mean squared difference of spectrograms (B, T, F)."""
    d = ops.float32(mel) - target
    return ops.abs(d).mean() + ops.square(d).mean()


def image_loss(picture: Array, target: Array) -> Array:
    """Mean absolute difference of pictures (B, H, W, 3), and a tenth of that of their spectra's magnitudes."""
    picture, target = (ops.float32(x).moveaxis(3, 1) for x in (picture, target))
    return ops.abs(picture - target).mean() + 0.1 * ops.abs(_spectrum(picture) - _spectrum(target)).mean()


def _spectrum(x):
    """Magnitudes of the Fourier transform over both axes of x (B, 3, H, W): of frequencies up and down apart,
    (2, B, 3, W / 2 + 1, H / 2 + 1), scaled so that noise of variance 1 has about 1."""
    H, W = x.shape[-2:]
    parts = [y.swapaxes(-1, -2) for y in ops.rfft(x)]  # along W; the real and imaginary parts are then real along H
    (rr, ri), (ir, ii) = (ops.rfft(part) for part in parts)
    down = ops.square(rr - ii) + ops.square(ri + ir)
    up = ops.square(rr + ii) + ops.square(ir - ri)
    return ops.sqrt(ops.stack([down, up]) / (H * W) + 1e-8)


def video_loss(video: Array, target: Array) -> Array:
    """Mean absolute difference of videos (B, T, H, W, 3), and a fifth of that of their changes."""
    d = ops.float32(video) - target
    return ops.abs(d).mean() + 0.2 * ops.abs(d[:, 1:] - d[:, :-1]).mean()


def unit(modality: str, data: Array) -> Array:
    """Data as a model reads it: pictures and videos, uint8, in [0, 1]."""
    return ops.float32(data) / 255 if modality in ("image", "video") else data


LOSSES = {"text": text_loss, "audio": audio_loss, "image": image_loss, "video": video_loss}


def pairs_loss(
    model: Any,
    batch: dict[str, Array],
    pairs: tuple[tuple[str, str], ...],
    contrast: float = 0.0,
    relay: Relay | None = None,
) -> tuple[Array, dict[str, Array]]:
    """batch: of each modality its data, pictures and videos uint8. The mean loss of each target over its sources among
    `pairs`, weighed; plus `contrast` times InfoNCE of the latents of every two modalities. "spread_M" of a modality's
    latents goes to 0 when they collapse: it is shown, not minimised. relay: see objectives/predictive_coding.py."""
    data = {m: unit(m, batch[m]) for m in MODALITIES if m in batch}
    losses: dict[str, list[Array]] = {m: [] for m in MODALITIES}
    latents: dict[str, Array] = {}
    for source in dict.fromkeys(a for a, _ in pairs):
        targets = [b for a, b in pairs if a == source]  # in one pass
        out = model.forward_multimodal({source: data[source]}, targets, data.get("text"), relay)
        for target in targets:
            losses[target].append(LOSSES[target](out[target], data[target]))
        latents[source] = out["latent"]
    means = {m: sum(each) / len(each) for m, each in losses.items() if each}
    still = {m: ops.exp(model.objective.log_variance[i]) for i, m in enumerate(MODALITIES) if m not in means}
    loss, parts = model.objective(means | {m: ops.stop_gradient(x) for m, x in still.items()}), dict(means)
    names = sorted(latents)
    two = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    if contrast and two:
        parts["infonce"] = sum(info_nce(latents[a], latents[b]) for a, b in two) / len(two)
        loss = loss + contrast * parts["infonce"]
    if contrast:
        parts |= {f"spread_{m}": ops.stop_gradient(spread(x)) for m, x in latents.items()}
    return loss, parts
