"""Trains any of the networks: recognition by one of eight losses, or the RetinaFace detector."""

import sys
import warnings
from pathlib import Path

from utils.engine.devices import device_name
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # What is trained:
    # arcface, cosface, softmax, softmax+center, triplet, triplet+softmax, distill; for a detector
    # retinaface, retinaface_distill; distill_blocks and retinaface_blocks, a quick start for the
    # distillations where teacher and student are of one kind
    "loss": "arcface",
    # a name of nets/backbones.py; with retinaface: mobilenet, resnet50
    "backbone": "arcface_mobilefacenet",
    "input_shape": None,  # height, width, 3; none: the backbone's own, 832 for retinaface
    "model_path": None,  # weights to start from, any format; what does not fit starts at random
    "phases": ["all:50"],  # frozen:10,all:40 trains the head first; part:epochs[:rate[:batch_size]]
    "resume": False,  # go on from the newest checkpoint in save_dir, exactly
    # Data:
    "annotation_path": "cls_train.txt",  # by txt_annotation.py; retinaface: a WIDER label file
    "val_people": 0.0,  # share of the people held out: verification figures after each epoch
    "val_images": 0.0,  # share of each person's images (retinaface: of all) held out: val_loss
    "batch_size": 64,  # images of a step, all devices together; triplets count three
    "sampler": "plain",  # plain: each image once an epoch; balanced: each person equally often
    "images_per_person": 4,  # triplet: images of each person in a batch
    "augmentation": "light",  # none, light or strong; see utils/generators/face_augmentations.py
    "mosaic": 0.0,  # retinaface: share of images made of four photos
    "steps_per_epoch": None,  # none: once through the data
    # Loss; none: the formula's own value:
    "margin": None,  # of triplet (0.2), arcface (0.5), cosface (0.35)
    "scale": None,  # of the cosines of arcface and cosface (64)
    "mining": "semihard",  # triplet: semihard or hard
    "label_smoothing": 0.0,  # of the class losses
    "sample_rate": 1.0,  # arcface, cosface: share of the people each step compares with
    "center_factor": None,  # softmax+center: weight of the center loss (0.01)
    "center_rate": None,  # softmax+center: how fast centers follow (0.5)
    "prelogits_factor": None,  # softmax+center: weight of the prelogits norm (0.0005)
    "relational_factor": None,  # distill: weight of the distances between images (0)
    "teacher_path": None,  # distill and the losses by blocks: weights of the teacher
    "teacher_backbone": "arcface_mobilefacenet",  # distill, distill_blocks: its network
    "embedding_size": None,  # none: the backbone's own, the teacher's for distill
    "keep_probability": None,  # of the dropout; none: the backbone's own
    # Optimizer:
    "optimizer": "adam",  # adam, adamw, sgd, rmsprop, adagrad, adadelta
    "learning_rate": 1e-3,  # peak rate at batch_size; with lr_batch: at that batch size
    "lr_batch": None,  # 64 scales the rate by batch_size / 64; none: the rate is taken as it is
    "min_learning_rate": 0.01,  # the last rate, as a share of the peak
    "schedule": "cosine",  # cosine, step, constant, or a file with lines `epoch: rate`
    "warmup_epochs": 1.0,  # epochs of a rising rate at the start of a phase
    "momentum": 0.9,  # of sgd and rmsprop, beta_1 of the adams
    "weight_decay": 0.0,  # decoupled; 5e-3 for sgd is the 5e-4 of the originals
    "clipnorm": None,  # largest norm of one weight's gradient
    "ema": 0.0,  # 0.999 keeps an average of the weights, which is evaluated and saved
    "precision": "float32",  # float32, mixed_float16 or mixed_bfloat16
    # share of the old batch-norm statistics kept each step; none: the network's own, 0.99 or 0.995,
    # which takes a thousand steps to settle: 0.9 for shorter trainings
    "batch_norm_momentum": None,
    "sync_batch_norm": False,  # several devices: statistics over all of them, slower
    "early_stop": 0,  # epochs without a better val_loss (or loss) before it ends; 0: never
    # Output and machine:
    "save_dir": "logs",  # weights, checkpoints and logs
    "save_period": 1,  # epochs from one weight file to the next
    "checkpoint_steps": 500,  # steps from one checkpoint to the next, besides the ends of epochs
    "keep_checkpoints": 3,  # how many stay
    "tensorboard": False,  # write event files
    "lfw_dir_path": None,  # folder of aligned LFW faces, verified while training
    "lfw_pairs_path": None,  # its pairs.txt
    "lfw_period": 1,  # epochs from one LFW evaluation to the next
    "train_gpu": None,  # numbers of the GPUs, such as 0,1; none: all there are
    "seed": 0,  # of weights, order and augmentation
}
SCHEDULES = ("cosine", "step", "constant")  # anything else is a file


