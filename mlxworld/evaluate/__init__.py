"""Metrics on numpy arrays: what a dream gets right. Neither a backend nor a model is known here.

    evaluation.py   all of an evaluation, in order; report_folder.py and page/ write what it leaves
    figures.py      what is measured and what a measurement is: Clips, Row, Plot, Report
    report.py       the figures of any world: pictures, sound, likeness, keys
    worlds/         the figures that only one world has, a file a world
    video.py        PSNR, SSIM, GMSD, L1, error over what moves; the baselines "repeat the last frame" and "mean frame"
    audio.py        RMS, log-mel, multi-resolution STFT distance, sound onsets; sounds.py: their names and instants
    features.py     a fixed encoder of pictures, motion and sound; frechet.py: distances in it
    keys.py         which key was pressed, read from pictures
    answers.py      how soon a key is answered, leaving and returning; game.py: the real game asked the same
    drift.py        what becomes of a long dream, by segments
    plausibility.py possible and impossible clips; physics_report.py: positions and energies beside the simulator's
    pong.py         where the ball and the paddles stand in a picture of Pong
    free/           long dreams that nobody knows the truth of, by the rules of their games; real games are the ceiling
    quality.py      what a change of precision or weights costs, in dB of the same dream
    held_out.py     clips of a dataset, as a world takes them
    strip.py        real above, dream below, as a PNG

Axes: N clips, T frames, H, W, 3 colours, S samples of a frame. Video is uint8 (N, T, H, W, 3), audio float32
(N, T, S) in [-1, 1]; a leading axis more or less is fine wherever a docstring writes `...`.
"""
