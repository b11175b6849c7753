"""Imports everything that tests/gpu uses of `training`, so only this file depends on module paths."""

from training.config import TrainConfig
from training.data.combined import FoldedDataset
from training.data.evaluation import evaluation_batches
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES as SCENE_CLASS_NAMES
from training.data_config import CombinedConfig, ScenesConfig
from training.evaluate.evaluator import Evaluation, evaluate
from training.export.graph.half import half_precision
from training.losses.detection import LossTerms
from training.models.detector import Detector
from training.models.mixture.dispatch import Gathered
from training.models.mixture.layer import Dispatch
from training.models.variants import model_config
from training.recipes.recipe_data import recipe_splits
from training.recipes.recipes import Request, build_config
from training.rounds import order
from training.tasks.detect import DETECT
from training.trainer.checkpoint import MODEL_FILE, load_model, save_model
from training.trainer.distributed import synchronise_batch_norm
from training.trainer.loop import Trainer
from training.trainer.report import METRICS_FILE

__all__ = [
    "DETECT",
    "METRICS_FILE",
    "MODEL_FILE",
    "SCENE_CLASS_NAMES",
    "CombinedConfig",
    "Detector",
    "Dispatch",
    "Evaluation",
    "FoldedDataset",
    "Gathered",
    "LossTerms",
    "Request",
    "ScenesConfig",
    "TrainConfig",
    "Trainer",
    "build_config",
    "evaluate",
    "evaluation_batches",
    "half_precision",
    "load_model",
    "model_config",
    "open_dataset",
    "order",
    "recipe_splits",
    "save_model",
    "synchronise_batch_norm",
]
