"""A copy of a model repository for a place without links holds the same models in files."""

import numpy as np
import pytest

from tests.path_artifacts import BLUE, GREEN, RED, build_paths
from training.__main__ import main
from training.errors import ConfigError, ExportError
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.triton.config import TritonOptions, write_all_configs
from training.export.triton.unlinked import copy_without_links

ROUTES = [f"path{path}-k{top_k}" for path in range(3) for top_k in (1, 2)]


@pytest.fixture
def repository(tmp_path):
    build_paths(tmp_path / "repository")
    write_all_configs(tmp_path / "repository", TritonOptions())
    return tmp_path / "repository"


def files(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def run(graph):
    engine = OpenVinoEngine(graph, "f32")
    images = np.stack([np.broadcast_to(colour, (64, 64, 3)) for colour in (RED, GREEN, BLUE)])
    return [engine.run({"images": image[None].astype(np.uint8)}) for image in images]


def test_every_route_has_its_own_weights_alone_and_computes_the_same(repository, tmp_path, capsys):
    assert main(["copy-repository", "--repository", str(repository), "--to", str(tmp_path / "copy")]) == 0
    copied, originals = files(tmp_path / "copy"), files(repository)
    assert copied.keys() == originals.keys()
    assert not [name for name, path in copied.items() if path.is_symlink()]
    size = sum(path.stat().st_size for path in copied.values())
    assert capsys.readouterr().out == f"wrote {tmp_path / 'copy'}, {size / 1e6:.1f} MB\n"
    own = {f"routed-openvino-{route}/1/{route}{end}" for route in ROUTES for end in (".xml", ".bin")}
    for name in copied.keys() - own:
        assert copied[name].read_bytes() == originals[name].read_bytes(), name
    shared = (repository / "routed-openvino/1/weights.bin").stat().st_size
    for route in ROUTES:
        name = f"routed-openvino-{route}/1/{route}"
        assert copied[f"{name}.bin"].stat().st_size < shared
        for got, want in zip(run(copied[f"{name}.xml"]), run(originals[f"{name}.xml"]), strict=True):
            assert {key: values.tobytes() for key, values in got.items()} == {
                key: values.tobytes() for key, values in want.items()
            }


def test_linked_folders_are_copied_and_hidden_ones_are_left_out(repository, tmp_path):
    (tmp_path / "elsewhere/1").mkdir(parents=True)
    (tmp_path / "elsewhere/1/note.txt").write_text("kept")
    (repository / "linked").symlink_to(tmp_path / "elsewhere")
    (repository / ".staging-export-1").mkdir()
    copy = copy_without_links(repository, tmp_path / "new/copy")
    assert (copy / "linked/1/note.txt").read_text() == "kept"
    assert not (copy / "linked").is_symlink()
    assert not (copy / ".staging-export-1").exists()


def test_a_link_to_nothing_is_named_and_no_copy_is_left(repository, tmp_path):
    before = sorted(tmp_path.iterdir())
    (repository / "routed-openvino/1/path1-k2.xml").unlink()
    with pytest.raises(ExportError, match=r"path1-k2\.xml is a link to .*path1-k2\.xml, which does not"):
        copy_without_links(repository, tmp_path / "copy")
    assert sorted(tmp_path.iterdir()) == before


def test_weights_that_end_too_soon_are_named_and_no_copy_is_left(repository, tmp_path):
    before = sorted(tmp_path.iterdir())
    weights = repository / "routed-openvino/1/weights.bin"
    weights.write_bytes(weights.read_bytes()[:4])
    with pytest.raises(ExportError, match="ends before the constant"):
        copy_without_links(repository, tmp_path / "copy")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("here", "to", "sentence"),
    [
        ("repository", "repository/copy", "is inside"),
        ("repository", "repository", "exists; name a new folder"),
        ("nothing", "copy", "there is no folder"),
    ],
)
def test_a_place_that_cannot_be_copied_to_is_refused(repository, tmp_path, here, to, sentence):
    before = files(repository)
    with pytest.raises(ConfigError, match=sentence):
        copy_without_links(tmp_path / here, tmp_path / to)
    assert files(repository) == before
