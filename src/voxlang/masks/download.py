"""Fetch official checkpoints for people with internet: resumable, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from voxlang.core.errors import ModelMissingError

_CHUNK = 1 << 20


def download(url: str, target: Path, *, timeout_s: float = 30.0) -> str:
    """Download a file beside its target as `*.part`, continue a part that is there, check the size, then rename.

    Args:
        url: http or https address.
        target: where the file shall lie; one that is there already is left alone.
        timeout_s: seconds of silence after which the connection counts as broken.

    Returns:
        SHA-256 of the file, hex, to compare with a copy elsewhere.

    Raises:
        ModelMissingError: no connection, no such file there, or fewer bytes than announced; the part stays for the
            next try.
    """
    if target.is_file():
        return _sha256(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        size = _fetch(url, part, timeout_s=timeout_s)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ModelMissingError(
            f"an answer from {url}",
            got=str(error),
            where=str(part),
            do=f"check the connection and run the command again (it continues), or copy the file to {target} from a "
            "machine with internet; `--sam.size micro` works without a download",
        ) from error
    if size is not None and part.stat().st_size != size:
        raise ModelMissingError(
            f"{size} bytes",
            got=f"{part.stat().st_size} bytes",
            where=str(part),
            do="run the command again to continue" if part.stat().st_size < size else "delete this file and try again",
        )
    digest = _sha256(part)
    os.replace(part, target)
    return digest


def _fetch(url: str, part: Path, *, timeout_s: float) -> int | None:
    """Append what is missing to the part; returns the size of the whole file as announced."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if error.code == 416 and total.isdigit():  # nothing after the part: it is complete, or too long
            return int(total)
        raise
    with response:
        continues = response.status == 206
        if not continues:
            have = 0
        announced = response.headers.get("Content-Length")
        size = have + int(announced) if announced else None
        with (
            part.open("ab" if continues else "wb") as f,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while chunk := response.read(_CHUNK):
                f.write(chunk)
                bar.update(len(chunk))
    return size


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
