"""Novel images are kept for labelling, without anything about their callers."""

import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.builders import image_bytes
from tests.watched_artifacts import build_watched, common_file, novel_file

TOKEN = "t" * 16
ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return build_watched(tmp_path_factory.mktemp("watched")).repository


@pytest.fixture
def keeping(start, repository, tmp_path):
    """Return a function that starts a service that keeps images, and waits until it has its baseline."""

    def begin(**limits):
        novel = {"folder": tmp_path / "novel", **limits}
        running = start(repository=repository, novel=novel, admin_token=TOKEN)
        wait_for_baseline(running)
        return running

    return begin


def wait_for_baseline(served):
    for _ in range(200):
        served.detect(common_file())
        if served.client.get("/routing").json()["versions"][0]["judged"]:
            return
        time.sleep(0.02)
    raise TimeoutError("the baseline was not read")


def listed(served, **query):
    return served.client.get("/novel", params=query, headers=ADMIN).json()


def outcomes(served):
    found = served.metrics()
    return tuple(found[f'sparsight_novel_images_total{{outcome="{one}"}}'] for one in ("kept", "full"))


def wait_for(count, served):
    """Wait until this number of images is kept; return them."""
    for _ in range(200):
        found = listed(served)
        if found["total"] >= count:
            break
        time.sleep(0.02)
    assert found["total"] == count
    return found["images"]


def test_an_image_unlike_the_baseline_is_kept_and_one_like_it_is_not(keeping):
    served = keeping()
    served.detect(common_file(1))
    answer = served.detect(novel_file()).json()
    (kept,) = wait_for(1, served)
    assert kept["rank"] == 1.0
    assert kept["rarity"] > 3
    assert kept["path_share"] == 0
    assert kept["confidence"] == answer["predictions"][0]["confidence"]
    assert kept["score"] == pytest.approx(kept["rarity"] + 1 - kept["confidence"], abs=2e-6)
    assert kept["why"] == "rare-path"
    assert (kept["model"], kept["version"], kept["width"], kept["height"]) == ("tiny", "1", 64, 64)
    image = served.client.get(f"/novel/{kept['id']}", headers=ADMIN)
    assert image.headers["content-type"] == "image/jpeg"
    assert np.abs(np.array(Image.open(io.BytesIO(image.content))).astype(int) - (250, 250, 10)).max() < 8
    assert outcomes(served) == (1, 0)
    assert served.metrics()["sparsight_novel_images_kept"] == 1


def test_without_a_folder_nothing_is_kept(start, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served = start(repository=repository, admin_token=TOKEN)
    wait_for_baseline(served)
    before = set(tmp_path.rglob("*"))
    served.detect(novel_file())
    answer = served.client.get("/novel", headers=ADMIN)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "novel-off")
    assert "SPARSIGHT_NOVEL__FOLDER" in answer.json()["detail"]
    assert set(tmp_path.rglob("*")) == before
    assert outcomes(served) == (0, 0)


def test_a_caller_can_forbid_that_an_image_is_kept(keeping):
    served = keeping()
    assert served.detect(novel_file(1), keep="false").status_code == 200
    form = {"a": novel_file(2), "b": novel_file(3)}
    assert served.client.post("/detect/batch", params={"keep": "false"}, files=form).status_code == 200
    served.detect(novel_file(4), keep="true")
    wait_for(1, served)
    assert served.detect(novel_file(1), keep="perhaps").status_code == 422
    assert outcomes(served) == (1, 0)


def photo_with_metadata():
    """Return a JPEG, turned by its EXIF orientation, with a place, a comment, XMP and a thumbnail's owner."""
    pixels = np.full((64, 64, 3), (250, 250, 10), np.uint8)
    pixels[:16] = (250, 250, 190)  # as stored: a bright bar at the top
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise: the bar is at the right
    exif[0x013B] = "Ada Lovelace"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0xA431: "SERIAL-4711"})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">Ada Lovelace</x:xmpmeta>'
    return image_bytes(pixels, "JPEG", quality=95, exif=exif, xmp=xmp, comment=b"taken at home by Ada")


