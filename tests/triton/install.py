"""Sets up the environment of the real tritonserver of the tests: `python tests/triton/install.py .triton`.

The server comes in the nvidia-pytriton wheel, which is not imported: only its binary is used. It gets an
environment of its own, because it needs a NumPy older than ours. Where it cannot be set up, this says why
and the tests skip.
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
    """Install into a fresh folder, or say why not; 0 either way, since tests then skip with the reason."""
    marker = folder / ".ready"
    if reason := why_unsupported():
        folder.mkdir(exist_ok=True)
        marker.touch()
        print(f"== the tests with a real Triton will skip: {reason}")
        return 0
    print("== installing the real tritonserver that tests start (200 MB)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=True)
    # Without dependencies: the wheel asks for what only its own, unused, Python package needs.
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
