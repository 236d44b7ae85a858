"""The figures of any world: pictures, sound and keys of a dream beside the truth, and what is got right for nothing.

clips = Clips(video, audio, {"model": (dream_video, dream_audio)}, context=16, sample_rate=30720)
table = report(clips)
print(table.markdown())
"""

from collections.abc import Iterator

import numpy as np

from . import audio as sound
from . import features
from . import video as picture
from .figures import REAL, Clips, Pair, Plot, Report, Row, mean_known
from .frechet import frechet
from .keys import Eye, KeyReader, macro_f1
from .sounds import Names, named_f1, offsets

HORIZONS = (1, 4, 16, 64, 256)
HEARD = (16, 64, 256)  # frames after the context, of the figures of sound
WATCHED = 64  # of those of keys


def report(clips: Clips, horizons: tuple[int, ...] = HORIZONS) -> Report:
    """Pictures and sound in one table."""
    return pictures(clips, horizons) + sounds(clips)


def pictures(clips: Clips, horizons: tuple[int, ...] = HORIZONS) -> Report:
    """Figures of single frames, each so many frames after the context; horizons beyond the clips are left out. Errors
    of pixels are in levels of 255."""
    horizons = tuple(h for h in horizons if h <= clips.frames)
    moving = np.stack([picture.moving_mask(clip)[[clips.context + h - 1 for h in horizons]] for clip in clips.video])
    kinds = (
        ("moving_error", "error where it moves, frame {} (levels)", "lower"),
        ("l1", "error everywhere, frame {} (levels)", "lower"),
        ("psnr", "PSNR, frame {} (dB)", "higher"),
        ("ssim", "SSIM, frame {}", "higher"),
        ("gmsd", "perceptual distance GMSD, frame {}", "lower"),
    )
    rows = [Row(f"{key}_{h}", label.format(h), better) for h in horizons for key, label, better in kinds]
    table = {row.key: row for row in rows}
    curves: dict[str, list[float]] = {}
    for name, (video, _) in _dreams(clips):
        by_frame = [
            picture.psnr(a[clips.context :], b[clips.context :]) for a, b in zip(clips.video, video, strict=True)
        ]
        curves[name] = np.mean(by_frame, 0).tolist()
        for k, h in enumerate(horizons):
            t = clips.context + h - 1
            real, dream = clips.video[:, t], video[:, t]
            figures = {
                "moving_error": mean_known(picture.moving_error(real, dream, moving[:, k])),
                "l1": float(picture.l1(real, dream).mean()),
                "psnr": float(np.mean(by_frame, 0)[h - 1]),
                "ssim": float(picture.ssim(real, dream).mean()),
                "gmsd": float(picture.gmsd(real, dream).mean()),
            }
            for key, value in figures.items():
                table[f"{key}_{h}"].values[name] = value
    facts = {"clips": len(clips.video), "context": clips.context, "frames": clips.frames}
    x = list(range(1, clips.frames + 1))
    plots = [Plot("PSNR", "frames after the context", "dB", [float(t) for t in x], curves, log=True)]
    for key, title, unit in (
        ("ssim", "SSIM", ""),
        ("gmsd", "GMSD", ""),
        ("moving_error", "Error where it moves", "levels"),
    ):
        lines = {name: [table[f"{key}_{h}"].values[name] for h in horizons] for name in curves}
        plots.append(Plot(title, "frames after the context", unit, [float(h) for h in horizons], lines, log=True))
    note = (
        "Each dream sees the context, then goes on alone with the true keys; figures are means over the clips. "
        "'Reconstruction' encodes and decodes the true frames: what the latents can carry."
    )
    return Report(facts, rows, "Pictures", note, plots)


def sounds(clips: Clips) -> Report:
    """Spectra, onsets, named onsets and their offsets, over the first frames after the context."""
    rows, facts, rate = [], {}, clips.sample_rate
    begins = sound.onsets(clips.audio)
    names = Names.of(clips.audio, begins, rate)
    kinds = names.name(clips.audio, begins, rate)
    first = min(HEARD[0], clips.frames)
    spans = list(dict.fromkeys(min(h, clips.frames) for h in HEARD))
    for heard in spans:
        span, end = slice(clips.context, clips.context + heard), "" if heard == first else f"_{heard}"
        mel = Row(f"log_mel_distance{end}", f"log-mel distance, {heard} frames (dB)", "lower")
        stft = Row(f"stft_distance{end}", f"multi-resolution STFT distance, {heard} frames", "lower")
        onset = Row(f"onset_f1{end}", f"F1 of sound onsets within 1 frame, {heard} frames", "higher")
        named = Row(f"named_f1{end}", f"F1 of named sounds within 1 frame, {heard} frames", "higher")
        late = Row(f"onset_offset{end}", f"offset of matched onsets, median, {heard} frames (ms)", "lower")
        for name, (_, audio) in _dreams(clips):
            real, dream = clips.audio[:, span], audio[:, span]
            mel.values[name] = float(sound.log_mel_distance(real, dream, rate).mean())
            stft.values[name] = float(sound.stft_distance(real, dream).mean())
            dreamt = sound.onsets(audio)
            onset.values[name] = sound.onset_f1(begins[:, span], dreamt[:, span])
            kind = names.name(audio, dreamt, rate)
            named.values[name] = named_f1(kinds[:, span], kind[:, span], len(names.names))
            apart = np.abs(offsets(real, dream, begins[:, span], dreamt[:, span], rate))
            late.values[name] = float(np.median(apart)) if len(apart) else float("nan")
        rows += [mel, stft, onset, named, late]
    facts |= {"frames_heard": first, "real_onsets": int(begins[:, clips.context : clips.context + first].sum())}
    facts["sound_names"] = list(names.names)
    note = (
        "An onset matches one within a frame of it. Names are groups of alike spectra of real onsets, called by their "
        f"loudest frequency: {', '.join(names.names) or 'none'}."
    )
    plots = []
    for k, title in ((2, "Onsets within a frame"), (3, "Named sounds within a frame"), (0, "Log-mel distance")):
        lines = {name: [rows[5 * i + k].values[name] for i in range(len(spans))] for name in rows[k].values}
        plots.append(Plot(title, "frames dreamt", "F1" if k else "dB", spans, lines, log=True))
    return Report(facts, rows, "Sound", note, plots if len(spans) > 1 else [])


