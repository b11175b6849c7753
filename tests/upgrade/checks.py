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
    """Serve the older artifact with both services."""
    with service(versions.old, versions.models) as url:
        before, series = _answer(url, versions.image), _families(url)
    with service(NEW, versions.models) as url:
        assert _answer(url, versions.image) == before
        gone = series - _families(url)
    assert not gone, f"series that are gone: {gone}"
    return (
        f"reproduces its golden sample; the same {len(before['predictions'])} objects; {len(series)} series"
    )


def artifact_of_schema_1(versions: Versions) -> str:
    """Serve the older artifact with a manifest of the first schema."""
    repository = Path(shutil.copytree(versions.models, versions.folder / "schema-1"))
    path = repository / "model-openvino" / "1" / "manifest.json"
    path.write_text(json.dumps(of_version_1(json.loads(path.read_text()))))
    with service(NEW, versions.models) as url:
        before = _answer(url, versions.image)["predictions"]
    with service(NEW, repository) as url:
        assert _answer(url, versions.image)["predictions"] == before
    return f"reproduces its golden sample; the same {len(before)} objects"


def exported_checkpoint(versions: Versions) -> str:
    """Export the older checkpoint with this version."""
    printed = versions.export(NEW, versions.folder / "exported")
    (fact,) = re.findall(r"equal on \d+ images", printed)
    return str(fact)


def evaluated_checkpoint(versions: Versions) -> str:
    """Evaluate the older checkpoint with both versions."""
    data = ("--data", versions.folder / "data", "--hold-out", "0.25", "--quiet")
    printed = [
        re.findall(r"\d\.\d{3,}", versions.training(tree, "evaluate", versions.checkpoint, *data))
        for tree in (versions.old, NEW)
    ]
    assert printed[0]
    assert printed[0] == printed[1]
    return f"the same {len(printed[0])} figures"


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
    "artifact with a manifest of schema 1": artifact_of_schema_1,
    "clients": clients,
    "checkpoint, exported": exported_checkpoint,
    "checkpoint, evaluated": evaluated_checkpoint,
    "run, resumed": resumed_run,
}
"""Every check, by what of the version before it uses."""
