"""Sound files → mono float32 at the rate a model hears."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import numpy as np

from compress.errors import Refusal


def read_audio(path: Path, rate: int = 16_000) -> np.ndarray:
    """Any format libsndfile reads, mixed to mono and resampled where needed."""
    import soundfile

    try:
        sound, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise Refusal(f"cannot read audio {path}: {error}") from None
    mono = sound.mean(axis=1)
    if not mono.size:
        raise Refusal(f"audio {path} is empty")
    if found != rate:
        from scipy.signal import resample_poly

        common = gcd(found, rate)
        mono = resample_poly(mono, rate // common, found // common)
    return np.asarray(mono, dtype=np.float32)
