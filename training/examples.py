"""What --help teaches by example."""

from training.lab.benchmark.command import DEFAULT_VARIANTS

EXAMPLES = """
examples:
  python -m training train --run runs/try
      generated scenes, a few minutes on two cores
  python -m training train --recipe small-data --data bccd --input 384x512 --run runs/cells
      your own pictures: a VOC folder (Annotations, JPEGImages, ImageSets), a YOLO one (data.yaml), or one of
      COCO, VisDrone, KITTI or SKU-110K as they are downloaded;
      stopped by Ctrl-C or a crash, the same command goes on
  python -m training look --recipe small-data --data bccd --output batches.png
      the pictures that this run would be shown, with their boxes
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training inspect runs/cells/model.safetensors --output pictures
      whether its experts are chosen by what is in the picture
  python -m training export runs/cells/model.safetensors --name cells --data bccd --split val
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
  python -m training download voc --to data/voc
      the data of a benchmark, checked and unpacked; then: train --recipe voc --data data/voc
  python -m training benchmark --variant esmoe-n --variant yolov12-n --plot benchmark.png
      how fast they are here, and what skipping experts gains
  python -m training convert yolo12n.pt
      bring in a YOLO12 or YOLO-Master detection checkpoint; nothing in the file is run
  python -m training prune runs/cells/model.safetensors --data bccd --keep 3 --output cells-3.safetensors
      drop the experts that fewest pictures choose; train --like cells-3.safetensors goes on from there
  python -m training triton-config --name cells --instances 4
      write Triton's files for artefacts that are in the repository, with other settings
"""

TRAIN_EXAMPLES = """
variants by family, the size after the dash; what each holds and computes: python -m training variants
  yolov12-{n,s,m,l,x}  no experts: what the others are measured against
  esmoe-{n,s,m,l,x}    after each stage of the backbone 4 experts of growing kernels, 2 for each picture
  modular-{n,s,m,l}    4, 8 and 16 equal experts, 2 for each picture, beside one that always runs
  optimized-n          the same with 4 everywhere, the step before it
  ultra-n              the step after it: a cheaper router, group norm, experts of little weight left out
  moehead-n            4 light detection heads a level, all of them run, weighed for each picture
  sparsight-{n,s}      ours: experts do the work of the deep stages; runs with any number of them, 0 included
for classification, on the same backbones; recipes quick and small-data train them
  yolov12-{n,s,m,l,x}-cls, esmoe-{n,s,m,l,x}-cls, sparsight-{n,s}-cls

images in a folder for each class, in train/ and val/ or without splits: small-data is 60 epochs at 224 px
  python -m training train --recipe small-data --variant sparsight-n-cls --data trash --run runs/trash

a recipe with data of its own: --data is the folder it lies in, as `download` leaves it
  python -m training train --recipe voc --data data/voc --run runs/voc
  python -m training train --recipe starter --data data --run runs/starter
      data holds bccd, aquarium and playing_cards

an ablation: where experts stand, how many there are, how many run
  python -m training train --run runs/neck --variant esmoe-n --placement neck
  python -m training train --run runs/eight --variant esmoe-n --experts 8 --top-k 2
  python -m training train --run runs/ghost --variant esmoe-n --expert ghost
  python -m training evaluate runs/eight/model.safetensors --top-k 1
  python -m training train --run runs/config5 --variant esmoe-n --dfl 0 --balance 1.5
  python -m training train --run runs/averages --variant sparsight-n --router pooled --fixed-top-k

several GPUs, each with its share of every batch; the two dashes end torchrun's own flags
  torchrun --nproc-per-node 2 -m -- training train --run runs/two
"""

EVALUATE_EXAMPLES = """
examples:
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training evaluate runs/voc/model.safetensors --recipe voc --data data/voc
      of a recipe with data of its own: --data is the folder that `download voc --to data/voc` filled
  python -m training evaluate runs/starter/model.safetensors --recipe starter --data data
      the starter's: data holds bccd, aquarium and playing_cards
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
      the same of what a service answers
"""

COMPARE_EXAMPLES = """
examples:
  python -m training compare runs/mixture/model.safetensors runs/dense/model.safetensors --data bccd
  python -m training compare runs/cells/model.safetensors runs/cells/model.safetensors --data bccd \\
      --second-top-k 1
      one checkpoint with as many experts as it was trained with, and with one
  python -m training compare runs/mixture/model.safetensors runs/dense/model.safetensors \\
      --recipe kitti --data data/kitti
      on what a recipe with data of its own validates on
"""

INSPECT_EXAMPLES = """
examples:
  python -m training inspect runs/cells/model.safetensors --output pictures
      what its run validated on: beside a checkpoint lies the configuration of its run, which says where
  python -m training inspect runs/cells/model.safetensors --data another --split test
  python -m training inspect converted.safetensors --recipe starter --data data
      a checkpoint that does not say what it was trained on; data holds bccd, aquarium and playing_cards
"""

TRAIN_EXPORT_EXAMPLES = """
examples:
  python -m training train-export
      generated scenes
  python -m training train-export --name cells --recipe small-data --data bccd
  python -m training train-export --name voc --recipe voc --data data/voc
      of a recipe with data of its own: --data is the folder that `download voc --to data/voc` filled
  python -m training train-export --name all --recipe small-data --data bccd --val-split ""
      nothing is held out, so the export is not measured
"""

EXPORT_EXAMPLES = """
examples:
  python -m training export runs/cells/model.safetensors --name cells --data bccd
      float32 for CPUs (openvino) and for NPUs and other engines (onnx)
  python -m training export runs/voc/model.safetensors --name voc --recipe voc --data data/voc
      measured on what the recipe validates on
  python -m training export runs/cells/model.safetensors --name fast --target openvino --precision bf16
      faster on CPUs that compute in bf16; an artefact has one precision, so another one gets another name
  python -m training export runs/cells/model.safetensors --name faster --target openvino --precision int8 \\
      --data bccd --calibration 128
      its ranges of values are taken from 128 pictures of the training split
  python -m training export runs/cells/model.safetensors --name gpu --target tensorrt --precision f16 \\
      --batch 8
      for an NVIDIA GPU, always eight pictures at a time
  python -m training export runs/cells/model.safetensors --name small --target onnx --experts shared
      for the smallest NPUs: models with a shared expert, without the others
"""


BENCHMARK_EXAMPLES = f"""
every model is run dense (all experts computed), sparse (those not chosen are skipped) at each K, and as the
bound of what skipping can gain: with only the experts that the picture chose, nothing to choose. All of them
take turns, round after round; a round in which dense differs from itself by more than 10 % is refused and
run again. Leave the machine alone meanwhile.

examples:
  python -m training benchmark
      {", ".join(DEFAULT_VARIANTS)}; OpenVINO, float32, one thread
  python -m training benchmark --variant sparsight-n --variant yolov12-n --precision f32 --precision bf16
  python -m training benchmark runs/cells/model.safetensors --peer other.onnx --plot benchmark.png
  python -m training benchmark --variant esmoe-n --profile
      and where the time of a sparse run goes
"""
