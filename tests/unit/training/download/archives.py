"""Writes small archives, valid and malicious."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path


def write_zip(path: Path, files: dict[str, bytes]) -> bytes:
    """Write a zip archive and return its bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.read_bytes()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """Write a tar archive and return its bytes; a name that ends with / becomes a folder."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            if name.endswith("/"):
                add_to_tar(archive, name, tarfile.DIRTYPE)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def add_to_tar(archive: tarfile.TarFile, name: str, kind: bytes, target: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    archive.addfile(member)


def write_zip_link(path: Path, name: str, target: str) -> None:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix, where the upper 16 bits of external_attr are the file mode
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, target)
