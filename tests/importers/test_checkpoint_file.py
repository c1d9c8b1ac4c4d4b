"""What a good checkpoint holds comes out of it, wherever it was trained."""

import pytest
import torch

from tests.importers.elsewhere import Stacked, save_model, word_layout
from tests.importers.hostile import archive, tensor
from unrolled.importers.checkpoint_file import read_checkpoint


def test_tensors_and_plain_containers_come_out_as_they_were(tmp_path):
    content = {
        "state_dict": word_layout(Stacked()),
        "epoch": 3,
        "rates": [0.1, 1e-3],
        "done": None,
        "name": "caf\u00e9",
    }
    back = read_checkpoint(save_model(tmp_path, content))
    assert {key: value for key, value in back.items() if key != "state_dict"} == {
        key: value for key, value in content.items() if key != "state_dict"
    }
    for name, expected in content["state_dict"].items():
        assert torch.equal(back["state_dict"][name], expected)


def test_a_module_saves_its_parameters_and_they_come_out(tmp_path):
    model = Stacked()
    path = save_model(tmp_path, {"model": dict(model.named_parameters()), "buffers": model.state_dict()})
    assert torch.equal(read_checkpoint(path)["model"]["fc.weight"], model.fc.weight)


@pytest.mark.parametrize("location", ["cuda:0", "cuda:7", "mps", "cpu"])
def test_a_checkpoint_from_a_gpu_opens_on_the_cpu(tmp_path, location):
    numbers = torch.arange(6, dtype=torch.float32)
    content = {"x": tensor("0", (2, 3), (3, 1), 6, location=location)}
    path = archive(tmp_path / "model.pt", content, [("data/0", numbers.numpy().tobytes())])
    assert torch.equal(read_checkpoint(path)["x"], numbers.view(2, 3))


def test_a_link_to_a_checkpoint_is_followed(tmp_path):
    save_model(tmp_path, word_layout(Stacked()))
    (tmp_path / "link.pt").symlink_to("model.pt")
    assert "fc.bias" in read_checkpoint(tmp_path / "link.pt")
