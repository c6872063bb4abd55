"""Speech and phones from espeak-ng; speech as 16 kHz float samples."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np

from embedded.recipe.talks import Voice

RATE = 16000
_WAV_HEADER = 44  # skipped, not parsed: a streamed header has no sizes


class EspeakError(Exception):
    """espeak-ng is missing or gave no sound; the message is one line and says what to do."""


def require_espeak() -> None:
    if shutil.which("espeak-ng") is None:
        raise EspeakError(
            "espeak-ng is not installed, and only it makes the training speech: install it "
            "(Debian, Ubuntu: apt-get install espeak-ng; macOS: brew install espeak-ng) and run the recipe again"
        )


def synthesize(text: str, voice: Voice, gain: float) -> np.ndarray:
    """The samples of `text`, silence trimmed to 50 ms before and 100 ms after, peak at `gain`."""
    command = ["espeak-ng", "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", text]
    raw = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout[_WAV_HEADER:]
    samples = np.frombuffer(raw[: len(raw) // 2 * 2], dtype="<i2").astype(np.float32) / 32768
    if not samples.size or not samples.any():
        raise EspeakError(f"espeak-ng gave no sound for voice {voice.name!r}: is its voice data installed?")
    from scipy.signal import resample_poly  # takes a second, and whoever has made a mistake should hear of it before

    samples = resample_poly(samples, 320, 441).astype(np.float32)  # 22,050 Hz to 16,000 Hz
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    samples = samples[max(0, loud[0] - RATE // 20) : loud[-1] + RATE // 10]
    return samples / np.abs(samples).max() * gain


def phones(words: list[str]) -> dict[str, list[str]]:
    """espeak-ng's phones of each word, without stress marks."""
    command = ["espeak-ng", "-q", "-x", "--sep=_", "-v", "en-us", "--", ""]
    phones_of = {}
    for word in words:
        command[-1] = word
        line = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        symbols = [p.strip("',-% ") for p in line.replace("\n", "_").replace(" ", "_").split("_")]
        phones_of[word] = [p for p in symbols if p and not p.startswith("(")]
    return phones_of
