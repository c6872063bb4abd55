"""Sound files, whole or a stretch of them → mono float32 at the rate a model hears."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import numpy as np

from compress.errors import UserError

SLACK = 0.25  # seconds a stretch may end after its file: rounding in the lists of segments


def read_audio(path: Path, rate: int = 16_000, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Any format libsndfile reads, mixed to mono and resampled where needed. Only the stretch asked for is read."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            found, length = file.samplerate, file.frames
            start = round(offset * found)
            frames = -1 if duration is None else round(duration * found)
            if start + max(frames, 0) > length + SLACK * found:
                raise UserError(
                    f"audio {path} lasts {length / found:.2f} s; a segment of {duration or 0:.2f} s at"
                    f" {offset:.2f} s lies outside it: are segments and sound of one release?"
                )
            file.seek(min(start, length))
            sound = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise UserError(f"cannot read audio {path}: {error}") from None
    mono = sound.mean(axis=1)
    if not mono.size:
        where = "" if duration is None else f" at {offset:.2f} s"
        raise UserError(f"audio {path} is empty{where}")
    if not np.isfinite(mono).all():
        raise UserError(f"audio {path} holds samples that are no numbers")
    if found != rate:
        from scipy.signal import resample_poly

        common = gcd(found, rate)
        mono = resample_poly(mono, rate // common, found // common)
    return np.asarray(mono, dtype=np.float32)
