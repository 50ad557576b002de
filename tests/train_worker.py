"""One worker of tests/test_train_workers.py; TF_CONFIG says which.

python -m tests.train_worker LIST SAVE_DIR
"""

import sys

import numpy as np

import train
from nets.backbones import BACKBONES
from tests.test_train import settings, tiny_of
from utils.engine.devices import choose_strategy, worker_shard


def main():
    BACKBONES["tiny"] = tiny_of(1.0)
    annotations, folder = sys.argv[1:]
    chosen = {"loss": "softmax", "phases": ["all:3"], "checkpoint_steps": 0}
    trainer = train.train(settings(annotations, folder, **chosen), choose_strategy())
    # batch-norm statistics are each worker's own, unless sync_batch_norm is set
    weights = [weight.numpy() for weight in trainer.network.trainable_weights]
    np.savez(f"{folder}-{worker_shard()[0]}.npz", *weights)


if __name__ == "__main__":
    main()
