"""Lists the data sets of the five benchmarks, with addresses, sizes, checksums and the owners' terms.

No owner is known to publish checksums. The checksums and exact sizes of COCO, VOC and KITTI are those that
TensorFlow Datasets records (github.com/tensorflow/datasets, tensorflow_datasets/url_checksums/coco.txt,
voc.txt, kitti.txt). For VisDrone and SKU-110K, no checksums were found.
"""

from dataclasses import dataclass

from training.errors import DownloadError

MB = 1_000_000
GB = 1_000 * MB
RECORDED = "recorded by TensorFlow Datasets"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file to download and unpack for a data set, with its address, size, checksum and contents."""

    name: str  # file name
    url: str | None  # None: a person has to download it; see Benchmark.manual
    size: int  # bytes; approximate if sha256 is None
    sha256: str | None = None  # None: no published checksum is known
    unpacked_limit: int  # bytes; an archive that unpacks to more is refused
    holds: tuple[str, ...]  # paths that exist once the archive is unpacked, by this command or by hand

    @property
    def exact_size(self) -> int | None:
        """Return the exact size of the file in bytes; None if it is not known."""
        return self.size if self.sha256 else None

    @property
    def largest_size(self) -> int:
        """Return the size in bytes above which a download cannot be the expected file."""
        return self.exact_size or 2 * self.size


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A data set: one or more archives that are unpacked into one folder."""

    name: str  # also the name of the recipe that trains on it
    what: str
    licence: str  # in a few words
    terms: str  # of use; shown before the download
    home: str
    archives: tuple[Archive, ...]
    manual: str = ""  # how to get archives without a url; {folder} is replaced by the folder to put them in

    @property
    def size(self) -> int:
        """Return the size of all archives in bytes; it is approximate if an archive has no checksum."""
        return sum(archive.size for archive in self.archives)


