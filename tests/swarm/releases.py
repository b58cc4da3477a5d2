"""Images of a user's: releases of an app that differ in one variable, made without building or copying anything."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence

from tests.swarm.host import Host


def release(hosts: Sequence[Host], image_id: str, tag: str, number: int) -> str:
    """Give hosts that have `image_id` another image, `tag`, in whose environment `RELEASE` is `number`; its ID."""
    (known,) = (hosts[0].folder / "docker" / "image").glob(f"*/imagedb/content/{image_id.replace(':', '/')}")
    config = json.loads(known.read_bytes())
    config["config"]["Env"] = [*config["config"]["Env"], f"RELEASE={number}"]
    text = json.dumps(config).encode()
    name = hashlib.sha256(text).hexdigest()
    layers = [
        f"{layer.partition(':')[2]}/layer.tar" for layer in config["rootfs"]["diff_ids"]
    ]  # they are there already
    manifest = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": layers}]
    packed = _packed({f"{name}.json": text, "manifest.json": json.dumps(manifest).encode()})
    for host in hosts:
        host.docker.post("/images/load", params={"quiet": "1"}, content=packed).raise_for_status()
        found = host.docker.get(f"/images/{tag}/json").raise_for_status().json()["Id"]
        assert found == f"sha256:{name}"
    return f"sha256:{name}"


def _packed(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
