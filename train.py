"""Trains any of the networks: recognition by one of eight losses, or the RetinaFace detector."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.engine.devices import choose_strategy, device_name, worker_shard
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import check, describe
from utils.training.phases import Phase, read_phases

_defaults = {
    # What is trained:
    # retinaface and what begins with it train a detector; distill_blocks and retinaface_blocks are
    # a quick start for a distillation where teacher and student are of one kind
    "loss": "arcface",
    # a name of nets/backbones.py; with retinaface: mobilenet, resnet50
    "backbone": "arcface_mobilefacenet",
    "input_shape": None,  # height, width, 3; none: the backbone's own, 832 for retinaface
    "model_path": None,  # weights to start from, in any format of the README; what does not fit starts at random
    "phases": ["all:50"],  # frozen:10,all:40 trains the head first; part:epochs[:rate[:batch_size]]
    "resume": False,  # go on from the newest checkpoint in save_dir, exactly
    # Data:
    "annotation_path": "cls_train.txt",  # by txt_annotation.py; retinaface: a WIDER label file
    "val_people": 0.0,  # share of the people held out for verification figures after each epoch
    "val_images": 0.0,  # share of each person's images (retinaface: of all images) held out for val_loss
    "batch_size": 64,  # images of a step, all devices together; triplets count three
    "sampler": "plain",  # plain: each image once an epoch; balanced: each person equally often
    "images_per_person": 4,  # triplet: images of each person in a batch
    "augmentation": "light",  # see utils/generators/face_augmentations.py; of retinaface photo_augmentations.py
    # images are enlarged by this share and a random part is kept; FaceNet in TensorFlow: 0.1375 (160
    # of 182 pixels). Held-out images show their middle, LFW's all
    "random_crop": 0.0,
    "mosaic": 0.0,  # retinaface: share of images made of four photos
    "steps_per_epoch": None,  # steps of an epoch; none: once through the data
    # Loss; none: the formula's own value, which stands in brackets:
    "margin": None,  # of triplet (0.2), arcface (0.5), cosface (0.35)
    "scale": None,  # of the cosines of arcface and cosface (64)
    "mining": "semihard",  # triplet: which negatives of a batch are taken
    "label_smoothing": 0.0,  # of the losses that tell people apart as classes
    "sample_rate": 1.0,  # arcface, cosface: share of the people each step compares with
    "center_factor": None,  # softmax+center: weight of the center loss (0.01)
    "center_rate": None,  # softmax+center: how fast centers follow (0.5)
    "prelogits_factor": None,  # softmax+center: weight of the prelogits norm (0.0005)
    "relational_factor": None,  # distill: weight of the distances between images (0)
    "teacher_path": None,  # distill and the losses by blocks: weights of the teacher
    "teacher_backbone": "arcface_mobilefacenet",  # distill, distill_blocks: its network
    "embedding_size": None,  # length of an embedding; none: the backbone's own, the teacher's for distill
    "keep_probability": None,  # share of values that the dropout keeps; none: the backbone's own
    # Optimizer:
    "optimizer": "adam",  # adam, adamw, sgd, rmsprop, adagrad, adadelta
    "learning_rate": 1e-3,  # peak rate
    # batch size that learning_rate is meant for: the rate is multiplied by batch_size / lr_batch;
    # none: not scaled
    "lr_batch": None,
    "min_learning_rate": 0.01,  # the last rate, as a share of the peak
    "schedule": "cosine",  # cosine, step, constant, or a file with lines `epoch: rate`
    "warmup_epochs": 1.0,  # epochs of a rising rate at the start of a phase
    "momentum": 0.9,  # of sgd and rmsprop, and beta_1 of adam and adamw
    "epsilon": None,  # none: the optimizer's own; 0.1 for the ADAM recipes of FaceNet in TensorFlow
    "weight_decay": 0.0,  # decoupled; 5e-3 for sgd is the 5e-4 of the originals
    "clipnorm": None,  # largest norm of one weight's gradient
    "ema": 0.0,  # 0.999 keeps an average of the weights, which is evaluated and saved
    "precision": "float32",  # the mixed ones compute in 16 bits and keep weights in 32
    # share of the old batch-norm statistics kept each step; none: the network's own, 0.99 or 0.995,
    # which takes a thousand steps to settle: 0.9 for shorter trainings
    "batch_norm_momentum": None,
    "sync_batch_norm": False,  # several devices: statistics over all of them, slower
    "early_stop": 0,  # epochs without a better val_loss (or loss) before it ends; 0: never
    # Output and machine:
    "save_dir": "logs",  # weights, checkpoints and logs
    "save_period": 1,  # epochs from one weight file to the next
    "checkpoint_steps": 500,  # steps from one checkpoint to the next, besides the ends of epochs
    "keep_checkpoints": 3,  # how many checkpoints are kept
    "tensorboard": False,  # write event files
    "lfw_dir_path": None,  # folder of aligned LFW faces, verified while training
    "lfw_pairs_path": None,  # its pairs.txt
    "lfw_period": 1,  # epochs from one LFW evaluation to the next
    "train_gpu": None,  # numbers of the GPUs, such as 0,1; none: all there are
    "seed": 0,  # seed of the first weights, the order and the augmentation
}
_choices = {
    "loss": (
        *("arcface", "cosface", "softmax", "softmax+center", "triplet", "triplet+softmax"),
        *("distill", "distill_blocks"),
        *("retinaface", "retinaface_distill", "retinaface_blocks"),
    ),
    "sampler": ("plain", "balanced"),
    "augmentation": ("none", "light", "strong", None),  # "none" on the command line is None
    "mining": ("semihard", "hard"),
    "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
}
_ranges = {
    **dict.fromkeys(("batch_size", "steps_per_epoch"), (1, None)),
    **dict.fromkeys(("save_period", "keep_checkpoints", "lfw_period"), (1, None)),
    **dict.fromkeys(("random_crop", "learning_rate", "warmup_epochs", "weight_decay"), (0, None)),
    **dict.fromkeys(("checkpoint_steps", "early_stop", "seed", "clipnorm"), (0, None)),
    **dict.fromkeys(("mosaic", "label_smoothing", "sample_rate", "keep_probability"), (0, 1)),
    **dict.fromkeys(("min_learning_rate", "momentum", "ema", "batch_norm_momentum"), (0, 1)),
}


def main() -> None:
    """Trains as the settings say."""
    settings = from_command_line(_defaults, __file__, __doc__, choices=_choices, ranges=_ranges)
    strategy = choose_strategy(settings["train_gpu"])
    print(describe(settings, f"train.py on {device_name()}", _defaults))
    train(settings, strategy)


def train(settings: Mapping[str, Any], strategy: Any = None) -> Any:
    """Runs the phases of a training; returns the `utils.training.trainer.Trainer`.

    Args:
        settings: all keys of `_defaults`.
        strategy: TensorFlow strategy; None for the default one.

    Raises:
        ValueError, OSError: settings or data that cannot work, before the first step.
        TrainingStopped: a loss that is not a number.
    """
    import keras
    import tensorflow as tf

    from utils.training.checkpoints import newest_checkpoint
    from utils.training.schedules import end_of_schedule

    # Unreadable images make a stream shorter, so its length is not known before it ends.
    warnings.filterwarnings("ignore", message="Your input ran out of data")
    check(settings, _defaults, _choices, _ranges)
    check_together(settings)
    phases = read_phases(settings["phases"])
    stop = end_of_schedule(settings)
    settings = {**settings, "augmentation": settings["augmentation"] or "none"}
    worker = worker_shard()[0]
    if worker:  # the first or only one writes to the user's folder
        settings["save_dir"] = str(Path(settings["save_dir"]) / f"worker-{worker}")
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_dtype_policy(settings["precision"])
    strategy = strategy or tf.distribute.get_strategy()
    task = build_task(settings, strategy)
    print(task.summary)
    resumed = newest_checkpoint(settings["save_dir"], settings["resume"])
    first_epoch = 0
    for number, phase in enumerate(phases):
        last_epoch = first_epoch + phase.epochs
        if resumed is None or resumed[1]["phase"] <= number:
            epochs = range(first_epoch, min(last_epoch, stop))
            if not epochs:
                break
            run_phase(task, settings, strategy, number, phase, epochs, resumed)
            resumed = None
        first_epoch = last_epoch
    return task.trainer


def run_phase(
    task: Any, settings: Mapping[str, Any], strategy: Any, number: int, phase: Phase, epochs: range, resumed: Any
) -> None:
    """Trains one phase; a resumed one first finishes its broken epoch.

    Args:
        task: what `build_task` returns.
        settings: all keys of `_defaults`.
        strategy: the TensorFlow strategy that trains it.
        number: number of the phase, from 0.
        phase: the phase.
        epochs: its epochs, counted from 0.
        resumed: what `newest_checkpoint` returns.

    Raises:
        ValueError: a batch is larger than an epoch, or the checkpoint does not fit.
        TrainingStopped: a loss that is not a number.
    """
    from utils.training.callbacks import create_callbacks
    from utils.training.checkpoints import restore
    from utils.training.optimizers import phase_optimizer

    trainer, batch_size = task.trainer, phase.batch_size or settings["batch_size"]
    steps = settings["steps_per_epoch"] or task.epoch_length // batch_size
    if steps < 1:
        raise ValueError(f"batch_size {batch_size} is more than the {task.epoch_length} images of an epoch; lower it")
    with strategy.scope():
        task.freeze(phase.frozen)
        optimizer = phase_optimizer(settings, phase, batch_size, steps, epochs)
        trainer.compile(optimizer, jit_compile=False)
        trainer.optimizer.build(trainer.trainable_variables)
    epoch, done = epochs.start, 0
    if resumed is not None and resumed[1]["phase"] == number:
        epoch, done = restore(resumed[0], trainer.state(), steps, batch_size)
    # A broken epoch is finished first, since `fit` wants epochs of one length.
    broken = [(epoch, epoch + 1, done)] if done else []
    for start, stop, skip in [*broken, (epoch + len(broken), epochs.stop, 0)]:
        if start < stop and not trainer.stop_training:
            trainer.fit(
                task.dataset(batch_size, int(trainer.position.numpy())),
                initial_epoch=start,
                epochs=stop,
                steps_per_epoch=steps - skip,
                validation_data=task.validation(batch_size),
                callbacks=create_callbacks(task, settings, number, steps, epochs.stop, batch_size, skip),
                shuffle=False,  # the stream comes shuffled
                verbose=0,
            )


def check_together(settings: Mapping[str, Any]) -> None:
    """Raises ValueError where settings do not go together, or would do nothing."""
    loss, shape = settings["loss"], settings["input_shape"]
    if shape is not None and (not isinstance(shape, list | tuple) or len(shape) < 2):
        raise ValueError(f"input_shape {shape!r}: height, width, 3 expected, such as 112,112,3")
    if bool(settings["lfw_dir_path"]) != bool(settings["lfw_pairs_path"]):
        raise ValueError("lfw_dir_path and lfw_pairs_path need each other")
    if settings["val_images"] and loss.startswith("triplet"):
        raise ValueError(f"val_images: loss {loss} has no val_loss; hold people out by val_people")
    if settings["embedding_size"] and loss in ("distill", "distill_blocks"):
        raise ValueError(f"embedding_size: loss {loss} takes that of the teacher; leave it out")


def build_task(settings: Mapping[str, Any], strategy: Any) -> Any:
    """Returns the task of training a recognition network, or RetinaFace."""
    if settings["loss"].startswith("retinaface"):
        from utils.training.detection_task import DetectionTask

        return DetectionTask(settings, strategy)
    from utils.training.recognition_task import RecognitionTask

    return RecognitionTask(settings, strategy)


if __name__ == "__main__":
    run(main)
