"""The layouts data comes in: ACL 60/60 in every form, IWSLT segments, pairs of texts; each mistake one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.errors import UserError
from evaluate.data.audio import read_audio
from evaluate.data.conditions import talks_of
from evaluate.data.open import open_data
from tests.evaluate.data.test_open import sound

TALKS = ("2022.acl-long.268", "2022.acl-long.367")


def xml(lines: list[str], language: str) -> str:
    """As the official files are: an abstract with a bare ampersand, entities in segments."""
    kind = "srcset" if language == "en" else "refset"
    body = [f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<{kind} setid="dev" srclang="English">']
    for talk, part in zip(TALKS, (lines[:5], lines[5:]), strict=True):
        body.append(f'<doc docid="{talk}" genre="presentations">\n<talkid>{talk}</talkid>\n<abstract>A & B</abstract>')
        escaped = [line.replace("&", "&amp;") for line in part]
        body += [f'<seg id="{n}"> {line} </seg>' for n, line in enumerate(escaped, start=1)]
        body.append("</doc>")
    return "\n".join([*body, f"</{kind}>\n</mteval>\n"])


def tree(base: Path, split: str = "dev", gold: int = 12, shas: int = 9, txt: bool = True, xmls: bool = True) -> Path:
    for kind, count in (("gold", gold), ("shas", shas)):
        for n in range(1, count + 1):
            sound(base / split / "segmented_wavs" / kind / f"sent_{n}.wav")
    for language, what in (("en", "R&D sentence"), ("de", "Satz"), ("zh", "句子"), ("fr", "phrase")):
        lines = [f"{what} {n}" for n in range(1, 13)]
        for form, text in (("txt", "".join(f"{line}\n" for line in lines)), ("xml", xml(lines, language))):
            if (txt, xmls)[form == "xml"]:
                path = base / split / "text" / form / f"ACL.6060.{split}.en-xx.{language}.{form}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    return base


@pytest.mark.parametrize("inside", ["", "acl_6060", "2/acl_6060"])
def test_the_zip_may_be_unpacked_anywhere(tmp_path: Path, inside: str) -> None:
    tree(tmp_path / inside)
    data = open_data(f"acl6060:{tmp_path}", "dev", "en-fr")
    assert data.references == [f"phrase {n}" for n in range(1, 13)]
    assert data.origin == "acl6060"


def test_txt_and_xml_give_the_same(tmp_path: Path) -> None:
    tree(tmp_path)
    txt, xmls = (open_data(f"acl6060:{tmp_path},{form}", "dev", "en-zh") for form in ("txt", "gold,xml"))
    assert txt == xmls
    assert txt.sources[3] == "R&D sentence 4"
    assert talks_of(txt) == list(TALKS)
    assert [segment.talk for segment in txt.segments].count(TALKS[0]) == 5


def test_without_the_xml_talks_are_unknown_and_without_the_txt_it_is_read(tmp_path: Path) -> None:
    tree(tmp_path / "a", xmls=False)
    with pytest.raises(UserError, match="talk of 12 segments is not known"):
        talks_of(open_data(f"acl6060:{tmp_path / 'a'}", "dev", "en-de"))
    tree(tmp_path / "b", txt=False)
    assert len(open_data(f"acl6060:{tmp_path / 'b'}", "dev", "en-de").segments) == 12


def test_shas_is_translated_and_gold_is_scored(tmp_path: Path) -> None:
    data = open_data(f"acl6060:{tree(tmp_path)},shas", "dev", "en-de")
    assert len(data.segments) == 9
    assert data.segments[8].audio == tmp_path / "dev" / "segmented_wavs" / "shas" / "sent_9.wav"
    assert data.scored.references == [f"Satz {n}" for n in range(1, 13)]
    assert data.scored.is_text
    with pytest.raises(UserError, match="a part of an automatic segmentation"):
        data.first(3)


def test_wrong_trees(tmp_path: Path) -> None:
    tree(tmp_path / "a", gold=11)
    with pytest.raises(UserError, match="gold wavs has 11, source txt has 12"):
        open_data(f"acl6060:{tmp_path / 'a'}", "dev", "en-de")
    tree(tmp_path / "b")
    (tmp_path / "b" / "dev" / "segmented_wavs" / "gold" / "sent_7.wav").unlink()
    with pytest.raises(UserError, match=r"sent_7\.wav is missing"):
        open_data(f"acl6060:{tmp_path / 'b'}", "dev", "en-de")
    with pytest.raises(UserError, match="after the folder write gold or shas"):
        open_data(f"acl6060:{tmp_path / 'b'},silver", "dev", "en-de")
    with pytest.raises(UserError, match="is English speech"):
        open_data(f"acl6060:{tmp_path / 'b'}", "dev", "cs-de")
    with pytest.raises(UserError, match=r"en-xx\.ja\.txt is missing"):
        open_data(f"acl6060:{tmp_path / 'b'}", "dev", "en-ja")
    (tmp_path / "b" / "dev" / "text" / "xml" / "ACL.6060.dev.en-xx.de.xml").write_text("<mteval></mteval>")
    with pytest.raises(UserError, match="holds no <doc docid"):
        open_data(f"acl6060:{tmp_path / 'b'},xml", "dev", "en-de")


# Aliases that would be 9³⁰ words if they were written out.
NEST = "- {k0: &a0 [x], " + "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}], " for n in range(1, 30))
NEST += "offset: 1, duration: 1, wav: *a29}"


def iwslt(folder: Path, talk: str = "talk1", entries: str | None = None) -> str:
    """A wav whose loudness tells the second, and segments cut from it in another order."""
    rate = 8000
    folder.mkdir(exist_ok=True)
    steps = np.repeat(np.arange(1, 6) / 10, rate).astype("float32")
    soundfile.write(folder / f"{talk}.wav", np.stack([steps, steps], axis=1), rate, subtype="FLOAT")
    line = "- {{duration: {}, offset: {}, speaker_id: x, wav: {}.wav}}\n"
    text = entries or line.format(1.0, 3.0, talk) + line.format(0.5, 0.25, talk)
    (folder / "segments.yaml").write_text(text)
    (folder / "src.txt").write_text("The fourth.\nThe first.\n")
    (folder / "ref.txt").write_text("Die vierte.\nDie erste.\n")
    return f"iwslt:{folder / 'segments.yaml'},{folder},{folder / 'src.txt'},{folder / 'ref.txt'}"


def test_iwslt_segments_are_cut_by_offset_and_duration(tmp_path: Path) -> None:
    data = open_data(iwslt(tmp_path), "dev", "en-de")
    assert [(s.source, s.reference, s.talk) for s in data.segments] == [
        ("The fourth.", "Die vierte.", "talk1"),
        ("The first.", "Die erste.", "talk1"),
    ]
    for segment, loud, seconds in zip(data.segments, (0.4, 0.1), (1.0, 0.5), strict=True):
        assert segment.audio is not None
        cut = read_audio(segment.audio, 16_000, segment.offset, segment.duration)
        assert len(cut) == seconds * 16_000
        assert np.abs(cut[200:-200] - loud).max() < 0.01
    assert data.origin == "other"


def test_talks_of_acl_60_60_are_known_wherever_they_come_from(tmp_path: Path) -> None:
    spec = iwslt(tmp_path, TALKS[0])
    assert open_data(spec, "dev", "en-de").origin == "acl6060"
    with pytest.raises(UserError, match="is of ACL 60/60 dev, not of eval"):
        open_data(spec, "eval", "en-de")
    eval_talk = iwslt(tmp_path / "eval", "2022.acl-long.410")
    with pytest.raises(UserError, match="is of ACL 60/60 eval, not of dev"):
        open_data(eval_talk, "dev", "en-de")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("a: [", "is not YAML"),
        ("{}", "holds no list of segments"),
        ("- {offset: 1, wav: a.wav}\n- {}", "entry 1 has no wav, offset and duration"),
        ("- {offset: -1, duration: 1, wav: a.wav}", "entry 1 has offset -1"),
        ("- {offset: 1, duration: .nan, wav: a.wav}", "duration nan"),
        ("- {offset: 1, duration: 1, wav: ../a.wav}", "outside the folder of wavs"),
        ("- {offset: 1, duration: 1, wav: [a.wav]}", "entry 1 has no wav, offset and duration"),
        (NEST, "entry 1 has no wav, offset and duration"),
        ("[" * 5000, "is not YAML"),
        ("- {offset: 1, duration: 1, wav: a.wav}", "segments.yaml has 1, .*src.txt has 2"),
        ("- {offset: 1, duration: 1, wav: a.wav}\n" * 2, r"a\.wav is missing"),
    ],
)
def test_wrong_segments(tmp_path: Path, entries: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(iwslt(tmp_path, entries=entries), "dev", "en-de")


def test_a_stretch_outside_the_file_is_refused_by_name(tmp_path: Path) -> None:
    iwslt(tmp_path)
    with pytest.raises(UserError, match=r"talk1\.wav lasts 5\.00 s; a segment of 2\.00 s at 4\.00 s lies outside"):
        read_audio(tmp_path / "talk1.wav", 16_000, 4.0, 2.0)
    assert len(read_audio(tmp_path / "talk1.wav", 16_000, 4.0, 1.1)) == 16_000


def test_pairs_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.cs").write_text("Ahoj.\nDěkuji.\n", encoding="utf-8")
    (tmp_path / "a.de").write_text("Hallo.\nDanke.\n", encoding="utf-8")
    data = open_data(f"text:{tmp_path / 'a.cs'},{tmp_path / 'a.de'},split=dev", "dev", "cs-de")
    assert data.is_text
    assert (data.sources, data.references) == (["Ahoj.", "Děkuji."], ["Hallo.", "Danke."])
    with pytest.raises(UserError, match="is the dev split, and eval was asked for"):
        open_data(f"text:{tmp_path / 'a.cs'},{tmp_path / 'a.de'},split=dev", "eval", "cs-de")
    with pytest.raises(UserError, match="origin=mars is unknown"):
        open_data(f"text:{tmp_path / 'a.cs'},{tmp_path / 'a.de'},origin=mars", "dev", "cs-de")
    (tmp_path / "a.de").write_text("Hallo.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.cs has 2, .*a\.de has 1"):
        open_data(f"text:{tmp_path / 'a.cs'},{tmp_path / 'a.de'}", "dev", "cs-de")
    (tmp_path / "a.de").write_text("Hallo.\n\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.de: line 2 is empty"):
        open_data(f"text:{tmp_path / 'a.cs'},{tmp_path / 'a.de'}", "dev", "cs-de")


def test_a_declared_origin_is_known(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("id,split,audio_path,source_en,target_de\n1,dev,a.wav,Hi,Hallo\n2,dev,a.wav,Hi,\n")
    with pytest.raises(UserError, match=r"row 2 of split dev \('2'\) has no target_de"):
        open_data(f"manifest:{tmp_path / 'm.csv'}", "dev", "en-de")
    (tmp_path / "m.csv").write_text("id,split,audio_path,source_en,target_de\n1,dev,a.wav,Hi,Hallo\n")
    assert open_data(f"manifest:{tmp_path / 'm.csv'}", "dev", "en-de").origin == "other"
    assert open_data(f"manifest:{tmp_path / 'm.csv'},origin=acl6060", "dev", "en-de").origin == "acl6060"
