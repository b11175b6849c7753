"""What must go on working: each check returns what it has seen, or fails with what is wrong."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.manifests import of_version_1
from tests.upgrade.api import lost
from tests.upgrade.trees import NEW, Versions, run, service, settings_of

Check = Callable[[Versions], str]


def _answer(url: str, image: Path) -> Any:
    """Return what a service finds, with even the faintest object, since the network is hardly trained."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{url}detect?conf=0", content=image.read_bytes())
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["predictions"]
    return {name: found[name] for name in ("model", "image", "predictions", "moe")}


def _families(url: str) -> set[str]:
    with httpx.Client(trust_env=False) as client:
        return set(re.findall(r"^# TYPE (\S+)", client.get(f"{url}metrics").text, re.MULTILINE))


def artifact(versions: Versions) -> str:
    """Serve the older artifact with both services, and with a manifest of the first schema."""
    schema_1 = Path(shutil.copytree(versions.models, versions.folder / "schema-1"))
    path = schema_1 / "model-openvino" / "1" / "manifest.json"
    manifest = of_version_1(json.loads(path.read_text()))
    path.write_text(json.dumps(manifest))
    with service(versions.old, versions.models) as url:
        before, series = _answer(url, versions.image), _families(url)
    with service(NEW, versions.models) as url:
        assert _answer(url, versions.image) == before
        gone = series - _families(url)
    assert not gone, f"series that are gone: {gone}"
    with service(NEW, schema_1) as url:
        assert _answer(url, versions.image)["predictions"] == before["predictions"]
    count = len(before["predictions"])
    return f"golden sample and {count} objects reproduced, with schema 1 too; {len(series)} series"


def exported_checkpoint(versions: Versions) -> str:
    """Export the older checkpoint with this version."""
    printed = versions.export(NEW, versions.folder / "exported")
    (fact,) = re.findall(r"equal on \d+ images", printed)
    return str(fact)


def evaluated_checkpoint(versions: Versions) -> str:
    """Evaluate the older checkpoint, and find the same objects with it as the older version."""
    data = ("--data", versions.folder / "data", "--hold-out", "0.25", "--quiet")
    assert "mAP50-95" in versions.training(NEW, "evaluate", versions.checkpoint, *data)
    found = []
    for tree, name in ((versions.old, "found-old"), (NEW, "found-new")):
        how = ("--conf", "0", "--no-draw", "--save-json", "--quiet", "--output", versions.folder / name)
        versions.training(tree, "predict", versions.checkpoint, versions.image, *how)
        (document,) = json.loads((versions.folder / name / "predictions.json").read_text())
        found.append(document["predictions"])
    assert found[0]
    assert found[0] == found[1]
    return f"the same {len(found[0])} objects"


def resumed_run(versions: Versions) -> str:
    """Resume the older run with this version, for one more epoch."""
    folder = versions.copy_of_the_run()
    versions.train(NEW, folder, epochs=2)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    before = (versions.checkpoint / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in before] == lines[: len(before)]
    assert len(lines) > len(before)
    return f"goes on behind its {len(before)} lines of metrics"


def settings(versions: Versions) -> str:
    """Start this service with every setting that the older one documents, at the value documented there."""
    documented = settings_of(versions.old)
    gone = set(documented) - set(settings_of(NEW))
    assert not gone, f"settings that are gone: {gone}"
    given = {name: value for name, value in documented.items() if value != "unset"}
    given = {name: value for name, value in given.items() if not name.endswith(("_PORT", "_REPOSITORY"))}
    with service(NEW, versions.models, **given) as url:
        _answer(url, versions.image)
    return f"all {len(documented)} names are known, and {len(given)} defaults are taken"


def clients(versions: Versions) -> str:
    """Call each service with the client of the other version."""
    said = []
    for tree, other in ((versions.old, NEW), (NEW, versions.old)):
        with service(tree, versions.models) as url:
            words = ("detect", versions.image, "--url", url, "--conf", "0", "--json")
            found = json.loads(run(other, "clients", *words).splitlines()[0])
        said.append(found["predictions"])
    assert said[0]
    assert said[0] == said[1]
    return f"both get the same {len(said[0])} objects"


def api(versions: Versions) -> str:
    """Compare the descriptions of the HTTP API."""
    old, new = (
        json.loads((tree / "service" / "rest" / "openapi.json").read_text()) for tree in (versions.old, NEW)
    )
    gone = lost(old, new)
    assert gone == []
    return f"{len(old['paths'])} paths and {len(old['components']['schemas'])} schemas have lost nothing"


CHECKS: dict[str, Check] = {
    "API": api,
    "settings": settings,
    "artifact": artifact,
    "clients": clients,
    "checkpoint, exported": exported_checkpoint,
    "checkpoint, evaluated": evaluated_checkpoint,
    "run, resumed": resumed_run,
}
"""Every check, by what of the version before it uses."""
