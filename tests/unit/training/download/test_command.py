"""The list of downloads, and the download command."""

import signal
import threading
import time

import pytest

from tests.unit.training.download.archives import write_zip
from tests.unit.training.download.http_server import serving
from training.__main__ import main
from training.cli.download import benchmarks_table
from training.download.catalogue import BENCHMARKS, find_benchmark
from training.download.download import RECORDS
from training.download.fetch import CHUNK, length
from training.errors import DownloadError


def test_the_catalogue_is_whole():
    archives = [archive for benchmark in BENCHMARKS for archive in benchmark.archives]
    assert len({archive.name for archive in archives}) == len(archives)
    for archive in archives:
        assert archive.holds
        assert archive.sha256 is None or (len(archive.sha256) == 64 and int(archive.sha256, 16))
        assert archive.url is None or archive.url.endswith("/" + archive.name)
        assert archive.sha256 or archive.url is None or archive.url.startswith("https:")
    for benchmark in BENCHMARKS:
        by_hand = any(archive.url is None for archive in benchmark.archives)
        assert by_hand == ("{folder}" in benchmark.manual)
        assert benchmark.terms


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(DownloadError, match="no data set 'dogs'; there are: coco, voc, visdrone, kitti, sku"):
        find_benchmark("dogs")


def test_the_list_says_what_how_large_and_on_what_terms(capsys):
    assert main(["download", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == benchmarks_table().splitlines()
    assert lines[0].split() == ["name", "what", "download", "checksums", "licence"]
    assert "20.4 GB" in lines[1]
    assert "about 1.5 GB, by hand" in lines[3]
    assert "none known" in lines[3]
    assert lines[4].endswith("CC BY-NC-SA 3.0")


@pytest.mark.parametrize("argv", [["download"], ["download", "voc"], ["download", "--to", "x"]])
def test_a_name_and_a_folder_are_wanted(capsys, argv):
    assert main(argv) == 2
    assert capsys.readouterr().err == "training: download takes a NAME and --to FOLDER, or --list\n"


def test_from_the_command_line_a_mirror_fills_a_folder(tmp_path, capsys):
    """VisDrone's archives have no checksum, so that small ones can stand in for them."""
    names = [f"VisDrone2019-DET-{split}" for split in ("train", "val")]
    with serving() as server:
        for name in names:
            files = {f"{name}/images/1.jpg": b"1", f"{name}/annotations/1.txt": b"1"}
            server.files[f"/{name}.zip"] = write_zip(tmp_path / "archive.zip", files)
        argv = ["download", "visdrone", "--to", str(tmp_path / "data"), "--quiet"]
        assert main(argv) == 1
        said = capsys.readouterr()
        assert "https://drive.google.com/" in said.out
        assert said.err.count("\n") == 1
        assert main([*argv, "--from", server.url, "--remove-archives"]) == 0
        assert "AISKYEYE" in capsys.readouterr().out
        assert main(argv) == 0
        assert "VisDrone2019-DET-train.zip: there already" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [RECORDS, *names]
    assert (tmp_path / "data" / names[0] / "annotations" / "1.txt").read_bytes() == b"1"


def test_from_the_command_line_ctrl_c_is_130_and_says_that_the_same_goes_on(tmp_path, capsys):
    main_thread = threading.main_thread().ident
    partial = tmp_path / "VisDrone2019-DET-train.zip.partial"

    def interrupt():
        until = time.monotonic() + 10
        while length(partial) < CHUNK and time.monotonic() < until:
            time.sleep(0.005)
        signal.pthread_kill(main_thread, signal.SIGINT)

    with serving(drops=[2 * CHUNK]) as server:
        server.files["/VisDrone2019-DET-train.zip"] = bytes(3 * CHUNK)
        server.on_drop.append(interrupt)
        argv = ["download", "visdrone", "--to", str(tmp_path), "--quiet", "--from", server.url]
        assert main(argv) == 130
    assert "the partial download is kept; the same command resumes" in capsys.readouterr().err


def test_from_the_command_line_another_file_under_the_name_is_refused_at_once(tmp_path, capsys):
    with serving(files={"/VOCtrainval_06-Nov-2007.tar": b"not VOC"}) as server:
        assert main(["download", "voc", "--to", str(tmp_path), "--from", server.url, "--quiet"]) == 1
    assert "offers 7 bytes where 460,032,000 are expected" in capsys.readouterr().err
