"""The model card and the upload: against a stand-in of the hub's interface, which gets the very bytes of the files."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import compress
from compress.cli import run as run_command
from compress.errors import UserError
from evaluate import score, translate
from results import export
from results.rows.storage import Table
from results.shipping import build as build_module
from results.shipping import card, hub
from tests.results.examples import candidate
from tests.results.shipped import scored_run


@dataclass
class Hub:
    """What the stand-in was given. `refuse` is the status of every answer from a path that contains the text."""

    address: str = ""
    token: str = "hf_secretsecretsecret"
    repositories: dict[str, bool | None] = field(default_factory=dict)  # name → private; None: the owner's default
    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # of LFS, by SHA-256
    validated: list[str] = field(default_factory=list)
    refuse: tuple[str, int] = ("", 0)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silent."""

        def answer(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
            payload = json.dumps(content).encode()
            self.send_response(status)
            for header, value in (headers or {}).items():
                self.send_header(header, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def refused(self) -> bool:
            where, status = made.refuse
            if where and where in self.path:
                self.body()
                self.answer({"error": "no"}, status)
                return True
            if "/objects/" not in self.path and self.headers.get("Authorization") != f"Bearer {made.token}":
                self.body()
                self.answer({"error": "who are you"}, 401)
                return True
            return False

        def do_GET(self) -> None:
            if self.refused():
                return
            if self.path.startswith("/api/models/"):
                name = self.path.removeprefix("/api/models/")
                if name not in made.repositories:
                    self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                else:
                    self.answer({"id": name, "private": bool(made.repositories[name])})
            elif not self.path.startswith("/api/whoami"):
                self.answer({"error": self.path}, 404)
            else:
                self.answer({"name": "someone", "type": "user", "auth": {"accessToken": {"role": "write"}}})

        def do_PUT(self) -> None:
            content = self.body()
            made.objects[hashlib.sha256(content).hexdigest()] = content
            self.answer({})

        def do_POST(self) -> None:
            if self.refused():
                return
            content = self.body()
            if self.path == "/api/validate-yaml":
                made.validated.append(json.loads(content)["content"])
                self.answer({"errors": [], "warnings": []})
            elif self.path == "/api/repos/create":
                request = json.loads(content)
                name = f"{request['organization']}/{request['name']}"
                status = 409 if name in made.repositories else 200  # what is there stays as it is
                made.repositories.setdefault(name, request.get("private"))
                self.answer({"url": f"{made.address}/{name}", "name": name}, status)
            elif "/preupload/" in self.path:
                files = json.loads(content)["files"]
                modes = ["lfs" if each["path"].endswith("weights.bin") else "regular" for each in files]
                self.answer(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": m, "shouldIgnore": False, "oid": None}
                            for f, m in zip(files, modes, strict=True)
                        ]
                    }
                )
            elif self.path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(content)["objects"]
                upload = {each["oid"]: f"{made.address}/objects/{each['oid']}" for each in objects}
                self.answer(
                    {
                        "transfer": "basic",
                        "objects": [each | {"actions": {"upload": {"href": upload[each["oid"]]}}} for each in objects],
                    }
                )
            elif "/commit/" in self.path:
                for line in content.decode().splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        made.files[value["path"]] = base64.b64decode(value["content"])
                    elif entry["key"] == "lfsFile":
                        made.files[value["path"]] = made.objects[value["oid"]]
                self.answer(
                    {"commitUrl": f"{made.address}/someone/model/commit/0", "commitOid": "0" * 40, "success": True}
                )
            else:
                self.answer({"error": self.path}, 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    monkeypatch.setenv("HF_TOKEN", made.token)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.address)  # read when the package is imported
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, embedded_store: compress.Store) -> tuple[Path, dict[str, Any]]:
    run, row, outcome = scored_run(tmp_path_factory.mktemp("shipped"), embedded_store)
    shutil.rmtree(run / "candidates.parquet")
    original = candidate("original", 4_723_120, 0.97, recipe="original", segments=row.segments)
    Table(run / "candidates.parquet").append([original, row])
    return run, outcome


