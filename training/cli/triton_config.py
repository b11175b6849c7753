"""Write, from the manifests, config.pbtxt and Triton's further models of every exported model.

These are the models -nms and -detect, and, for a model with paths, a model for each of its graphs.

A setting without a flag gets its default, even if the present file states another value. An export does the
same. A running Triton uses the new files once it loads the model again.
"""

import argparse

from training.cli.flags import add_fields, read
from training.export.artifact.stored_manifest import read_manifests
from training.export.triton.config import TritonOptions, upgrade_manifests, write_all_configs
from training.export.triton.path_models import graphs_of
from training.export.triton.text import DETECT_SUFFIX, NMS_SUFFIX

FLAGS = ("--repository",)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `triton-config`."""
    parser.add_argument("--name", help="only this model, with all its targets; default: every model")
    meanings = {
        "instances N": "instances that run at once",
        "max_queue N": "requests that may wait",
        "queue_timeout_s S": "longest wait of a request in seconds",
        "threads N": "CPU threads of one instance; default: chosen by the engine",
        "pin_threads": "target openvino: pin the threads to the first cores; only if one instance has them",
        "device": "target npu: device that runs the model",
        "max_batch N": "target tensorrt: largest batch",
        "batch_delay_s S": "target tensorrt: seconds to wait for a fuller batch",
    }
    add_fields(parser, TritonOptions, meanings)
    upgrade = (
        "first upgrade each manifest.json to the current version; this changes its sha256, not the graph"
    )
    parser.add_argument("--upgrade-manifests", action="store_true", help=upgrade)


def run(args: argparse.Namespace) -> None:
    """Write the configurations, and print their folders."""
    if args.upgrade_manifests:
        write_all_configs(args.repository, read(TritonOptions, args), name=args.name)  # refuses first
        for path in upgrade_manifests(args.repository, name=args.name):
            print(f"upgraded {path}")
    for folder in write_all_configs(args.repository, read(TritonOptions, args), name=args.name):
        steps = [f"{folder.name}{suffix}" for suffix in (NMS_SUFFIX, DETECT_SUFFIX)]
        there = [step for step in steps if (folder.parent / step).is_dir()]
        print(f"wrote {folder}, {' and '.join(there)}" if there else f"wrote {folder}")
        if graphs := graphs_of(read_manifests(folder)):
            router, *routes = (f"{folder.name}-{graph}" for graph in graphs)
            print(f"wrote {router}, and {routes[0]} and {len(routes) - 1} further routes")
