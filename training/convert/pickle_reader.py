"""Reads a pickle as data: whatever the file asks for, no class is imported and no function is called.

No library reads a pickle as data only. torch.load(weights_only=True) calls functions that it trusts,
with any arguments that the file states, so a few bytes can allocate gigabytes. It also reads only protocol 2.
A subclass of pickle.Unpickler lets the file call and change real objects, and a deeply nested tuple as a dict
key overflows its stack.

In this module, pickletools decodes the instructions, and each instruction acts only on plain values and
records. Values are shared and never copied, so a small file stays small in memory. Every error names the byte
at which it occurred.
"""

import pickletools
import sys
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # protocol 2 uses Python 2's names
from collections.abc import Callable, Mapping
from typing import Any

import torch

from training.convert.records import Global, Record, Storage, StoredTensor, plain_name, shown
from training.errors import CheckpointError

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# These are the only allowed names and layers of the standard library and torch. Each becomes a record.
HARMLESS = {
    *("_codecs.encode", "argparse.Namespace", "types.SimpleNamespace", "uuid.UUID"),
    *("builtins.bytearray", "builtins.complex", "builtins.object", "builtins.range", "builtins.slice"),
    *("collections.deque", "datetime.date", "datetime.datetime", "datetime.timedelta", "datetime.timezone"),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath"),
    *("pathlib.PureWindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
    *("torch.device", "torch.Size", "torch.torch_version.TorchVersion"),
}
HARMLESS_PACKAGES = ("torch.nn.modules.", "torch.optim.")
DICTS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
SETS = {"builtins.set", "builtins.frozenset"}
RECONSTRUCTORS = {"copyreg._reconstructor", "copyreg.__newobj__"}
LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()
STEPS_LIMIT = 2_000_000  # each step makes at most one object; the largest known checkpoint has fewer bytes
INT_LIMIT = 1 << 64  # no checkpoint needs larger numbers, and very large numbers cannot be shown
KEY_INT_LIMIT = 1 << 31  # larger numbers can be chosen so that all have the same hash
KEY_PARTS = 16
STATE_PARTS = 16  # items of a positional state, such as that of numpy types, which is not read here


def read_pickle(data: bytes, storage_bytes: Mapping[str, int]) -> Any:
    """Return the pickled object, made of plain values, lists, dicts, tuples, Global, Record and StoredTensor.

    Args:
        data: the pickle.
        storage_bytes: the size in bytes of each storage in the same archive, by the storage's key.

    Raises:
        CheckpointError: the pickle is damaged or asks for code to run. The message says at which byte.
    """
    machine = _Machine(storage_bytes)
    position = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # raised for text with invalid escapes
            for count, (opcode, argument, offset) in enumerate(pickletools.genops(data)):
                position = offset or 0
                if count >= STEPS_LIMIT:
                    raise CheckpointError(f"more than {STEPS_LIMIT} instructions")
                if opcode.name == "STOP":
                    return machine.pop()
                machine.step(opcode.name, argument)
    except CheckpointError as error:
        raise CheckpointError(f"byte {position}: {error}") from error
    except (ValueError, DeprecationWarning) as error:  # an unknown or truncated instruction
        raise CheckpointError(f"after byte {position}: no pickle: {str(error)[:100]!r}") from error
    raise CheckpointError(f"byte {position}: the pickle has no end")


class _Machine:
    """A pickle machine: the stack and the memo on which the instructions of one pickle act."""

    def __init__(self, storage_bytes: Mapping[str, int]) -> None:
        self.storage_bytes = storage_bytes
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute an instruction, given by its name in pickletools."""
        if name in LITERALS:
            if isinstance(argument, int) and not -INT_LIMIT // 2 <= argument < INT_LIMIT:
                raise CheckpointError("a whole number of more than 64 bits")
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in TUPLE_LENGTHS:
            items = [self.pop() for _ in range(TUPLE_LENGTHS[name])]
            self.stack.append(tuple(items[::-1]))
        elif name not in ("PROTO", "FRAME"):
            handler = _HANDLERS.get(name)
            if handler is None:
                raise CheckpointError(f"instruction {name} has no place in a checkpoint")
            handler(self, argument)

    def top(self) -> Any:
        """Return the value on top of the stack without removing it."""
        if not self.stack or self.stack[-1] is MARK:
            raise CheckpointError("needs a value where there is none")
        return self.stack[-1]

    def pop(self) -> Any:
        """Remove the value on top of the stack, and return it."""
        self.top()
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """Remove the last mark and the values above it from the stack; return these values."""
        items: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is MARK:
                return items[::-1]
            items.append(value)
        raise CheckpointError("needs a mark where there is none")

    def drop(self) -> None:
        """Remove the value or mark on top of the stack."""
        if not self.stack:
            raise CheckpointError("needs a value where there is none")
        self.stack.pop()

    def keep(self, place: int) -> None:
        """Store the value on top of the stack in the memo."""
        self.memo[place] = self.top()

    def recall(self, place: int) -> None:
        """Push a value from the memo."""
        if place not in self.memo:
            raise CheckpointError(f"recalls value {place}, which was never stored")
        self.stack.append(self.memo[place])

    def extend(self, items: list[Any]) -> None:
        """Append items to the list on top of the stack. If a record is on top instead, drop the items."""
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Record):
            raise CheckpointError(f"appends to {_describe(target)}")

    def set_items(self, items: list[Any]) -> None:
        """Put alternating keys and values into the dict on top of the stack.

        If a record is on top instead, drop the keys and values.
        """
        pairs, target = _pairs(items), self.top()
        if isinstance(target, dict):
            target.update(pairs)
        elif not isinstance(target, Record):
            raise CheckpointError(f"sets items of {_describe(target)}")

    def push_name(self, module: Any, name: Any) -> None:
        """Push the name of a class or function, as a Global."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise CheckpointError("a class whose name is not text")
        plain_name(f"{module}.{name}")
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[module, name]
        self.stack.append(Global(IMPORT_MAPPING.get(module, module), name))

    def call(self) -> None:
        """Pop arguments and a name, and push a value or record in place of the call's result."""
        args, callee = self.pop(), self.pop()
        if not isinstance(args, tuple):
            raise CheckpointError(f"calls {_describe(callee)} with {_describe(args)}")
        self.stack.append(_make(callee, args))

    def call_with_keywords(self) -> None:
        """Drop the keyword arguments, because no record needs them, and then do the same as `call`."""
        self.pop()
        self.call()

    def build(self) -> None:
        """Set the attributes of the record on top of the stack."""
        state, target = self.pop(), self.top()
        if isinstance(target, dict):
            return  # attributes of a dict, such as the metadata of a state dict, are dropped
        if not isinstance(target, Record):
            raise CheckpointError(f"sets attributes of {_describe(target)}")
        if target.states:
            raise CheckpointError(f"sets the attributes of one {target.kind} twice")
        target.states = _states(state)

    def push_storage(self) -> None:
        """Push the storage of a tensor. The storage's numbers are outside the pickle."""
        match self.pop():
            case ("storage", Global("torch", kind), str(key), _, int(numel)) if kind in STORAGE_DTYPES:
                storage = Storage(key, STORAGE_DTYPES[kind], numel)
                self._check_storage(storage)
                self.stack.append(storage)
            case ("storage", Global() as other, *_):
                raise CheckpointError(f"{other} as the type of a storage; nothing was run")
            case other:
                raise CheckpointError(f"refers to something outside that is no storage: {_describe(other)}")

    def _check_storage(self, storage: Storage) -> None:
        found = self.storage_bytes.get(storage.key)
        if found is None:
            raise CheckpointError(f"storage {shown(storage.key)} is missing")
        if found != storage.nbytes:
            raise CheckpointError(
                f"storage {shown(storage.key)} has {found} bytes, not the {storage.nbytes} of its tensors"
            )


# INST and OBJ, which only Python 2 wrote, are refused. Sets become lists: untrusted values are not hashed.
_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.stack.append(MARK),
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.pop_mark().clear(),
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.keep),
    "MEMOIZE": lambda machine, _: machine.keep(len(machine.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    **dict.fromkeys(("LIST", "FROZENSET"), lambda machine, _: machine.stack.append(machine.pop_mark())),
    "DICT": lambda machine, _: machine.stack.append(dict(_pairs(machine.pop_mark()))),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.extend(machine.pop_mark())),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "GLOBAL": lambda machine, argument: machine.push_name(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_name(*[machine.pop(), machine.pop()][::-1]),
    **dict.fromkeys(("NEWOBJ", "REDUCE"), lambda machine, _: machine.call()),
    "NEWOBJ_EX": lambda machine, _: machine.call_with_keywords(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.push_storage(),
}


def _make(callee: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(callee, Global):
        raise CheckpointError(f"calls {_describe(callee)}, which is no name")
    match str(callee), args:
        case name, () | (Global() | None,) if name in DICTS:  # a Global is a defaultdict's factory
            return {}
        case name, () if name in SETS:
            return []
        case name, (dict() as made,) if name in DICTS:
            return made
        case name, (list() as made,) if name in SETS:
            return made
        case name, (Global() as other, *_) if name in RECONSTRUCTORS:
            return _record(other, ())
    return _tensor(callee.name, args) if callee.module == "torch._utils" else _record(callee, args)


def _record(callee: Global, args: tuple[Any, ...]) -> Record:
    """Return a record in place of a call's result; raise CheckpointError if the name is not allowed."""
    root = callee.module.partition(".")[0]
    can_act = root in sys.stdlib_module_names or root == "torch"
    if can_act and str(callee) not in HARMLESS and not callee.module.startswith(HARMLESS_PACKAGES):
        raise CheckpointError(f"asks to call {callee}, which no checkpoint needs; nothing was run")
    return Record(callee, args)


def _tensor(name: str, args: tuple[Any, ...]) -> StoredTensor:
    match name, args:
        case "_rebuild_tensor" | "_rebuild_tensor_v2", (Storage() as storage, offset, tuple(), tuple(), *_):
            return StoredTensor(storage, offset, args[2], args[3])
        case "_rebuild_parameter" | "_rebuild_parameter_with_state", (StoredTensor() as tensor, *_):
            return tensor
    raise CheckpointError(f"torch._utils.{name} with arguments that make no plain tensor; nothing was run")


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    if len(items) % 2:
        raise CheckpointError("a key without a value")
    return [(_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def _key(value: Any) -> Any:
    """Return a value as a dict key; raise CheckpointError if an attacker could choose its hash.

    A dict would take hours to store many keys with the same hash. An attacker could choose large numbers that
    have the same hash.
    """
    parts = value if isinstance(value, tuple) else (value,)
    if len(parts) > KEY_PARTS or not all(_hashes_well(part) for part in parts):
        raise CheckpointError(f"a key that is {_describe(value)}")
    return value


def _hashes_well(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) <= KEY_INT_LIMIT
    return value is None or isinstance(value, (str, bytes, Global, Record, Storage))


def _states(state: Any) -> tuple[dict[Any, Any], ...]:
    """Return the attributes that BUILD sets: one dict, or two dicts if some attributes are in __slots__."""
    if isinstance(state, dict):
        return (state,)
    if isinstance(state, tuple) and len(state) <= STATE_PARTS:
        given = tuple(part for part in state if isinstance(part, dict))
        pair = len(state) == 2 and all(part is None or isinstance(part, dict) for part in state)
        if pair or not given:
            return given
    raise CheckpointError(f"attributes that are {_describe(state)}, neither a dict nor a pair of them")


def _describe(value: Any) -> str:
    return str(value) if isinstance(value, Global) else f"a value of type {type(value).__name__}"
