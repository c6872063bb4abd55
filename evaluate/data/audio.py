"""Audio files, or parts of them → mono float32 samples at the rate a model takes."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import numpy as np

from compress.errors import UserError

RATES = (1_000, 768_000)  # samples a second; what lies outside is no recording
MOST_VALUES = 1 << 28  # samples times channels that are read at once: 93 minutes at 48 kHz
SLACK = 0.25  # seconds a segment may end after its file: lists of segments are rounded


def read_audio(path: Path, rate: int = 16_000, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Any format libsndfile reads, mixed to mono and resampled where needed. `offset` and `duration` are seconds."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            file_rate, length = file.samplerate, file.frames
            start = round(offset * file_rate)
            frames = -1 if duration is None else round(duration * file_rate)
            if start + max(frames, 0) > length + SLACK * file_rate:
                raise UserError(
                    f"audio {path} lasts {length / file_rate:.2f} s; a segment of {duration or 0:.2f} s at"
                    f" {offset:.2f} s lies outside it: are segments and sound of one release?"
                )
            count = length - start if frames < 0 else frames
            _check_size(path, file_rate, max(count * file.channels, count * rate // max(file_rate, 1)))
            file.seek(min(start, length))
            samples = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, OverflowError) as error:
        raise UserError(f"cannot read audio {path}: {error}") from None
    mono = samples.mean(axis=1)
    if not mono.size:
        where = "" if duration is None else f" at {offset:.2f} s"
        raise UserError(f"audio {path} is empty{where}")
    if not np.isfinite(mono).all():
        raise UserError(f"audio {path} holds samples that are no numbers")
    if file_rate != rate:
        from scipy.signal import resample_poly

        common = gcd(file_rate, rate)
        mono = resample_poly(mono, rate // common, file_rate // common)
    return np.asarray(mono, dtype=np.float32)


def _check_size(path: Path, rate: int, values: int) -> None:
    """Refuses what a header claims and no recording has, before memory is asked for."""
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"audio {path} claims {rate:,} samples a second: it is damaged, or no recording of speech")
    if values > MOST_VALUES:
        raise UserError(f"audio {path} claims {values:,} samples to be read at once: it is damaged, or must be cut")
