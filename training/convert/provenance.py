"""What a converted checkpoint says of where it comes from."""

from pathlib import Path

from training.convert.convert import Conversion


def provenance_of(path: Path, conversion: Conversion) -> dict[str, str]:
    """The file, its sha256, what it was recognised as, and what it told of itself."""
    told = {f"source {name}": value for name, value in conversion.found.told.items()}
    notes = {"note": "; ".join(conversion.recognised.notes)} if conversion.recognised.notes else {}
    return {
        "data": "",
        "source": path.name,
        "source sha256": conversion.sha256,
        "source kind": conversion.recognised.family,
        **told,
        **notes,
    }
