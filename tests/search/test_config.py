"""Settings and the run's folder: what may change on --resume, and who may use a folder."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from compress import Policy
from compress.codecs import has_trellis
from compress.errors import UserError
from results.run_files import write_file
from search.command_line import parse_levels, parser, to_config
from search.config import FREE_TO_CHANGE, Config, check_name
from search.run_dir import RunDir
from search.space.space import DEFAULT_LEVELS
from tests.forked import start


def config(tmp_path: Path, **others: object) -> Config:
    base = Config(bins=("Bin2",), lang="en-zh", runs=str(tmp_path), name="one")
    return replace(base, **others)  # type: ignore[arg-type]


def test_config_reads_back_equal(tmp_path: Path) -> None:
    made = config(tmp_path, levels=("grid@2", "nf4"), segments=12, vocabulary=("full", "scripts:en,zh"))
    assert Config.from_json(made.to_json()) == made


@pytest.mark.parametrize("text", ["", "[]", "{", '{"bins": ["Bin2"]}', '{"bins": ["Bin2"], "lang": "x", "levels": 3}'])
def test_a_damaged_config_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="damaged"):
        Config.from_json(text)


def test_a_config_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_bytes(b"\xff\xfe\x00")
    same = ["--bin", "Bin2", "--lang", "en-zh", "--runs", str(tmp_path), "--name", "one", "--resume"]
    with pytest.raises(UserError, match="cannot be read"):
        to_config(parser().parse_args(same))
    with pytest.raises(UserError, match="cannot be read"):
        RunDir(config(tmp_path), resume=True)


def test_a_config_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="novelty"):
        Config.from_json(config(tmp_path).to_json().replace('"seed"', '"novelty": 1,\n  "seed"'))


def test_resume_names_the_settings_that_differ(tmp_path: Path) -> None:
    earlier = config(tmp_path)
    config(tmp_path, trials=99, workers=7, address="auto").check_same(earlier)
    with pytest.raises(UserError, match="seed was 0, now 3"):
        config(tmp_path, seed=3).check_same(earlier)


def test_another_vocabulary_is_another_search_and_earlier_runs_had_the_whole_one(tmp_path: Path) -> None:
    older = {k: v for k, v in json.loads(config(tmp_path).to_json()).items() if not k.startswith("vocabulary")}
    earlier = Config.from_json(json.dumps(older))
    assert earlier.vocabulary == ("full",)
    with pytest.raises(UserError, match=r"vocabulary was \('full',\), now \('full', 'scripts:en,zh'\)"):
        config(tmp_path, vocabulary=("full", "scripts:en,zh")).check_same(earlier)
    config(tmp_path, vocabulary_texts="elsewhere.txt").check_same(earlier)


def test_free_settings_exist() -> None:
    assert set(FREE_TO_CHANGE) <= {f.name for f in fields(Config)}


def test_a_name_that_exists_needs_resume_and_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run 'one'"):
        RunDir(config(tmp_path), resume=True)
    first = RunDir(config(tmp_path), resume=False)
    first.release()
    with pytest.raises(UserError, match="run 'one' exists"):
        RunDir(config(tmp_path), resume=False)
    RunDir(config(tmp_path), resume=True).release()


def hold(tmp_path: Path) -> None:
    held = RunDir(config(tmp_path), resume=False)
    (tmp_path / "held").touch()
    time.sleep(60)
    held.release()


def test_a_run_in_use_by_a_living_process_is_refused(tmp_path: Path) -> None:
    holder = start(hold, tmp_path)
    try:
        while not (tmp_path / "held").exists():
            assert holder.is_alive()
            time.sleep(0.01)
        with pytest.raises(UserError, match=f"in use by process {holder.pid}"):
            RunDir(config(tmp_path), resume=True)
    finally:
        holder.kill()
        holder.join()
    RunDir(config(tmp_path), resume=True).release()  # the dead do not hold it


def test_policies_are_written_once_under_their_digest(tmp_path: Path) -> None:
    folder = RunDir(config(tmp_path), resume=False)
    policy = Policy(model="0123456789abcdef", levels={"lm.0.mlp": "nf4"})
    relative = folder.save_policy(policy)
    assert relative == f"policies/{policy.digest}.json"
    assert folder.save_policy(policy) == relative
    assert folder.read_policy(relative) == policy
    folder.release()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a b"])
def test_bad_run_names(name: str) -> None:
    with pytest.raises(UserError, match="run name"):
        check_name(name)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--lang en-zh", "--bin is missing"),
        ("--bin Bin2", "--lang is missing"),
        ("--bin Bin7 --lang en-zh", "unknown bin 'Bin7'"),
        ("--bin Bin2 --lang en-fr", "unknown language pair 'en-fr'"),
        ("--bin Bin2 --lang en-zh --sampler magic", "unknown sampler 'magic'"),
        ("--bin Bin2 --lang en-zh --trials -1", "--trials -1"),
        ("--bin Bin2 --lang en-zh --resume", "--resume needs the name"),
        ("--resume one --name other", "--resume one and --name other: give one name"),
        ("--resume one --runs /nowhere", "--resume: there is no run 'one' in /nowhere"),
        ("--lang en-zh --max-bytes 1.5XB", "'1.5XB' is no size: write bytes, or a number with KB"),
        ("--lang en-zh --max-bytes 1GB --min-bytes 1GB", "--max-bytes 1,000,000,000: more than --min-bytes"),
        ("--bin Bin2 --lang en-zh --model elsewhere/model", "--data is missing"),
        ("--bin Bin2 --lang en-zh --gpus-per-worker -2", "--gpus-per-worker"),
        ("--bin Bin2 --lang en-zh --gpus-per-worker nan", "--gpus-per-worker nan: give 0, a part of one GPU"),
        ("--bin Bin2 --lang en-zh --gpus-per-worker inf", "--gpus-per-worker inf"),
        ("--bin Bin2 --lang en-zh --gpus-per-worker 1.5", "--gpus-per-worker 1.5"),
        ("--bin Bin2 --lang en-zh --levels=", "--levels '': name at least one"),
        ("--bin Bin2 --lang en-zh --levels=,", "--levels ',': name at least one"),
        ("--bin Bin2 --lang en-zh --model /nope", "model '/nope' is not there"),
    ],
)
def test_mistakes_on_the_command_line(line: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        to_config(parser().parse_args(line.split()))


def test_defaults_of_the_embedded_run() -> None:
    found = to_config(parser().parse_args(["--bin", "Bin2", "--lang", "en-zh"]))
    assert (found.model, found.data, found.comet, found.baselines) == ("embedded", "embedded", "embedded", True)
    full = to_config(
        parser().parse_args(
            ["--bin", "Bin2", "--lang", "en-de", "--model", "Qwen/Qwen2-Audio-7B-Instruct", "--data", "acl6060:x"]
        )
    )
    assert (full.comet, full.chat, full.baselines) == ("Unbabel/wmt22-comet-da", True, False)
    assert full.max_new_tokens == 256


def test_trellis_is_a_ladder_of_other_levels() -> None:
    assert parse_levels(None, trellis=False) == ()
    assert parse_levels("grid@2,nf4,grid@1", trellis=True) == ("grid@2:trellis", "nf4", "grid@1:trellis")
    assert parse_levels("grid@2,grid@2:trellis", trellis=True) == ("grid@2:trellis",)
    ladder = parse_levels(None, trellis=True)
    assert {"grid@1:trellis", "grid@6:trellis", "raw:bf16"} <= set(ladder)
    assert len(ladder) == len(DEFAULT_LEVELS)
    with pytest.raises(UserError, match="unknown level"):
        parse_levels("grid@2,nonsense", trellis=True)


@pytest.mark.parametrize(
    ("more", "trellised"),
    [
        ("", True),
        ("--no-trellis", False),
        ("--recover 2", False),
        ("--recover 2 --trellis", True),
        ("--levels grid@2", False),
        ("--levels grid@2 --trellis", True),
    ],
)
def test_a_trellis_is_the_default_where_nothing_trains_integers(more: str, trellised: bool) -> None:
    options = parser().parse_args(["--bin", "Bin2", "--lang", "en-zh", *more.split()])
    assert any(has_trellis(level) for level in to_config(options).levels) == trellised


@pytest.mark.parametrize("begun", [(), ("grid@2:trellis", "nf4")])
def test_a_run_goes_on_with_the_levels_it_was_begun_with(begun: tuple[str, ...], tmp_path: Path) -> None:
    RunDir(config(tmp_path, levels=begun), resume=False).release()
    same = ["--bin", "Bin2", "--lang", "en-zh", "--runs", str(tmp_path), "--name", "one", "--resume"]
    for more in ([], ["--recover", "2"]):
        assert to_config(parser().parse_args([*same, *more])).levels == begun
    assert to_config(parser().parse_args([*same, "--levels", "nf4"])).levels == ("nf4",)


def begun(tmp_path: Path, *arguments: str) -> Config:
    """The configuration of a run that was begun with these arguments."""
    line = ["--lang", "en-zh", "--runs", str(tmp_path), "--name", "one", *arguments]
    made = to_config(parser().parse_args(line))
    RunDir(made, resume=False).release()
    return made


BEGUN = (
    *("--bin", "Bin2", "--levels", "grid@2,nf4", "--trials", "7", "--seed", "3", "--sampler", "random", "--no-drop"),
    *("--segments", "12", "--batch-size", "5", "--max-new-tokens", "33", "--groups", "layer", "--freeze", "head"),
    *("--vocabulary", "full", "--no-calibration", "--no-baselines", "--gpus-per-worker", "0", "--workers", "2"),
)


@pytest.mark.parametrize("line", ["--resume one", "--name one --resume", "--resume one --name one"])
def test_a_run_needs_only_its_name(line: str, tmp_path: Path) -> None:
    how = line.split()
    made = begun(tmp_path, *BEGUN)
    assert to_config(parser().parse_args([*how, "--runs", str(tmp_path)])) == made
    assert to_config(parser().parse_args([*how, "--runs", str(tmp_path), "--lang", "en-zh", *BEGUN])) == made


def test_what_may_change_is_taken_and_what_may_not_is_refused(tmp_path: Path) -> None:
    made = begun(tmp_path, *BEGUN)
    base = ["--resume", "one", "--runs", str(tmp_path)]
    free = ["--trials", "9", "--workers", "1", "--address", "auto", "--score-drops", "--sensitivities", "full"]
    changed = to_config(parser().parse_args([*base, *free]))
    expected = replace(made, trials=9, workers=1, address="auto", score_drops=True, sensitivities="full")
    assert changed == expected
    changed.check_same(made)
    for flag, value, told in (
        ("--seed", "0", "seed was 3, now 0"),  # the default, but not the run's
        ("--bin", "Bin3", r"bins was \('Bin2',\), now \('Bin3',\)"),
        ("--levels", "nf4", "levels was"),
        ("--model", "embedded2/x", "model was embedded, now embedded2/x"),
        ("--sampler", "tpe", "sampler was random, now tpe"),
        ("--max-bytes", "1MB", "max_bytes was None, now 1000000"),
    ):
        with pytest.raises(UserError, match=told):
            RunDir(to_config(parser().parse_args([*base, flag, value])), resume=True)


def test_an_address_of_the_run_is_kept_and_can_be_taken_back(tmp_path: Path) -> None:
    begun(tmp_path, "--bin", "Bin2", "--address", "auto")
    base = ["--resume", "one", "--runs", str(tmp_path)]
    assert to_config(parser().parse_args(base)).address == "auto"
    assert to_config(parser().parse_args([*base, "--address", "local"])).address is None


def test_the_command_that_goes_on_is_whole(tmp_path: Path) -> None:
    made = begun(tmp_path / "my runs", *BEGUN)
    words = shlex.split(made.resume_command(recover=2))
    assert words[:3] == ["python", "-m", "search.run"]
    options = parser().parse_args(words[3:])
    assert (to_config(options), options.recover) == (made, 2)
    assert replace(made, runs="runs").resume_command() == "python -m search.run --resume one"


def test_a_merged_run_is_not_gone_on_with(tmp_path: Path) -> None:
    made = begun(tmp_path, "--bin", "Bin2")
    settings = json.loads(made.to_json()) | {"merged": ["a", "b"]}
    write_file(made.folder / "config.json", json.dumps(settings))
    with pytest.raises(UserError, match="was merged from several and cannot be resumed"):
        to_config(parser().parse_args(["--resume", "one", "--runs", str(tmp_path)]))


@pytest.mark.parametrize(
    ("text", "nbytes"), [("1.5GB", 1_500_000_000), ("1.5GiB", 1_610_612_736), ("5MB", 5_000_000), ("569412", 569_412)]
)
def test_sizes_are_written_as_elsewhere(text: str, nbytes: int) -> None:
    made = to_config(parser().parse_args(["--lang", "en-zh", "--max-bytes", text, "--min-bytes", "1KB"]))
    assert (made.max_bytes, made.min_bytes) == (nbytes, 1000)


def test_older_runs_of_all_bins_are_of_every_bin(tmp_path: Path) -> None:
    assert Config.from_json(config(tmp_path, bins=("all",)).to_json()).bins == ("Bin1", "Bin2", "Bin3", "Bin4", "Bin5")