def main():
    """Trains as the settings say."""
    settings = from_command_line(_defaults, __file__, __doc__)
    from utils.engine.devices import choose_strategy

    strategy = choose_strategy(settings["train_gpu"])
    print(describe(settings, f"train.py on {device_name()}", _defaults))
    train(settings, strategy)


def check(settings):
    """Refuses settings that would fail late, or do nothing."""
    loss = settings["loss"]
    for key in ("save_period", "keep_checkpoints", "lfw_period", "batch_size"):
        if not isinstance(settings[key], int) or settings[key] < 1:
            raise ValueError(f"{key} {settings[key]!r}: at least 1 expected")
    if settings["mining"] not in ("semihard", "hard"):
        raise ValueError(f"mining {settings['mining']!r} is neither semihard nor hard")
    shape = settings["input_shape"]
    if shape is not None and (not isinstance(shape, list | tuple) or len(shape) < 2):
        raise ValueError(f"input_shape {shape!r}: height, width, 3 expected, such as 112,112,3")
    if bool(settings["lfw_dir_path"]) != bool(settings["lfw_pairs_path"]):
        raise ValueError("lfw_dir_path and lfw_pairs_path need each other")
    if settings["val_images"] and loss.startswith("triplet"):
        raise ValueError(f"val_images: loss {loss} has no val_loss; hold people out by val_people")
    if settings["embedding_size"] and loss in ("distill", "distill_blocks"):
        raise ValueError(f"embedding_size: loss {loss} takes that of the teacher; leave it out")
    if settings["schedule"] not in SCHEDULES:
        rates = [phase for phase in settings["phases"] if str(phase).count(":") > 1]
        if rates or settings["lr_batch"]:
            raise ValueError("schedule: a file sets the rates alone, without lr_batch or a phase's")


def end_of_schedule(schedule):
    """Returns the epoch, counted from 0, that a schedule file stops before; infinite without."""
    from utils.training.schedules import last_epoch, read_schedule_file

    stop = None if schedule in SCHEDULES else last_epoch(read_schedule_file(schedule))
    return sys.maxsize if stop is None else stop


def train(settings, strategy=None):
    """Runs the phases of a training; returns the trainer.

    Args:
        settings: all keys of `_defaults`.
        strategy: TensorFlow strategy; None for the default one.

    Raises:
        ValueError, OSError: settings or data that cannot work, before the first step.
        TrainingStopped: a loss that is not a number.
    """
    import keras
    import tensorflow as tf

    from utils.training.schedules import read_phases

    # Unreadable images make a stream shorter, so its length is not known before it ends.
    warnings.filterwarnings("ignore", message="Your input ran out of data")
    check(settings)
    phases = read_phases(settings["phases"])
    stop = end_of_schedule(settings["schedule"])
    # "none" on the command line is None
    settings = {**settings, "augmentation": settings["augmentation"] or "none"}
    if worker_number():  # the first of several workers writes where the user looks
        folder = Path(settings["save_dir"]) / f"worker-{worker_number()}"
        settings = {**settings, "save_dir": str(folder)}
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_dtype_policy(settings["precision"])
    detecting = settings["loss"].startswith("retinaface")
    task_of = detection_task if detecting else recognition_task
    strategy = strategy or tf.distribute.get_strategy()
    task = task_of(settings, strategy)
    print(task.summary)
    resumed = newest_checkpoint(settings)
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


