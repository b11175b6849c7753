"""What a converted checkpoint says of where it comes from."""

import hashlib
from pathlib import Path

from training.convert.convert import Conversion

CHUNK = 1 << 20


def provenance_of(path: Path, conversion: Conversion) -> dict[str, str]:
    """The file, its sha256, what it was recognised as, and what it told of itself."""
    told = {f"source {name}": value for name, value in conversion.found.told.items()}
    notes = {"note": "; ".join(conversion.recognised.notes)} if conversion.recognised.notes else {}
    return {
        "data": "",
        "source": path.name,
        "source sha256": _sha256(path),
        "source kind": conversion.recognised.family,
        **told,
        **notes,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
