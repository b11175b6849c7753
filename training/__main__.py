"""Run one command of `python -m training`, such as train, evaluate or export."""

import os
import sys
from collections.abc import Sequence

from training.cli.commands import build_parser
from training.cli.console import telling
from training.cli.data_flags import check_splits
from training.cli.flags import STOPPED, UsageError
from training.errors import ConfigError, TrainingError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return 0 on success, 1 on failure, 2 for wrong usage, 130 if it was stopped."""
    words = sys.argv[1:] if argv is None else argv
    try:
        args = build_parser(words).parse_args(words)
        if args.command != "train" and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(f"only train runs in several processes: run {args.command} without torchrun")
        check_splits(args)
        with telling(aside=args.aside, quiet=getattr(args, "quiet", False)):
            return int(args.run(args) or 0)
    except UsageError as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except (TrainingError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "training").partition(".")[0] == "training":
            raise
        install = "pip install --constraint constraints.txt '.[train]'"
        print(f"training: the Python package {error.name} is missing: {install}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