def run_phase(task, settings, strategy, number, phase, epochs, resumed):
    """Trains one phase; a resumed one first finishes its broken epoch."""
    from utils.training.checkpoints import load_checkpoint

    batch_size = phase.batch_size or settings["batch_size"]
    steps = settings["steps_per_epoch"] or task.epoch_length // batch_size
    if steps < 1:
        raise ValueError(
            f"batch_size {batch_size} is more than the {task.epoch_length} images of an epoch; "
            "lower it"
        )
    trainer = task.trainer
    with strategy.scope():
        task.freeze(phase.frozen)
        rate = phase.learning_rate or settings["learning_rate"]
        optimizer = build_optimizer(settings, rate, batch_size, steps, epochs)
        trainer.compile(optimizer, jit_compile=False)
        trainer.optimizer.build(trainer.trainable_variables)
    epoch, done = epochs.start, 0
    if resumed is not None and resumed[1]["phase"] == number:
        state = load_checkpoint(resumed[0], trainer.state())
        epoch, done = state["epoch"], state["step_of_epoch"]
        if done and (state["steps"], state["batch_size"]) != (steps, batch_size):
            raise ValueError(
                f"{resumed[0]}: inside an epoch of {state['steps']} steps with batch_size "
                f"{state['batch_size']}, now {steps} with {batch_size}: resume with the same"
            )
        print(f"resumed from {resumed[0]}: epoch {epoch + 1}, step {done}")
    # a broken epoch is finished first: `fit` wants epochs of one length
    parts = [(epoch, epoch + 1, done)] if done else []
    parts.append((epoch + (1 if done else 0), epochs.stop, 0))
    for start, stop, skip in parts:
        if start < stop and not trainer.stop_training:
            trainer.fit(
                task.dataset(batch_size, int(trainer.position.numpy())),
                initial_epoch=start,
                epochs=stop,
                steps_per_epoch=steps - skip,
                validation_data=task.validation(batch_size),
                callbacks=callbacks(task, settings, number, steps, epochs.stop, batch_size, skip),
                shuffle=False,  # the stream comes shuffled
                verbose=0,
            )


def newest_checkpoint(settings):
    """Returns (path, state) to resume from, or None."""
    from utils.training.checkpoints import list_checkpoints, read_state

    folder = Path(settings["save_dir"]) / "checkpoints"
    found = list_checkpoints(folder)
    if not settings["resume"]:
        if found:
            raise ValueError(
                f"{folder}: holds checkpoints of another training; set resume to go on, or choose "
                "another save_dir"
            )
        return None
    if not found:
        print(f"{folder}: no checkpoint yet, training starts at the beginning")
        return None
    return found[-1], read_state(found[-1])


def build_optimizer(settings, rate, batch_size, steps, epochs):
    """Returns the optimizer of a phase, with its schedule over the phase's steps."""
    from utils.training import optimizers, schedules

    if settings["lr_batch"]:
        rate = schedules.scaled_learning_rate(rate, batch_size, settings["lr_batch"])
    total, kind = steps * len(epochs), settings["schedule"]
    lowest = rate * settings["min_learning_rate"]
    if kind == "cosine":
        warmup = min(round(settings["warmup_epochs"] * steps), total // 2)
        rate = schedules.WarmupCosine(rate, total, warmup, lowest)
    elif kind == "step":
        rate = schedules.StepDecay.between(rate, lowest, total)
    elif kind != "constant":
        milestones = schedules.read_schedule_file(kind)
        milestones = [(epoch - epochs.start, value) for epoch, value in milestones]
        rate = schedules.PiecewiseConstant(milestones, steps)
    return optimizers.build_optimizer(
        settings["optimizer"],
        rate,
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        clipnorm=settings["clipnorm"],
    )


def callbacks(task, settings, phase, steps, last_epoch, batch_size, done):
    """Returns the callbacks of one call of `fit`, in the order in which they act."""
    import keras

    from utils.training import callbacks as parts

    folder = Path(settings["save_dir"])
    checkpoints = folder / "checkpoints"
    chosen = [
        parts.LossStop(checkpoints),
        *task.callbacks(),
        parts.Progress(steps - done, last_epoch, batch_size),
        parts.LossLog(folder),
        parts.EpochWeights(folder, settings["save_period"], task.info),
        parts.Checkpoints(
            checkpoints,
            settings["checkpoint_steps"],
            settings["keep_checkpoints"],
            phase,
            steps,
            done,
            batch_size,
        ),
    ]
    if settings["tensorboard"]:
        chosen.append(parts.TensorBoard(folder / "tensorboard"))
    if settings["early_stop"]:
        watched = "val_loss" if task.validation(batch_size) is not None else "loss"
        chosen.append(keras.callbacks.EarlyStopping(watched, patience=settings["early_stop"]))
    return chosen


def worker_number():
    """Returns the number of this worker, 0 for the first or only one."""
    from utils.engine.devices import worker_shard

    return worker_shard()[0]


def recognition_task(settings, strategy):
    """Returns the task of training a recognition network."""
    from utils.training.recognition_task import RecognitionTask

    return RecognitionTask(settings, strategy)


def detection_task(settings, strategy):
    """Returns the task of training RetinaFace."""
    from utils.training.detection_task import DetectionTask

    return DetectionTask(settings, strategy)


if __name__ == "__main__":
    run(main)
