"""Checks the size limits that ruff does not check: lines per file and lines per function."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60
SUFFIXES = (".py", ".js")
ROOTS = ("service", "training", "clients", "deploy", "tests", ".ci")


def problems(path: Path) -> Iterator[str]:
    """Yield one line of text for each limit that a file exceeds."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, the limit is {FILE_LINES}"
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, the limit is {FUNCTION_LINES}"


def main() -> int:
    """Print every exceeded limit; return 1 if there is one."""
    found = [
        problem
        for root in ROOTS
        for path in sorted(Path(root).rglob("*"))
        if path.suffix in SUFFIXES
        for problem in problems(path)
    ]
    print("\n".join(found) if found else "every file and function is within its limits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
