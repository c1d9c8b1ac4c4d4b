"""Which optimizer trains what, its state as tensors, and the shares of its rates."""

import pytest
import torch

from unrolled.config import ModelSettings, TrainingSettings
from unrolled.nn import LanguageModel
from unrolled.training.optimizers.optimizer import Optimizer, clip_gradients


def model(seed=1):
    settings = ModelSettings(embedding_size=3, hidden_size=4, layers=2)
    return LanguageModel(settings, 7, torch.Generator().manual_seed(seed))


def give_gradients(trained, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in trained.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_muon_has_the_matrices_of_the_layers_and_adam_the_rest():
    trained = model()
    parts = Optimizer(trained, TrainingSettings(optimizer="muon")).parts
    names = {id(parameter): name for name, parameter in trained.named_parameters()}
    held = {key: {names[id(p)] for p in part.param_groups[0]["params"]} for key, part in parts.items()}
    assert held["muon"] == {f"layers.{k}.{matrix}" for k in (0, 1) for matrix in ("w_ih", "w_hh")}
    assert held["adam"] == set(names.values()) - held["muon"]


@pytest.mark.parametrize("most", [0.1, 5.0, 1e9])
def test_gradients_are_clipped_as_pytorch_does(most):
    trained, twin = model(), model()
    give_gradients(trained, 1)
    give_gradients(twin, 1)
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), most)
    assert clip_gradients(trained, most) == pytest.approx(norm.item(), rel=1e-6)
    for one, other in zip(trained.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=2e-5, atol=0)  # PyTorch adds 1e-6 to the norm


def test_a_parameter_without_a_gradient_is_left_alone_when_gradients_are_clipped():
    trained = model()
    give_gradients(trained, 1)
    trained.output_bias.grad = None
    assert clip_gradients(trained, 0.5) > 0.5
    assert clip_gradients(trained, 0.5) == pytest.approx(0.5)


def test_adam_with_its_constants_equals_pytorchs():
    trained, twin = model(), model()
    ours = Optimizer(trained, TrainingSettings(learning_rate=0.01, adam_beta2=0.9), weight_decay=0.2)
    rival = torch.optim.AdamW(twin.parameters(), lr=0.005, betas=(0.9, 0.9), weight_decay=0.2)
    for seed in (1, 2, 3):
        give_gradients(trained, seed)
        give_gradients(twin, seed)
        ours.step(0.5)
        rival.step()
    for one, other in zip(trained.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_restored_state_goes_on_as_if_never_stopped(name):
    settings = TrainingSettings(optimizer=name)
    trained, twin = model(), model()
    ours, fresh = Optimizer(trained, settings), Optimizer(twin, settings)
    for seed in (1, 2):
        give_gradients(trained, seed)
        ours.step(0.7)
    twin.load_state_dict(trained.state_dict())
    fresh.restore({key: tensor.clone() for key, tensor in ours.tensors().items()})
    for optimizer, of in ((ours, trained), (fresh, twin)):
        give_gradients(of, 3)
        optimizer.step(0.4)
    for one, other in zip(trained.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def stepped(name):
    trained = model()
    optimizer = Optimizer(trained, TrainingSettings(optimizer=name))
    give_gradients(trained, 1)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("adam", lambda t: t.pop("adam.0.exp_avg")),
        ("adam", lambda t: t.update({"muon.0.momentum": torch.ones(3, 16)})),
        ("muon", lambda t: t.update({"muon.1.momentum": torch.ones(2)})),
        ("muon", lambda t: [t.pop(key) for key in list(t) if key.startswith("muon.")]),
        ("muon", lambda t: t.update({"muon.9.momentum": torch.ones(3, 16)})),
    ],
)
def test_the_state_of_something_else_is_refused(name, damage):
    tensors = stepped(name).tensors()
    damage(tensors)
    with pytest.raises(ValueError, match="state"):
        Optimizer(model(), TrainingSettings(optimizer=name)).restore(tensors)
