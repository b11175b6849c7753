"""Write config.pbtxt, -nms and -detect of every model in the repository, from its manifests. What is not
given here gets its default, whatever was written before; an export does the same. A running Triton takes it
up when the model is loaded again."""

import argparse

from training.cli.flags import add_fields, read
from training.export.triton.config import TritonOptions, upgrade_manifests, write_all_configs
from training.export.triton.text import DETECT_SUFFIX, NMS_SUFFIX

FLAGS = ("--repository",)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `triton-config`."""
    parser.add_argument("--name", help="only this model, all its targets; default: every model")
    meanings = {
        "instances N": "run at once",
        "max_queue N": "may wait",
        "queue_timeout_s S": "seconds",
        "threads N": "of an instance on the CPU; default: the engine's",
        "device": "runs target npu",
        "max_batch N": "of target tensorrt",
        "batch_delay_s S": "target tensorrt: seconds to wait for a fuller batch",
    }
    add_fields(parser, TritonOptions, meanings)
    upgrade = "first rewrite every manifest.json of an older version; its sha256 changes, its graph does not"
    parser.add_argument("--upgrade-manifests", action="store_true", help=upgrade)


def run(args: argparse.Namespace) -> int:
    """Write the configurations, and print their folders."""
    if args.upgrade_manifests:
        write_all_configs(args.repository, read(TritonOptions, args), name=args.name)  # refuses first
        for path in upgrade_manifests(args.repository, name=args.name):
            print(f"upgraded {path}")
    for folder in write_all_configs(args.repository, read(TritonOptions, args), name=args.name):
        steps = [f"{folder.name}{suffix}" for suffix in (NMS_SUFFIX, DETECT_SUFFIX)]
        there = [step for step in steps if (folder.parent / step).is_dir()]
        print(f"wrote {folder}, {' and '.join(there)}" if there else f"wrote {folder}")
    return 0
