"""A pickle is read as data: calls in it are refused or become inert records."""

import collections
import pickle
import random
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from training.convert import pickle_reader
from training.convert.pickle_reader import read_pickle
from training.convert.records import Record
from training.errors import CheckpointError


class Sprung:
    """What a harmful pickle would do, were it run: make a file."""

    path = Path("never")

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class WithState:
    """Restoring it would make a file; as a record it only holds what it held."""

    __module__ = "party.things"

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).touch()


def text(value: str) -> bytes:
    """A string on the stack."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def call(module: str, name: str, argument: str) -> bytes:
    """module.name(argument), as protocol 2 writes it."""
    return b"c" + f"{module}\n{name}\n".encode() + text(argument) + b"\x85R"


def read(data: bytes, **storages: int) -> Any:
    return read_pickle(data, storages)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back_as_they_were(protocol):
    values = {
        "numbers": [0, -1, 255, 65536, 2**40, -(2**63), 2**64 - 1, 0.5, True, False, None],
        "text": ("", "kernel", "größe", "x" * 300),
        ("a", 1): {"deep": [{"er": ()}]},
        "many": list(range(1500)),
    }
    assert read(pickle.dumps(values, protocol)) == values


def test_a_set_is_read_as_a_list_and_an_ordered_dict_as_a_dict():
    for protocol in (2, 4):
        values = {"set": {7}, "ordered": collections.OrderedDict(a=1)}
        assert read(pickle.dumps(values, protocol)) == {"set": [7], "ordered": {"a": 1}}


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_object_becomes_a_record_that_holds_its_attributes(protocol, tmp_path, monkeypatch):
    made = tmp_path / "made"
    monkeypatch.setitem(sys.modules, WithState.__module__, ModuleType("party.things"))
    monkeypatch.setitem(sys.modules, "party", ModuleType("party"))
    monkeypatch.setattr(sys.modules[WithState.__module__], "WithState", WithState, raising=False)
    found = read(pickle.dumps({"it": WithState(made)}, protocol))["it"]
    assert (found.kind, found.get("path"), made.exists()) == ("WithState", str(made), False)
    assert read(pickle.dumps(SimpleNamespace(imgsz=640), protocol)).get("imgsz") == 640


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(call("os", "system", "touch made"), "os.system", id="a shell by REDUCE"),
        pytest.param(call("posix", "system", "touch made"), "posix.system", id="a shell by its C name"),
        pytest.param(call("builtins", "exec", "open('made', 'w')"), "builtins.exec", id="exec"),
        pytest.param(call("__builtin__", "eval", "open('made', 'w')"), "builtins.eval", id="python 2 eval"),
        pytest.param(
            text("builtins") + text("eval") + b"\x93" + text("open('made', 'w')") + b"\x85R",
            "builtins.eval",
            id="eval by STACK_GLOBAL",
        ),
        pytest.param(call("torch.hub", "load", "made"), "torch.hub.load", id="torch.hub"),
        pytest.param(call("torch", "load", "made"), "torch.load", id="torch.load"),
        pytest.param(
            call("torch._utils", "_import_dotted_name", "os.system"), "_import_dotted_name", id="utils"
        ),
        pytest.param(
            b"csubprocess\nPopen\n" + text("touch made") + b"\x85\x81", "subprocess.Popen", id="by NEWOBJ"
        ),
        pytest.param(b"(" + text("touch made") + b"ios\nsystem\n", "INST", id="by INST"),
        pytest.param(b"(cos\nsystem\n" + text("touch made") + b"o", "OBJ", id="by OBJ"),
        pytest.param(b"ccopyreg\n_reconstructor\n(cos\nsystem\nNNtR", "os.system", id="by reconstructor"),
        pytest.param(
            b"cbuiltins\ngetattr\nccollections\nOrderedDict\nX\x04\x00\x00\x00fromX", "pickle", id="cut"
        ),
        pytest.param(
            b"ccollections\nOrderedDict\n}" + text("get") + b"cos\nsystem\nsb",
            "sets attributes",
            id="BUILD on a class",
        ),
        pytest.param(b"]}" + text("append") + b"cos\nsystem\nsb", "sets attributes", id="BUILD on a list"),
        pytest.param(b"ctorch._utils\n_rebuild_tensor_v2\n)R", "_rebuild_tensor_v2", id="tensor of nothing"),
        pytest.param(
            b"(" + text("storage") + b"cos\nsystem\n" + text("0") + text("cpu") + b"K\x01tQ",
            "os.system",
            id="as the type of a storage",
        ),
        pytest.param(b"Ptouch\n", "PERSID", id="another persistent id"),
        pytest.param(b"\x82\x01", "EXT1", id="extension code"),
    ],
)
def test_what_asks_to_run_is_refused_by_name_and_place_and_does_not_run(body, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrapped in (
        body,
        b"}" + text("model") + body + b"s",
        b"cparty\nThing\n)\x81}" + text("x") + body + b"sb",
    ):
        with pytest.raises(CheckpointError, match=rf"byte \d+: .*{named}"):
            read(b"\x80\x02" + wrapped + b".")
    assert not list(tmp_path.iterdir())


def test_a_third_partys_function_is_inert_however_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = call("numpy.testing._private.utils", "runstring", "open('made', 'w')")
    found = read(b"\x80\x02" + body + b".")
    assert isinstance(found, Record)
    assert str(found.type) == "numpy.testing._private.utils.runstring"
    assert not list(tmp_path.iterdir())


def test_reduce_of_a_real_class_does_not_run(tmp_path):
    Sprung.path = tmp_path / "made"
    for protocol in (2, 4, 5):
        with pytest.raises(CheckpointError, match=r"byte \d+: .*(getattr|touch|pathlib)"):
            read(pickle.dumps(Sprung(), protocol))
    assert not Sprung.path.exists()


def test_a_list_of_itself_and_a_deep_one_are_read():
    found = read(b"\x80\x02]q\x00h\x00a.")
    assert found[0] is found
    assert isinstance(read(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."), list)


def test_nested_tuples_as_a_key_are_refused_since_hashing_them_overflows_the_stack():
    with pytest.raises(CheckpointError, match="a key that is a value of type tuple"):
        read(b"\x80\x02})" + b"\x85" * 5000 + b"K\x01s.")


def test_a_small_file_makes_no_large_object():
    found = read(b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x40\x85R.")
    assert found.args == (2**30,)  # the number, not a gigabyte
    with pytest.raises(CheckpointError, match=r"asks to call torch\.Tensor"):
        read(b"\x80\x02ctorch\nTensor\nM\xe8\x03M\xe8\x03M\xe8\x03\x87R.")


THING = b"cparty\nThing\n)\x81"
TOO_WIDE = r"byte \d+: a whole number of more than 64 bits"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
@pytest.mark.parametrize("protocol", [0, 2])
def test_a_number_of_more_than_64_bits_is_refused(number, protocol):
    with pytest.raises(CheckpointError, match=TOO_WIDE):
        read(pickle.dumps({"imgsz": number}, protocol))


def test_a_number_that_is_too_long_to_be_shown_is_refused():
    with pytest.raises(CheckpointError, match=TOO_WIDE):
        read(pickle.dumps({"imgsz": 1 << 50_000}, 2))
    with pytest.raises(CheckpointError, match="no pickle"):
        read(b"L1" + b"0" * 5000 + b"L\n.")


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(2**61 - 1, id="whole numbers that hash alike"),
        pytest.param(0.5, id="fraction"),
        pytest.param((1, 2**61 - 1), id="inside a tuple"),
        pytest.param(tuple(range(17)), id="long tuple"),
    ],
)
def test_keys_that_can_be_chosen_to_collide_are_refused(key):
    with pytest.raises(CheckpointError, match="a key that is a value of type"):
        read(pickle.dumps({key: 1}, 2))


def test_keys_of_every_common_kind_are_read():
    values = {"a": 1, b"b": 2, True: 3, None: 4, -(2**31): 5, 2**31: 6, ("c", 7, None): 7}
    assert read(pickle.dumps(values, 4)) == values


@pytest.mark.parametrize(
    ("state", "attributes"),
    [
        pytest.param(b"}U\x01aK\x01s", {"a": 1}, id="dict"),
        pytest.param(b"}U\x01aK\x01sN\x86", {"a": 1}, id="dict and no slots"),
        pytest.param(b"N}U\x01aK\x01s\x86", {"a": 1}, id="slots alone"),
        pytest.param(b"(K\x03U\x01<NNNt", {}, id="by position, as types of numpy"),
    ],
)
def test_a_state_is_read_in_each_form_that_pickle_writes(state, attributes):
    found = read(b"\x80\x02" + THING + state + b"b.")
    assert {name: value for held in found.states for name, value in held.items()} == attributes


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(THING + b"}b" + b"}b", "the attributes of one Thing twice", id="twice"),
        pytest.param(THING + b"(" + b"}" * 9 + b"tb", "attributes that", id="many dicts"),
        pytest.param(THING + b"}K\x01\x86b", "neither a dict nor a pair", id="a dict and a number"),
        pytest.param(THING + b"(" + b"N" * 17 + b"tb", "neither a dict nor a pair", id="long"),
        pytest.param(THING + b"K\x01b", "neither a dict nor a pair", id="a number"),
    ],
)
def test_attributes_are_given_once_and_as_a_dict_or_two(body, said):
    with pytest.raises(CheckpointError, match=rf"byte \d+: .*{said}"):
        read(b"\x80\x02" + body + b".")


def test_there_is_an_end_to_what_a_small_file_can_make(monkeypatch):
    monkeypatch.setattr(pickle_reader, "STEPS_LIMIT", 1000)
    assert read(b"\x80\x02" + b"}" * 998 + b".") == {}
    with pytest.raises(CheckpointError, match="byte 1001: more than 1000 instructions"):
        read(b"\x80\x02" + b"}" * 999 + b".")


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a" * 200])
def test_a_class_that_no_message_can_show_is_refused(name):
    with pytest.raises(CheckpointError, match="a name that cannot be shown"):
        read(b"\x80\x02cparty\n" + name.encode() + b"\n.")


def test_an_error_of_the_decoder_is_shown_without_control_characters():
    with pytest.raises(CheckpointError, match="no pickle") as caught:
        read(b"S'\\\x1b'\n.")
    assert str(caught.value).isprintable()


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nHalfStorage\n"
    b"%b" + text("cpu") + b"K%ctQK%cK%c\x85K%c\x85\x89}tR."
)


def tensor(key: str = "0", numel: int = 6, offset: int = 0, size: int = 6, stride: int = 1) -> bytes:
    return TENSOR % (text(key), numel, offset, size, stride)


def test_a_tensor_is_a_view_of_a_storage_of_its_size():
    found = read(tensor(offset=1, size=2, stride=3, numel=6), **{"0": 12})
    assert (found.shape, found.stride, found.offset, found.storage.numel) == ((2,), (3,), 1, 6)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(tensor(key="7"), "storage '7' is missing", id="no such storage"),
        pytest.param(tensor(numel=7), "has 12 bytes, not the 14", id="storage too short"),
        pytest.param(tensor(size=7), "does not fit into its storage", id="too many"),
        pytest.param(tensor(offset=1), "does not fit into its storage", id="starts too late"),
        pytest.param(tensor(stride=2), "does not fit into its storage", id="steps too wide"),
        pytest.param(tensor(size=200, stride=0), "does not fit into its storage", id="much out of little"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(data, said):
    with pytest.raises(CheckpointError, match=said):
        read(data, **{"0": 12})


def test_a_pickle_cut_anywhere_is_refused():
    data = pickle.dumps({"a": [1, 2.5, "text"], "b": collections.OrderedDict(c=(None, True))}, 2)
    for length in range(len(data)):
        with pytest.raises(CheckpointError, match="byte"):
            read(data[:length])


def test_a_changed_byte_gives_data_or_one_kind_of_error():
    generator = random.Random(0)
    refused = 0
    for _ in range(500):
        data = bytearray(tensor())
        data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            read(bytes(data), **{"0": 12})
        except CheckpointError:
            refused += 1
    assert 100 < refused < 500