@pytest.fixture
def exporting(
    run_folder: tuple[Path, dict[str, Any]], embedded_store: compress.Store, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Arguments of an export whose other process answers what it did."""
    run, outcome = run_folder
    monkeypatch.setattr(build_module, "verify_in_process", lambda _: outcome)
    return [str(run), "--candidate", "c00001", "--store", str(embedded_store.root)]


def front_matter(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return loaded


def test_the_card_says_what_it_is_and_lies_beside_the_artifact(exporting: list[str], tmp_path: Path) -> None:
    art = tmp_path / "my.art"
    export.main([*exporting, "--out", str(art), "--card"])
    text = card.path_for(art).read_text(encoding="utf-8")
    data = front_matter(text)
    (result,) = data["model-index"][0]["results"]
    scores = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert (data["license"], data["language"], data["pipeline_tag"]) == ("apache-2.0", ["en", "zh"], "translation")
    assert "base_model" not in data, "the embedded model is on no hub"
    assert 0 < scores["comet"] < 1.2
    nbytes = compress.Artifact.open(art).nbytes
    assert f"{nbytes:,} bytes" in text
    assert "| the original | 0.9700 |" in text
    assert 'compress.load("my.art")' in text
    assert "Layers dropped: lm.5." in text
    assert "stand-in, not comparable with wmt22-comet-da" in text
    assert "grid@1.5 " in text
    with pytest.raises(UserError, match="exists already"):
        export.main([*exporting, "--out", str(tmp_path / "my.art"), "--card"])


def test_the_commands_in_the_card_give_the_score_again(
    exporting: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    art = tmp_path / "my.art"
    export.main([*exporting, "--out", str(art), "--card"])
    text = card.path_for(art).read_text(encoding="utf-8")
    translating, scoring = (shlex.split(line) for line in text.splitlines() if line.startswith("python -m evaluate."))
    monkeypatch.chdir(tmp_path)
    translate.main([str(art) if word == "ARTIFACT" else word for word in translating[3:]])
    capsys.readouterr()
    score.main([*scoring[3:], "--no-cache", "--json"])
    (system,) = json.loads(capsys.readouterr().out)["systems"]
    again = {each["metric"]: each["value"] for each in system["scores"]}
    (result,) = front_matter(text)["model-index"][0]["results"]
    promised = {metric["name"].partition(" ")[0]: metric["value"] for metric in result["metrics"]}
    assert again["COMET"] == pytest.approx(promised["COMET"], abs=1e-4)


def test_the_original_is_named_only_as_the_hub_does(
    exporting: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "qwen").mkdir(parents=True)
    assert card.hub_name("Qwen/Qwen2-Audio-7B") == "Qwen/Qwen2-Audio-7B"
    for other in ("models/qwen", "/models/qwen", "embedded", "a/b/c", ""):
        assert card.hub_name(other) is None, other
    named = ["--base-model", "Qwen/Qwen2-Audio-7B", "--license", "apache-2.0"]
    export.main([*exporting, "--out", "my.art", "--card", *named])
    data = front_matter(card.path_for(Path("my.art")).read_text(encoding="utf-8"))
    assert (data["base_model"], data["base_model_relation"]) == ("Qwen/Qwen2-Audio-7B", "quantized")
    with pytest.raises(UserError, match="--base-model x: write OWNER/NAME"):
        export.main([*exporting, "--out", "other.art", "--card", "--base-model", "x"])
    assert not Path("other.art").exists()


@pytest.mark.parametrize(
    "hostile", ["a\n---\nlicense: mit", "<script>x</script>", "![x](http://y)", "| a | `b`", "\x1b[2J"]
)
def test_what_a_run_says_is_text_in_the_card(exporting: list[str], tmp_path: Path, hostile: str) -> None:
    art = tmp_path / "my.art"
    export.main([*exporting, "--out", str(art)])
    exported = card.read_provenance(art)
    exported["tuned"][0] |= {"name": hostile, "split": hostile, "lang": f"{hostile}-zh", "data": hostile}
    exported["model"] = hostile
    row = replace(candidate("c00001", 1000, 0.5), signature=hostile)
    text = card.model_card(art, exported, row, None, "m\n---\nlicense: mit", "other")
    assert front_matter(text)["license"] == "other"
    body = text.split("---\n", 2)[2]
    for line in ("<script>", "![x]", "\x1b", "\nlicense:"):
        assert line not in body
    assert "--data DATA --lang PAIR --split SPLIT" in body, "no command holds it"


def test_everything_is_uploaded_to_the_last_byte_in_one_commit(
    exporting: list[str], tmp_path: Path, stand_in: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    art = tmp_path / "my.art"
    export.main([*exporting, "--out", str(art), "--push", "someone/model", "--private"])
    assert stand_in.repositories == {"someone/model": True}
    expected = {f"artifact/{path.name}": path.read_bytes() for path in art.iterdir()}
    expected |= {"README.md": card.path_for(art).read_bytes()}
    expected |= {"export.json": (tmp_path / "my.art.export.json").read_bytes()}
    assert stand_in.files == expected
    assert b'snapshot_download("someone/model")' in stand_in.files["README.md"]
    shown = capsys.readouterr()
    assert f"uploaded: {stand_in.address}/someone/model" in shown.out
    assert stand_in.token not in shown.out + shown.err

    downloaded = tmp_path / "downloaded" / "artifact"
    downloaded.mkdir(parents=True)
    for name in [name for name in stand_in.files if name.startswith("artifact/")]:
        (downloaded / name.removeprefix("artifact/")).write_bytes(stand_in.files[name])
    assert compress.Artifact.open(downloaded).nbytes == compress.Artifact.open(art).nbytes, "as the card loads it"


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        (("/create", 403), "this token may not write there"),
        (("/commit/", 500), "the hub answered 500"),
        (("/preupload/", 404), "not on the hub"),
    ],
)
def test_a_failed_upload_is_one_line_and_the_artifact_stays(
    exporting: list[str],
    tmp_path: Path,
    stand_in: Hub,
    capsys: pytest.CaptureFixture[str],
    refuse: tuple[str, int],
    message: str,
) -> None:
    stand_in.refuse = refuse
    art = tmp_path / "my.art"
    assert run_command(export.main, [*exporting, "--out", str(art), "--push", "someone/model"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: --push someone/model: {message}; the artifact is complete in {art}.")
    assert "hf upload someone/model" in error
    assert stand_in.token not in error
    assert compress.Artifact.open(art).nbytes > 0


def test_nothing_that_is_meant_to_be_private_becomes_public(
    exporting: list[str], tmp_path: Path, stand_in: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.repositories["someone/public"] = False
    arguments = [*exporting, "--out", str(tmp_path / "my.art")]
    with pytest.raises(UserError, match="--push someone/public --private: it is there and public"):
        export.main([*arguments, "--push", "someone/public", "--private"])
    assert not (tmp_path / "my.art").exists(), "before any work"
    stand_in.refuse = ("/commit/", 500)
    assert run_command(export.main, [*arguments, "--push", "someone/hidden", "--private"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    commands = error.partition("`")[2].removesuffix("`").split(" && ")
    assert [command.startswith("hf upload someone/hidden ") for command in commands] == [True] * 3
    assert all(command.endswith(" --private") for command in commands), "the repository may not have been made"
    assert {shlex.split(command)[4] for command in commands} == {"artifact", "README.md", "export.json"}
    assert all(Path(shlex.split(command)[3]).exists() for command in commands)

    stand_in.repositories["someone/hidden"] = False  # made public meanwhile
    with pytest.raises(UserError, match="it is there and public"):
        hub.push(tmp_path / "my.art", "someone/hidden", private=True)
    assert stand_in.files == {}


def test_an_owners_default_for_new_repositories_stands(exporting: list[str], tmp_path: Path, stand_in: Hub) -> None:
    export.main([*exporting, "--out", str(tmp_path / "my.art"), "--push", "someone/model"])
    assert stand_in.repositories == {"someone/model": None}
    first = dict(stand_in.files)
    export.main([*exporting, "--out", str(tmp_path / "again.art"), "--push", "someone/model"])
    assert set(stand_in.files) == set(first), "a repository that is there is uploaded to"


@pytest.mark.parametrize("name", ["model", "a/b/c", "some one/model", "someone/-model", "a/.."])
def test_names_are_refused_before_any_work(exporting: list[str], tmp_path: Path, stand_in: Hub, name: str) -> None:
    with pytest.raises(UserError, match="--push"):
        export.main([*exporting, "--out", str(tmp_path / "my.art"), "--push", name])
    assert not (tmp_path / "my.art").exists()
    assert stand_in.repositories == {}


def test_who_may_not_write_learns_it_before_any_work(
    exporting: list[str], tmp_path: Path, stand_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="the hub does not know this token; `hf auth login`, or set HF_TOKEN"):
        hub.check_repository("someone/model")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="the hub cannot be reached"):
        export.main([*exporting, "--out", str(tmp_path / "my.art"), "--push", "someone/model"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        hub.check_repository("someone/model")
    assert not (tmp_path / "my.art").exists()
    assert stand_in.files == {}
