"""Sound: any rate and channel count → mono at the model's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.errors import UserError
from evaluate.data.audio import read_audio


def test_stereo_at_another_rate_is_mixed_and_resampled(tmp_path: Path) -> None:
    rate, seconds = 22_050, 0.5
    t = np.arange(int(rate * seconds)) / rate
    left = 0.5 * np.sin(2 * np.pi * 440 * t)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), rate)
    mono = read_audio(tmp_path / "a.wav")
    assert mono.dtype == np.float32
    assert len(mono) == pytest.approx(16_000 * seconds, abs=2)
    spectrum = np.abs(np.fft.rfft(mono))
    assert spectrum.argmax() * 16_000 / len(mono) == pytest.approx(440, abs=3)
    assert np.abs(mono[1000:-1000]).max() == pytest.approx(0.25, abs=0.01)


def test_what_is_no_sound_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("not a sound")
    with pytest.raises(UserError, match=r"cannot read audio .*a\.wav"):
        read_audio(tmp_path / "a.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    with pytest.raises(UserError, match="is empty"):
        read_audio(tmp_path / "empty.wav")


def wav_at(rate: int, path: Path) -> Path:
    """A second of 16 kHz whose header says another rate."""
    soundfile.write(path, np.zeros(16_000), 16_000)
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rate", [0, 1, 2**31])
def test_a_rate_that_no_recording_has_is_refused_before_memory_is_asked_for(tmp_path: Path, rate: int) -> None:
    with pytest.raises(UserError, match=r"claims .* samples a second|cannot read audio"):
        read_audio(wav_at(rate, tmp_path / "a.wav"))


def test_a_flac_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(16_000), 16_000)
    data = bytearray(path.read_bytes())
    # The last 36 bits before the MD5 of the STREAMINFO block are the number of samples.
    claimed = (int.from_bytes(data[18:26], "big") >> 36 << 36) | (2**36 - 1)
    data[18:26] = claimed.to_bytes(8, "big")
    path.write_bytes(data)
    with pytest.raises(UserError, match="samples to be read at once"):
        read_audio(path)
    with pytest.raises(UserError):
        read_audio(path, duration=10_000_000.0)