def test_a_kept_image_is_upright_and_has_no_metadata(keeping, tmp_path):
    photo = photo_with_metadata()
    assert Image.open(io.BytesIO(photo)).getexif().get_ifd(0x8825)  # the photo does tell the place
    served = keeping()
    secret = {"X-Request-Id": "Ada-4711", "User-Agent": "Ada's phone"}
    form = {"image": ("ada-at-home.jpg", photo)}
    assert served.client.post("/detect", files=form, headers=secret).status_code == 200
    (kept,) = wait_for(1, served)
    image, record = (tmp_path / "novel" / f"{kept['id']}.{end}" for end in ("jpg", "json"))
    found = Image.open(image)
    assert not found.getexif()
    assert {"exif", "xmp", "comment", "icc_profile"}.isdisjoint(found.info)
    assert found.size == (64, 64)
    upright = np.array(found).astype(int)
    assert np.abs(upright[:, 56:].mean(axis=(0, 1)) - (250, 250, 190)).max() < 8
    assert np.abs(upright[:, :40].mean(axis=(0, 1)) - (250, 250, 10)).max() < 8
    for path in (image, record):
        content = path.read_bytes().lower()
        for word in (b"ada", b"4711", b"home", b"lovelace", b"127.0.0.1", b"2026:01:02", b"exif", b"<x:"):
            assert word not in content, (path.name, word)
    assert {path.name for path in image.parent.iterdir()} == {image.name, record.name}
    assert re.fullmatch(r"[0-9a-f]{16}", kept["id"])


def test_a_record_has_the_predictions_and_the_path_and_only_the_hour(keeping, tmp_path):
    served = keeping()
    answer = served.client.post("/detect", params={"moe": "full"}, content=novel_file()).json()
    (kept,) = wait_for(1, served)
    record = json.loads((tmp_path / "novel" / f"{kept['id']}.json").read_text())
    assert record["predictions"] == answer["predictions"]
    assert record["class_names"] == ["red", "green", "blue"]
    active = {layer["layer"]: layer["active"] for layer in answer["moe"]["layers"]}
    assert {layer["layer"]: layer["active"] for layer in record["path"]} == active
    assert record["model_sha256"] == answer["model"]["sha256"]
    assert record["hour"].endswith(":00:00Z")


def test_the_list_is_in_order_of_novelty_or_time_and_has_a_limit(keeping):
    served = keeping(share=1)
    for number in range(5):
        served.detect(novel_file(number))
        wait_for(number + 2, served)  # with the image with which the baseline was awaited
    scores = [one["score"] for one in listed(served)["images"]]
    assert scores == sorted(scores, reverse=True)
    first = listed(served, limit=1)
    assert (first["total"], [one["score"] for one in first["images"]]) == (6, scores[:1])
    assert len(listed(served, order="new", limit=10_000)["images"]) == 6
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"order": "old"}):
        answer = served.client.get("/novel", params=wrong, headers=ADMIN)
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, *wrong)


def test_only_an_administrator_sees_and_deletes_images(keeping):
    served = keeping()
    served.detect(novel_file())
    (kept,) = wait_for(1, served)
    address = f"/novel/{kept['id']}"
    for headers in ({}, {"Authorization": "Bearer wrong-token-wrong"}):
        assert served.client.get("/novel", headers=headers).status_code == 401
        assert served.client.get(address, headers=headers).status_code == 401
        assert served.client.delete(address, headers=headers).status_code == 401
    assert served.client.delete(address, headers=ADMIN).status_code == 204
    for again in (served.client.delete, served.client.get):
        answer = again(address, headers=ADMIN)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "unknown-image")
    assert listed(served) == {"total": 0, "images": []}
    assert served.metrics()["sparsight_novel_images_kept"] == 0


def test_images_that_were_removed_by_hand_are_not_listed(keeping, tmp_path):
    served = keeping(share=1)
    served.detect(novel_file(1))
    first, second = wait_for(2, served)
    (tmp_path / "novel" / f"{first['id']}.jpg").unlink()
    assert listed(served) == {"total": 1, "images": [second]}
    assert served.metrics()["sparsight_novel_images_kept"] == 1


