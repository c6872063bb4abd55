"""Uploads an artifact to the Hugging Face hub: the artifact in a folder of its own, its card as the README.

The token is the hub's own business (HF_TOKEN, or `hf auth login`), and is never shown. Whatever goes wrong is one line,
and the artifact stays on disk.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from compress.errors import UserError, first_line
from results.shipping import card, provenance

FOLDER = "artifact"  # an artifact's folder holds nothing but the artifact


def check_repository(name: str, private: bool = False) -> None:
    """Refuses, before any work, a name that the hub would not take, a hub that cannot be written to, and with `private`
    a repository that is there and public."""
    from huggingface_hub.errors import HFValidationError  # with requests, and only where it is asked for
    from huggingface_hub.utils import validate_repo_id

    if name.count("/") != 1:
        raise UserError(f"--push {name}: write OWNER/NAME, as on the hub")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--push {name}: {first_line(error)}") from None
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise UserError(f"--push {name}: HF_HUB_OFFLINE is set; unset it, or leave --push away")
    try:
        _api().whoami()
    except Exception as error:  # of the network, the hub, or its client
        raise UserError(f"--push {name}: {_reason(error)}; `hf auth login`, or set HF_TOKEN") from None
    if private:
        _refuse_public(name)


def _refuse_public(name: str) -> None:
    """Refuses a public repository: making one that is there private is left undone without a word by `create_repo`."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        public = not _api().model_info(name).private
    except RepositoryNotFoundError:
        return
    except Exception as error:  # of the network, the hub, or its client
        raise UserError(f"--push {name}: {_reason(error)}; so it is not known whether it is private") from None
    if public:
        raise UserError(f"--push {name} --private: it is there and public; make it private on the hub, or give another")


def push(artifact: Path, name: str, private: bool = False) -> str:
    """Makes the repository where there is none, and uploads everything in one commit. Its address."""
    from huggingface_hub import CommitOperationAdd

    files = {f"{FOLDER}/{path.name}": path for path in sorted(artifact.iterdir())}
    files |= {"README.md": card.path_for(artifact), "export.json": provenance.path_for(artifact)}
    operations = [CommitOperationAdd(path_in_repo=where, path_or_fileobj=str(path)) for where, path in files.items()]
    try:
        api = _api()
        address = str(api.create_repo(name, private=private or None, exist_ok=True))  # None: as its owner has it
        if private:
            _refuse_public(name)
        api.create_commit(name, operations, commit_message=f"{artifact.name}: artifact and card")
    except UserError:
        raise
    except Exception as error:  # of the network, the hub, or its client
        hidden = " --private" if private else ""
        parts = {FOLDER: artifact, "README.md": card.path_for(artifact), "export.json": provenance.path_for(artifact)}
        later = " && ".join(
            f"hf upload {name} {shlex.quote(str(path))} {where}{hidden}" for where, path in parts.items()
        )
        raise UserError(
            f"--push {name}: {_reason(error)}; the artifact is complete in {artifact}. To upload it later: `{later}`"
        ) from None
    return address


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _reason(error: Exception) -> str:
    """In one line, without a token or the address of a request."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    known = {401: "the hub does not know this token", 403: "this token may not write there", 404: "not on the hub"}
    if status in known:
        return known[status]
    if status is not None:
        return f"the hub answered {status}"
    if type(error).__name__ == "LocalTokenNotFoundError":
        return "there is no token"
    if "Connection" in type(error).__name__ or "Timeout" in type(error).__name__:
        return "the hub cannot be reached"
    return first_line(error)[:200]
