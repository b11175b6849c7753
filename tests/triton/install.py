"""Sets up the environment of the real tritonserver of the tests: `python tests/triton/install.py .triton`.

The nvidia-pytriton wheel contains the server's binary; its Python code is not used. The server needs an older
NumPy than this project, so it gets its own environment. If the server cannot be set up, this script prints
the reason, and tests that need the server are skipped.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.triton_server import why_unsupported

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main(folder: Path) -> int:
    """Install the server into a new folder, or print why this is not possible; return 0 in both cases."""
    marker = folder / ".ready"
    if reason := why_unsupported():
        folder.mkdir(exist_ok=True)
        marker.touch()
        print(f"== the tests with a real Triton will skip: {reason}")
        return 0
    print("== installing the real tritonserver that tests start (200 MB)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=True)
    # --no-deps: only the wheel's Python package, which is not used, needs the dependencies.
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    done = subprocess.run([*pip, "--no-deps", "--requirement", REQUIREMENTS], check=False)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        print("== tritonserver could not be installed (see above): the tests with a real Triton will skip")
        return 0
    marker.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
