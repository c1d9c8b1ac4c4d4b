"""Two ranks, here two threads, each with half of every batch, train what one process trains with whole batches."""

import threading

import pytest
import torch

from tests.conftest import STORY
from unrolled.config import make_settings
from unrolled.data import Batch, Streams, prepare_corpus
from unrolled.kernels import select_kernel
from unrolled.nn import LanguageModel
from unrolled.runs import RunFolder, read_checkpoint
from unrolled.training.ranks import Ranks
from unrolled.training.trainer import Job, Trainer

SIZES = {
    "model.embedding_size": 5,
    "model.hidden_size": 9,
    "data.valid_fraction": 0.2,
    "training.steps": 12,
    "training.eval_interval": 5,
    "training.checkpoint_interval": 7,
    "training.clip_norm": 0.5,  # below the norms that occur: the clipping must see the combined gradients
    "training.batching": "streams",
    "training.preview_tokens": 0,
    "training.learning_rate": 0.01,
}


class Rows:
    """Some rows of each batch of a batcher."""

    def __init__(self, batcher, rows):
        self.batcher, self.rows, self.window = batcher, rows, batcher.window
        self.batch_size = len(range(*rows.indices(batcher.batch_size)))
        self.batches_per_epoch = batcher.batches_per_epoch

    def next_batch(self):
        batch = self.batcher.next_batch()
        return Batch(batch.inputs[self.rows], batch.targets[self.rows], batch.starts_fresh)

    def position(self):
        return self.batcher.position()

    def restore(self, position):
        self.batcher.restore(position)


class TwoThreads(Ranks):
    """One of two ranks that meet in memory."""

    def __init__(self, rank, board, barrier):
        self.rank, self.writes, self.board, self.barrier = rank, rank == 0, board, barrier

    def combine(self, model, loss_nats, targets):
        self.board[self.rank] = (targets, loss_nats, [parameter.grad.clone() for parameter in model.parameters()])
        self.barrier.wait()
        parts = [self.board[0], self.board[1]]
        self.barrier.wait()
        total = sum(part[0] for part in parts)
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = sum(part[0] / total * part[2][index] for part in parts)
        return sum(part[0] / total * part[1] for part in parts), total


@pytest.fixture
def trainer_for(tmp_path, story):
    """Build the trainer of one rank, with its own copy of the model."""
    settings = make_settings("stories", SIZES)
    corpus = prepare_corpus([str(story)], settings.data)

    def build(out, rows, ranks):
        folder = RunFolder(tmp_path / out)
        folder.checkpoint.parent.mkdir(parents=True)
        kernel = select_kernel("fused", "cpu").kernel
        size = corpus.tokenizer.vocabulary_size
        model = LanguageModel(settings.model, size, torch.Generator().manual_seed(1), kernel, settings.regularization)
        batcher = Rows(Streams(corpus.train.ids, 5, 7), rows)
        job = Job(model, corpus, batcher, settings.training, settings.sampling, folder, {}, ranks=ranks)
        return Trainer(job, lambda event: None)

    return build


def files_of(trainer):
    return sorted(path.name for path in trainer.job.folder.path.rglob("*") if path.is_file())


def test_two_ranks_with_a_part_of_each_batch_equal_one_with_all_of_it(trainer_for):
    assert len(STORY) > 35 * 12
    board, barrier = {}, threading.Barrier(2, timeout=120)
    alone = trainer_for("alone", slice(0, 5), Ranks())
    parts = slice(0, 2), slice(2, 5)  # of different sizes: means must be weighted
    both = [trainer_for(f"rank{k}", parts[k], TwoThreads(k, board, barrier)) for k in (0, 1)]
    threads = [threading.Thread(target=trainer.train, daemon=True) for trainer in both]
    for thread in threads:
        thread.start()
    alone.train()
    for thread in threads:
        thread.join()
    assert [trainer.progress.step for trainer in both] == [12, 12]
    for name, tensor in alone.job.model.state_dict().items():
        weights = [trainer.job.model.state_dict()[name] for trainer in both]
        assert torch.equal(*weights), name
        torch.testing.assert_close(weights[0], tensor, atol=1e-5, rtol=1e-4)
    for counter in ("tokens", "best_step"):
        assert {getattr(trainer.progress, counter) for trainer in both} == {getattr(alone.progress, counter)}
    assert both[0].progress.best_loss_nats == pytest.approx(alone.progress.best_loss_nats, rel=1e-4)


def test_only_one_rank_writes(trainer_for):
    class Reader(Ranks):
        writes = False

    writer, reader = trainer_for("writer", slice(0, 5), Ranks()), trainer_for("reader", slice(0, 5), Reader())
    assert writer.train().best["step"] == writer.progress.best_step
    assert reader.train().best is None
    assert files_of(writer) == ["last.safetensors", "metrics.jsonl", "model.safetensors"]
    assert files_of(reader) == []
    assert read_checkpoint(writer.job.folder.checkpoint).counters["training"]["step"] == 12
    for name, tensor in writer.job.model.state_dict().items():
        assert torch.equal(reader.job.model.state_dict()[name], tensor), name
