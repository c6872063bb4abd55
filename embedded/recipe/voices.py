"""Speech from espeak-ng, as 16 kHz float samples."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
from scipy.signal import resample_poly

from embedded.recipe.talks import Voice

RATE = 16000
_WAV_HEADER = 44  # a streamed header's sizes are not filled in, so it is skipped rather than parsed


class NoSpeech(Exception):
    """espeak-ng is missing or said nothing: one line that says what to do."""


def require_espeak() -> None:
    if shutil.which("espeak-ng") is None:
        raise NoSpeech(
            "espeak-ng is not installed, and only it makes the training speech: install it "
            "(Debian, Ubuntu: apt-get install espeak-ng; macOS: brew install espeak-ng) and run the recipe again"
        )


def say(text: str, voice: Voice, gain: float) -> np.ndarray:
    """The samples of `text`, silence trimmed to 50 ms before and 100 ms after, peak at `gain`."""
    command = ["espeak-ng", "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", text]
    raw = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout[_WAV_HEADER:]
    samples = np.frombuffer(raw[: len(raw) // 2 * 2], dtype="<i2").astype(np.float32) / 32768
    if not samples.size or not samples.any():
        raise NoSpeech(f"espeak-ng gave no sound for voice {voice.name!r}: is its voice data installed?")
    samples = resample_poly(samples, 320, 441).astype(np.float32)  # 22,050 Hz to 16,000 Hz
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    samples = samples[max(0, loud[0] - RATE // 20) : loud[-1] + RATE // 10]
    return samples / np.abs(samples).max() * gain


def phones(words: list[str]) -> dict[str, list[str]]:
    """espeak's phones of each word, stress marks taken off."""
    command = ["espeak-ng", "-q", "-x", "--sep=_", "-v", "en-us", "--", ""]
    out = {}
    for word in words:
        command[-1] = word
        line = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        found = [p.strip("',-% ") for p in line.replace("\n", "_").replace(" ", "_").split("_")]
        out[word] = [p for p in found if p and not p.startswith("(")]
    return out
