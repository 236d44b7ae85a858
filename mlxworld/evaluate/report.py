"""The figures of any world: pictures and sound of a dream beside the truth, and what is got right for nothing.

clips = Clips(video, audio, {"model": (dream_video, dream_audio)}, context=16, sample_rate=30720)
table = report(clips)
print(table.markdown())
"""

from . import audio as sound
from . import video as picture
from .figures import Clips, Report, Row, mean_known


def report(clips: Clips, horizons: tuple[int, ...] = (1, 4, 16), heard: int = 16) -> Report:
    """The figures of any world. Picture figures at each of the horizons (frames after the context; those longer than
    the clips are left out), sound figures over the first `heard` dreamt frames. Pixel errors are in levels of 255."""
    heard = min(heard, clips.frames)
    rows: list[Row] = []
    mask = picture.moving_mask(clips.video)
    for h in [h for h in horizons if h <= clips.frames]:
        t = clips.context + h - 1
        rows.append(Row(f"moving_error_{h}", f"error where it moves, frame {h} (levels)", "lower"))
        rows.append(Row(f"l1_{h}", f"error everywhere, frame {h} (levels)", "lower"))
        rows.append(Row(f"psnr_{h}", f"PSNR, frame {h} (dB)", "higher"))
        rows.append(Row(f"ssim_{h}", f"SSIM, frame {h}", "higher"))
        for name, (video, _) in clips.candidates.items():
            real, dream = clips.video[:, t], video[:, t]
            errors = picture.moving_error(real, dream, mask[:, t])
            rows[-4].values[name] = mean_known(errors)
            rows[-3].values[name] = float(picture.l1(real, dream).mean())
            rows[-2].values[name] = float(picture.psnr(real, dream).mean())
            rows[-1].values[name] = float(picture.ssim(real, dream).mean())
    mel = Row("log_mel_distance", f"log-mel distance, {heard} frames (dB)", "lower")
    stft = Row("stft_distance", f"multi-resolution STFT distance, {heard} frames", "lower")
    onset = Row("onset_f1", f"F1 of sound onsets within 1 frame, {heard} frames", "higher")
    span = slice(clips.context, clips.context + heard)
    begins = sound.onsets(clips.audio)[:, span]
    for name, (_, audio) in clips.candidates.items():
        real, dream = clips.audio[:, span], audio[:, span]
        mel.values[name] = float(sound.log_mel_distance(real, dream, clips.sample_rate).mean())
        stft.values[name] = float(sound.stft_distance(real, dream).mean())
        onset.values[name] = sound.onset_f1(begins, sound.onsets(audio)[:, span])
    facts = {"clips": len(clips.video), "context": clips.context, "frames": clips.frames}
    return Report(facts | {"frames_heard": heard, "real_onsets": int(begins.sum())}, [*rows, mel, stft, onset])
