#!/usr/bin/env bash
# Check the rendered chart against the policies for Kubernetes of checkov 3.3.30 (Apache-2.0).
#
# The script installs checkov into a temporary folder (300 MB), so it is not among the tests. It renders the chart with
# every file in ci/, as the tests do, and fails if a policy is broken that is not in this list:
#
#   CKV_K8S_15  pull images always: the tags are exact versions, so a node may keep an image
#   CKV_K8S_21  no default namespace: `helm --namespace` chooses it
#   CKV_K8S_22  read-only root file system: NVIDIA's runtime writes into Triton's and the plan builder's, on a GPU only
#   CKV_K8S_35  secrets as files: the administrator's token is a setting, and settings are environment variables
#   CKV_K8S_40  high user ids: NVIDIA's image brings Triton's user, 1000
#   CKV_K8S_43  images by digest: `digest` in the values; the images are yours, so nobody knows theirs here
#
# It needs Linux, x86-64, and the environment of the tests (make test).
set -euo pipefail
cd "$(dirname "$0")/../.."
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
.venv/bin/python - "$folder/rendered" <<'PYTHON'
import sys
from pathlib import Path

import yaml

from tests.chart import CI_VALUES, render

rendered = Path(sys.argv[1])
rendered.mkdir()
for file in CI_VALUES:
    objects = render(yaml.safe_load(file.read_text()) or {})
    (rendered / file.name).write_text("\n---\n".join(map(yaml.safe_dump, objects)))
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check checkov==3.3.30
"$folder/venv/bin/checkov" --directory "$folder/rendered" --framework kubernetes --compact --quiet --skip-download \
  --skip-check CKV_K8S_15,CKV_K8S_21,CKV_K8S_22,CKV_K8S_35,CKV_K8S_40,CKV_K8S_43
echo "every other policy is kept"