def likeness(clips: Clips) -> Report:
    """Frechet distances of all dreamt frames to all real ones, whichever stands beside which."""
    rows = [
        Row(f"frechet_{kind}", f"Frechet distance of {kind}, encoder {features.NAME}", "lower")
        for kind in ("pictures", "motion", "sound")
    ]
    sharp = Row("detail_off", "finest detail, off that of the real frames (%)", "lower", goal=20.0)
    start = clips.context
    detail = _detail(clips.video[:, start:])

    def encoded(pair: Pair) -> list[np.ndarray]:
        video, audio = pair[0][:, start:], pair[1][:, start:]
        kinds = [features.pictures(video), features.motion(pair[0][:, start - 1 :])]
        return [*kinds, features.sounds(audio, clips.sample_rate)]

    real = encoded((clips.video, clips.audio))
    flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
    for row, x in zip(rows, real, strict=True):
        row.values[REAL] = frechet(flat(x[::2]), flat(x[1::2]))
    for name, pair in _dreams(clips):
        for row, x, truth in zip(rows, encoded(pair), real, strict=True):
            row.values[name] = frechet(flat(x), flat(truth))
        sharp.values[name] = 100 * abs(_detail(pair[0][:, start:]) / max(detail, 1e-12) - 1)
    note = (
        "How far dreamt frames as a whole lie from real ones, as Gaussians of fixed features "
        f"({features.NAME}, nothing learnt). 'Real frames' is one half of the clips against the other: no dream of "
        "as many frames can be expected to be nearer."
    )
    return Report({"encoder": features.NAME}, [*rows, sharp], "Likeness", note)


def keys(clips: Clips) -> Report:
    """What the keys do: the gain of the true ones over shuffled ones, and how well they are read from frames."""
    assert clips.actions is not None
    horizons = [h for h in HORIZONS if h <= clips.frames]
    rows, plots = [], []
    if "shuffled actions" in clips.dreams:
        names = [next(iter(clips.dreams)), "shuffled actions"]
        for h in horizons:
            t = clips.context + h - 1
            near, far = (picture.psnr(clips.video[:, t], clips.dreams[name][0][:, t]).mean() for name in names)
            values = {names[0]: float(near - far), "repeat last": 0.0, "mean frame": 0.0}
            rows.append(
                Row(f"action_gain_{h}", f"PSNR of true keys above shuffled ones, frame {h} (dB)", "higher", values)
            )
        lines = {names[0]: [row.values[names[0]] for row in rows], "repeat last": [0.0] * len(rows)}
        plots.append(
            Plot("Gain of the true keys over shuffled ones", "frames after the context", "dB", horizons, lines, True)
        )
    f1 = Row("keys_f1", f"keys read from {min(WATCHED, clips.frames)} frames, macro F1", "higher")
    right = Row("keys_right", f"keys read from {min(WATCHED, clips.frames)} frames, accuracy", "higher")
    eye, half = Eye(clips.video), len(clips.video) // 2
    seen = eye(clips.video)
    parts = (slice(0, half), slice(half, None))
    readers = [KeyReader.fit(seen[part], clips.actions[part], len(clips.names)) for part in reversed(parts)]
    span = slice(clips.context, clips.context + WATCHED)
    truth = clips.actions[:, span]
    for name, (video, _) in clips.candidates.items():
        looked = seen[:, span] if name == REAL else eye(video[:, clips.context - 1 : span.stop])[:, 1:]
        read = np.concatenate([reader.read(looked[part]) for reader, part in zip(readers, parts, strict=True)])
        f1.values[name], right.values[name] = macro_f1(truth, read), float((read == truth).mean())
    common = np.full_like(truth, np.bincount(truth.reshape(-1)).argmax())
    f1.values["commonest key"], right.values["commonest key"] = macro_f1(truth, common), float((common == truth).mean())
    note = (
        "A small network is fitted to tell the key from four real frames (halves of the clips in turn, so that no clip "
        "is read by a reader that saw it) and then reads the dreams. 'Real frames' is its ceiling."
    )
    return Report({"keys": list(clips.names)}, [*rows, f1, right], "Keys", note, plots)


def _detail(video: np.ndarray) -> float:
    return float(np.mean([picture.detail(clip).mean() for clip in video]))


def _dreams(clips: Clips) -> Iterator[tuple[str, Pair]]:
    """The candidates that are held against the truth: all but the truth itself."""
    return ((name, pair) for name, pair in clips.candidates.items() if name != REAL)
