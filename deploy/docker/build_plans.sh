#!/usr/bin/env bash
# Builds model.plan beside every <name>-tensorrt/<version>/model.onnx that has none which fits this machine; likewise
# <graph>.plan beside each <graph>.onnx of a model with paths.
#
#   build_plans.sh MODEL_REPOSITORY
#
# A plan fits if model.plan.json beside it names this GPU, this TensorRT, this graph, these arguments and the
# plan's own sha256. A plan is written under another name and renamed, its description last: whatever is interrupted
# is built again. Ends with 1 if any plan could not be built; the others are built all the same.
# training/export/targets/tensorrt_plan.py builds and describes plans likewise where training runs beside the GPU.
set -euo pipefail
PATH="$PATH:/opt/tensorrt/bin:/usr/src/tensorrt/bin"

repository="${1:?usage: build_plans.sh MODEL_REPOSITORY}"

say() { echo "build_plans: $*"; }

sha256_of() { sha256sum "$1" | cut -d' ' -f1; }

# The arguments of trtexec that follow from a manifest, one a line, shapes and precision: MANIFEST GRAPH_NAME.
arguments_for() {
  python3 - "$@" <<'PYTHON'
import json
import pathlib
import sys

manifest = json.loads(pathlib.Path(sys.argv[1]).read_text())
if manifest["schema_version"] == 1:  # image and controls stand apart, and the sizes are known
    image, controls = manifest["input"], manifest["controls"]
    manifest["batch"] = image["batch"]
    manifest["inputs"] = [{"name": image["name"], "dims": ["B", image["height"], image["width"], 3]}]
    manifest["inputs"] += [{"name": name, "dims": ["B", 1]} for name in controls if controls[name] is not None]
paths = manifest.get("paths")
if paths:  # the graphs take only the images, and the router is in float32 in every precision
    manifest["inputs"] = [row for row in manifest["inputs"] if row["role"] == "images"]
    if sys.argv[2] == paths["router"]:
        manifest["precision"] = "f32"
smallest, largest = min(manifest["batch"]), max(manifest["batch"])
sizes = [("minShapes", smallest), ("optShapes", largest), ("maxShapes", largest)]
for option, batch in sizes if smallest < largest else ():  # trtexec takes none for a graph of one fixed size
    shapes = (f"{row['name']}:{'x'.join(map(str, [batch, *row['dims'][1:]]))}" for row in manifest["inputs"])
    print(f"--{option}={','.join(shapes)}")
print("--stronglyTyped")  # every tensor keeps the type that it has in model.onnx
if manifest["precision"] == "f32":
    print("--noTF32")  # 10 bits of mantissa would move boxes and experts beyond the golden sample's tolerance
PYTHON
}

# What model.plan.json must say: ONNX_SHA256 PLAN_SHA256 ARGUMENT….
fingerprint() {
  GPU="$gpu" TENSORRT="$tensorrt" python3 - "$@" <<'PYTHON'
import json
import os
import sys

facts = {"gpu": os.environ["GPU"], "tensorrt": os.environ["TENSORRT"]}
facts |= {"onnx_sha256": sys.argv[1], "plan_sha256": sys.argv[2], "arguments": sys.argv[3:]}
print(json.dumps(facts, indent=1))
PYTHON
}

# Build one plan: GRAPH_WITHOUT_ENDING ONNX_SHA256 ARGUMENT…. Chained by hand: bash ignores `set -e` in what stands before `||`.
build() {
  local graph="$1" onnx_sha256="$2" plan="$1.plan"
  shift 2
  say "building $plan for $gpu, TensorRT $tensorrt: this takes minutes"
  rm -f "$plan.partial" "$plan.json.partial"
  trtexec --onnx="$graph.onnx" --saveEngine="$plan.partial" --skipInference "$@" \
    && [ -s "$plan.partial" ] \
    && fingerprint "$onnx_sha256" "$(sha256_of "$plan.partial")" "$@" >"$plan.json.partial" \
    && chmod 0644 "$plan.partial" "$plan.json.partial" \
    && chown --reference="$graph.onnx" "$plan.partial" "$plan.json.partial" \
    && mv "$plan.partial" "$plan" \
    && mv "$plan.json.partial" "$plan.json" \
    && return 0
  rm -f "$plan.partial" "$plan.json.partial"
  say "could not build $plan; the output above says why" >&2
  return 1
}

# Whether a graph has a plan, and its description is the one that it would get today:
# GRAPH_WITHOUT_ENDING ONNX_SHA256 ARGUMENT….
fits() {
  local plan="$1.plan" onnx_sha256="$2"
  shift 2
  [ -s "$plan" ] && [ -s "$plan.json" ] \
    && fingerprint "$onnx_sha256" "$(sha256_of "$plan")" "$@" | cmp -s - "$plan.json"
}

# Several GPUs of one kind share a plan; kinds are joined so that a change in either is seen.
gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader | sort -u | paste -sd+ -)" || gpu=""
tensorrt="$(trtexec --help 2>&1 | sed -nE 's/.*\[TensorRT v([0-9]+)\].*/\1/p' | head -n1)" || tensorrt=""
[ -n "$gpu" ] || { say "nvidia-smi names no GPU" >&2; exit 1; }
[ -n "$tensorrt" ] || { say "trtexec does not say which TensorRT it is" >&2; exit 1; }

failed=0 found=0
for onnx in "$repository"/*-tensorrt/*/*.onnx; do # a glob passes by .staging-…
  [ -e "$onnx" ] || continue
  found=$((found + 1))
  graph="${onnx%.onnx}"
  onnx_sha256="$(sha256_of "$onnx")"
  listed="$(arguments_for "$(dirname "$onnx")/manifest.json" "$(basename "$graph")")" || { failed=1; continue; }
  mapfile -t arguments <<<"$listed"
  if fits "$graph" "$onnx_sha256" "${arguments[@]}"; then
    say "$graph.plan fits"
  else
    build "$graph" "$onnx_sha256" "${arguments[@]}" || failed=1
  fi
done
[ "$found" -gt 0 ] || say "there is no model for TensorRT in $repository"
exit "$failed"