def test_an_image_whose_files_cannot_be_removed_is_a_problem_and_still_listed(keeping, tmp_path):
    served = keeping()
    served.detect(novel_file())
    (kept,) = wait_for(1, served)
    record = tmp_path / "novel" / f"{kept['id']}.json"
    record.rename(tmp_path / "record.json")
    record.mkdir()  # unlink refuses a folder, also for root
    answer = served.client.delete(f"/novel/{kept['id']}", headers=ADMIN)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "not-deleted")
    assert "SPARSIGHT_NOVEL__FOLDER" in answer.json()["detail"]
    record.rmdir()
    (tmp_path / "record.json").rename(record)
    assert listed(served)["images"] == [kept]
    assert served.client.delete(f"/novel/{kept['id']}", headers=ADMIN).status_code == 204


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", "0" * 16, "x"])
def test_an_id_leads_to_no_other_file(keeping, name):
    assert keeping().client.get(f"/novel/{name}", headers=ADMIN).status_code == 404


def test_images_of_an_earlier_process_are_still_there(keeping):
    first = keeping()
    first.detect(novel_file())
    before = wait_for(1, first)
    second = keeping()
    assert listed(second)["images"] == before
    assert second.metrics()["sparsight_novel_images_kept"] == 1
    second.detect(novel_file())  # the same image again
    second.detect(novel_file(9))
    assert len(wait_for(2, second)) == 2


def test_concurrent_requests_leave_a_folder_within_its_limits(keeping, tmp_path):
    served = keeping(images=4)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: served.detect(novel_file(number % 20)), range(80)))
    assert {answer.status_code for answer in answers} == {200}
    for _ in range(100):
        served.detect(novel_file(19))
        if listed(served)["total"] == 4 and max(one["score"] for one in listed(served)["images"]) > 21:
            break
    found = listed(served)
    assert found["total"] == 4
    assert len({one["score"] for one in found["images"]}) == 4
    files = sorted(path.name for path in (tmp_path / "novel").iterdir())
    ends = ("jpg", "json")
    assert files == sorted(f"{one['id']}.{end}" for one in found["images"] for end in ends)


def test_a_folder_that_cannot_be_used_is_counted_and_no_request_fails(start, repository, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    folder = tmp_path / "file" / "novel"
    served = start(repository=repository, novel={"folder": folder}, admin_token=TOKEN)
    wait_for_baseline(served)
    for number in range(3):
        assert served.detect(novel_file(number)).status_code == 200
        for _ in range(100):
            if outcomes(served) == (0, number + 1):
                break
            time.sleep(0.02)
    assert outcomes(served) == (0, 3)
    assert listed(served) == {"total": 0, "images": []}
    logged = [line.msg for line in caplog.records if line.msg.startswith("novel")]
    assert logged == ["novel_folder_unusable"]  # not one line for every image


def test_a_folder_that_is_removed_meanwhile_is_counted_and_then_used_again(keeping, tmp_path):
    served = keeping()
    (tmp_path / "novel").rmdir()
    assert served.detect(novel_file(1)).status_code == 200
    for _ in range(100):
        if outcomes(served) == (0, 1):
            break
        time.sleep(0.02)
    assert outcomes(served) == (0, 1)
    (tmp_path / "novel").mkdir()
    served.detect(novel_file(2))
    wait_for(1, served)


def test_an_image_with_other_controls_than_the_baseline_is_not_kept(keeping):
    served = keeping()
    served.detect(novel_file(1), top_k=1)
    served.detect(novel_file(2))
    (kept,) = wait_for(1, served)
    assert kept["why"] == "rare-path"


def test_a_caller_who_asks_for_one_class_does_not_make_an_image_look_novel(keeping):
    served = keeping(share=1)
    served.detect(common_file(1), classes="blue")  # a green image
    (kept,) = (one for one in wait_for(2, served) if one["confidence"] is None)
    assert kept["score"] == kept["rarity"] < 1
