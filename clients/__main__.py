"""Run the client from a shell: `python -m clients`, or `python -m sparsight_client` if it is installed."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main(program=f"python -m {__package__}"))
