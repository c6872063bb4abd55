"""Log-mel features: the extractor's settings, augmentation and padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor

MELS = 40
HOP = 320  # samples: one mel frame is 20 ms
SECONDS = 6
FRAMES = SECONDS * 16000 // HOP


def extractor() -> WhisperFeatureExtractor:
    from transformers import WhisperFeatureExtractor  # takes seconds, and whoever speaks sentences needs no features

    return WhisperFeatureExtractor(
        feature_size=MELS, sampling_rate=16000, hop_length=HOP, n_fft=512, chunk_length=SECONDS
    )


def log_mels(feature_extractor: WhisperFeatureExtractor, waves: list[np.ndarray]) -> list[np.ndarray]:
    """One float16 array [frames, mels] for each wave, cut to the length of the wave."""
    padded = feature_extractor(
        waves, sampling_rate=16000, return_attention_mask=True, padding="max_length", return_tensors="np"
    )
    lengths = padded["attention_mask"].sum(-1)
    return [m[:, : int(n)].T.astype(np.float16) for m, n in zip(padded["input_features"], lengths, strict=True)]


def augment(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Varies one utterance at random: tempo, vocal tract length, spectral tilt, noise, masked bands and frames."""
    mel = mel.astype(np.float32)
    if rng.random() < 0.7:
        mel = _resampled(mel, min(FRAMES, max(20, round(len(mel) * rng.uniform(0.87, 1.15)))))
    if rng.random() < 0.6:
        mel = _warped(mel, rng.uniform(-0.08, 0.08))
    if rng.random() < 0.6:
        mel = mel + np.linspace(rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15), MELS, dtype=np.float32)
    if rng.random() < 0.6:
        mel = mel + rng.standard_normal(mel.shape, dtype=np.float32) * rng.uniform(0, 0.12)
    if rng.random() < 0.5:
        mel, mean = mel.copy(), float(mel.mean())
        for _ in range(2):
            band = rng.integers(0, MELS - 5)
            mel[:, band : band + rng.integers(1, 6)] = mean
        frame = rng.integers(0, max(1, len(mel) - 6))
        mel[frame : frame + rng.integers(1, 6)] = mean
    return mel


def _resampled(mel: np.ndarray, frames: int) -> np.ndarray:
    at = np.linspace(0, len(mel) - 1, frames)
    low = np.minimum(at.astype(int), len(mel) - 2)
    part = (at - low).astype(np.float32)[:, None]
    return mel[low] * (1 - part) + mel[low + 1] * part


def _warped(mel: np.ndarray, amount: float) -> np.ndarray:
    at = np.clip(np.arange(MELS) * (1 + amount), 0, MELS - 1.001)
    low = at.astype(int)
    part = (at - low).astype(np.float32)
    return mel[:, low] * (1 - part) + mel[:, np.minimum(low + 1, MELS - 1)] * part


def pad_mels(mels: list[np.ndarray], frames: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """[batch, mels, frames] and the lengths; padded with each array's minimum to `frames`, or to a multiple of four."""
    longest = frames or min(FRAMES, (max(len(m) for m in mels) + 3) // 4 * 4)
    out = np.stack(
        [np.pad(m, ((0, longest - len(m)), (0, 0)), constant_values=float(m.min())).astype(np.float32) for m in mels]
    )
    return np.ascontiguousarray(out.transpose(0, 2, 1)), np.array([len(m) for m in mels])
