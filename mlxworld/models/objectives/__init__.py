"""Losses that know no family. Each is a function of arrays, or a Module where it has parameters.

uncertainty.py  tasks weighed by learned variances
video.py        motion, Huber's loss, edges
contrastive.py  InfoNCE, and how far latents have collapsed
adversarial.py  a critic of patches, and its weight
temporal.py     which of two clips comes first, and how far apart they are
audio.py        short-time energy, spectra of several resolutions
"""