COCO = Benchmark(
    name="coco",
    what="MS COCO 2017: 118,287 + 5,000 photos, 80 classes",
    licence="labels CC BY 4.0; photos: Flickr's terms",
    terms="The annotations are under CC BY 4.0 (COCO Consortium). The photos are not the consortium's: each\n"
    "has its own licence (the annotations name it), and their use must abide by Flickr's terms of use.",
    home="https://cocodataset.org/#termsofuse",
    archives=(
        Archive(
            name="annotations_trainval2017.zip",
            url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
            size=252_907_541,
            sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            unpacked_limit=1_200 * MB,
            holds=("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        ),
        Archive(
            name="val2017.zip",
            url="http://images.cocodataset.org/zips/val2017.zip",
            size=815_585_330,
            sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            unpacked_limit=900 * MB,
            holds=("val2017",),
        ),
        Archive(
            name="train2017.zip",
            url="http://images.cocodataset.org/zips/train2017.zip",
            size=19_336_861_798,
            sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            unpacked_limit=20_500 * MB,
            holds=("train2017",),
        ),
    ),
)

# An uncompressed tar is larger than its contents, so its size is the limit.
VOC = Benchmark(
    name="voc",
    what="PASCAL VOC 2007 and 2012: 16,551 photos to train, 4,952 to test, 20 classes",
    licence="photos: Flickr's terms",
    terms="No licence is stated. The photos are from Flickr: their use must respect Flickr's terms of use.",
    home="http://host.robots.ox.ac.uk/pascal/VOC/",
    archives=(
        Archive(
            name="VOCtrainval_06-Nov-2007.tar",
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
            size=460_032_000,
            sha256="7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
            unpacked_limit=460_032_000,
            holds=("VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",),
        ),
        Archive(
            name="VOCtest_06-Nov-2007.tar",
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar",
            size=451_020_800,
            sha256="6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
            unpacked_limit=451_020_800,
            holds=("VOCdevkit/VOC2007/ImageSets/Main/test.txt",),
        ),
        Archive(
            name="VOCtrainval_11-May-2012.tar",
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            size=1_999_639_040,
            sha256="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
            unpacked_limit=1_999_639_040,
            holds=("VOCdevkit/VOC2012/ImageSets/Main/trainval.txt",),
        ),
    ),
)

VISDRONE = Benchmark(
    name="visdrone",
    what="VisDrone2019-DET: 6,471 + 548 photos from drones, 10 classes",
    licence="none stated; for research",
    terms="Its makers (AISKYEYE, Tianjin University) state no licence beside the data, which they offer for\n"
    "research: ask them before any other use.",
    home="https://github.com/VisDrone/VisDrone-Dataset",
    archives=(  # sizes: the README of the data set's repository
        Archive(
            name="VisDrone2019-DET-train.zip",
            url=None,
            size=1_440 * MB,
            unpacked_limit=2 * GB,
            holds=("VisDrone2019-DET-train/images", "VisDrone2019-DET-train/annotations"),
        ),
        Archive(
            name="VisDrone2019-DET-val.zip",
            url=None,
            size=70 * MB,
            unpacked_limit=150 * MB,
            holds=("VisDrone2019-DET-val/images", "VisDrone2019-DET-val/annotations"),
        ),
    ),
    manual="They are on Google Drive and BaiduYun, which need a browser. Open\n"
    "  https://github.com/VisDrone/VisDrone-Dataset#download (Task 1: Object Detection in Images)\n"
    "  trainset: https://drive.google.com/file/d/1a2oHjcEcwXP8oUF95qiwrqzACb2YlUhn/view\n"
    "  valset:   https://drive.google.com/file/d/1bxK5zgLn0_L8x276eKkuYA_FzwCIjb59/view\n"
    "and put the zip files under their own names into {folder}",
)

KITTI = Benchmark(
    name="kitti",
    what="KITTI object detection: 7,481 labelled street scenes, classes Car, Pedestrian, Cyclist",
    licence="CC BY-NC-SA 3.0",
    terms="Creative Commons Attribution-NonCommercial-ShareAlike 3.0: not for commercial use. The site asks\n"
    "for a registration (https://www.cvlibs.net/datasets/kitti/user_register.php) before it shows the\n"
    "addresses of the archives, which are public.",
    home="https://www.cvlibs.net/datasets/kitti/eval_object.php",
    archives=(
        Archive(
            name="data_object_label_2.zip",
            url="https://s3.eu-central-1.amazonaws.com/avg-kitti/data_object_label_2.zip",
            size=5_601_213,
            sha256="4efc76220d867e1c31bb980bbf8cbc02599f02a9cb4350effa98dbb04aaed880",
            unpacked_limit=100 * MB,
            holds=("training/label_2",),
        ),
        Archive(
            name="data_object_image_2.zip",
            url="https://s3.eu-central-1.amazonaws.com/avg-kitti/data_object_image_2.zip",
            size=12_569_945_557,
            sha256="351c5a2aa0cd9238b50174a3a62b846bc5855da256b82a196431d60ff8d43617",
            unpacked_limit=13_500 * MB,
            holds=("training/image_2",),
        ),
    ),
)

SKU110K = Benchmark(
    name="sku110k",
    what="SKU-110K: 11,762 photos of shelves, 1 class, 147 objects a photo",
    licence="academic, non-commercial",
    terms="For the exclusive use of the recipient, and solely for academic and non-commercial purposes.",
    home="https://github.com/eg4000/SKU110K_CVPR19",
    archives=(
        Archive(
            name="SKU110K_fixed.tar.gz",
            # The repository's README has this URL with http. Without a checksum, only https protects.
            url="https://trax-geometry.s3.amazonaws.com/cvpr_challenge/SKU110K_fixed.tar.gz",
            size=13_600 * MB,
            unpacked_limit=17 * GB,
            holds=("SKU110K_fixed/images", "SKU110K_fixed/annotations"),
        ),
    ),
)

BENCHMARKS = (COCO, VOC, VISDRONE, KITTI, SKU110K)


def find_benchmark(name: str) -> Benchmark:
    """Return the data set called `name`; if there is none, raise DownloadError, which lists all names."""
    by_name = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    if name not in by_name:
        raise DownloadError(f"no data set {name!r}; there are: {', '.join(by_name)}")
    return by_name[name]
