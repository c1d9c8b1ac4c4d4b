"""What a good checkpoint holds comes out of it as PyTorch itself reads it, wherever it was trained."""

import zipfile

import pytest
import torch

from tests.importers.elsewhere import Stacked, save_model, word_layout
from tests.importers.hostile import Storage, archive, resealed, tensor
from unrolled.errors import UserError
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


def test_views_come_out_as_torch_reads_them(tmp_path):
    numbers = torch.randn(5, 7, 3)
    views = {
        "whole": numbers,
        "transposed": numbers.transpose(0, 2),
        "part": numbers[1:4, 2:],
        "every second one": numbers[:, ::2],
        "repeated": numbers[0, 0, :1].expand(9),
        "none": numbers[:, :0],
        "none of its own": torch.zeros(0, 4),
        "one": numbers.sum(),
    }
    path = save_model(tmp_path, views)
    back, expected = read_checkpoint(path), torch.load(path, weights_only=True)
    for name in views:
        assert torch.equal(back[name], expected[name])
        assert back[name].stride() == expected[name].stride()
    assert len({back[name].untyped_storage().data_ptr() for name in list(views)[:6]}) == 1


DTYPES = [
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_kind_of_number_comes_out(tmp_path, dtype):
    numbers = (torch.randn(3, 5, dtype=torch.complex128 if dtype.is_complex else torch.float64) * 50).to(dtype)
    back = read_checkpoint(save_model(tmp_path, {"x": numbers}))["x"]
    assert back.dtype == dtype
    assert torch.equal(back, numbers)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_of_a_big_endian_machine_come_out(tmp_path, dtype):
    numbers = torch.arange(1, 16).to(dtype)
    parts = numbers.view(dtype.to_real()) if dtype.is_complex else numbers
    swapped = parts.view(torch.uint8).view(-1, parts.itemsize).flip(1).flatten().numpy().tobytes()
    content = {"x": tensor(Storage("0", 15, _storage_class(dtype)), (3, 5), (5, 1), 15)}
    path = archive(tmp_path / "big.pt", content, [("data/0", swapped)], order=b"big")
    assert torch.equal(read_checkpoint(path)["x"], numbers.view(3, 5))
    assert torch.equal(torch.load(path, weights_only=True)["x"], numbers.view(3, 5))


def test_a_file_from_before_the_byte_order_was_written_is_little_endian(tmp_path):
    content = {"x": tensor("0", (3,), (1,), 3)}
    numbers = torch.tensor([1.0, 2.0, 3.0])
    path = archive(tmp_path / "old.pt", content, [("data/0", numbers.numpy().astype("<f4").tobytes())], order=None)
    assert torch.equal(read_checkpoint(path)["x"], numbers)


def test_values_beside_the_tensors_come_out(tmp_path):
    content = {
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.bfloat16,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "large": 2**80,
        "nested": {3: [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], None: True, 0.5: False},
    }
    back = read_checkpoint(save_model(tmp_path, content))
    assert torch.equal(back.pop("parameter"), content.pop("parameter"))
    assert back == {**content, "device": "cpu"}


def test_the_state_of_an_optimizer_beside_the_model_comes_out(tmp_path):
    model = Stacked()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(2, 3, dtype=torch.long)).sum().backward()
    optimizer.step()
    path = save_model(tmp_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    back, expected = read_checkpoint(path)["optimizer"], optimizer.state_dict()
    assert back["param_groups"] == expected["param_groups"]
    assert all(torch.equal(back["state"][k]["exp_avg"], expected["state"][k]["exp_avg"]) for k in expected["state"])


@pytest.mark.parametrize("name", ["model", "caf\u00e9", "two words", "a.b"])
def test_the_name_of_the_file_does_not_matter(tmp_path, name):
    path = save_model(tmp_path, word_layout(Stacked()), f"{name}.pt")
    assert "fc.bias" in read_checkpoint(path)


def test_an_archive_that_python_wrote_is_one_too(tmp_path):
    path = save_model(tmp_path, word_layout(Stacked()))
    path.write_bytes(resealed(path.read_bytes()))
    assert torch.equal(read_checkpoint(path)["fc.bias"], word_layout(Stacked())["fc.bias"])


def test_numbers_above_32_bits_in_the_archive_are_understood(tmp_path):
    path = save_model(tmp_path, {"x": torch.arange(7.0)})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "large.pt", "w") as new:
        for name in old.namelist():
            with new.open(name, "w", force_zip64=True) as record:
                record.write(old.read(name))
    assert torch.equal(read_checkpoint(tmp_path / "large.pt")["x"], torch.arange(7.0))


def test_a_file_that_cannot_be_kept_in_memory_is_one_sentence(tmp_path, monkeypatch):
    path = save_model(tmp_path, {"x": torch.arange(7.0)})

    def full(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory")

    monkeypatch.setattr("torch.empty", full)
    with pytest.raises(UserError, match="not enough memory for a tensor of 28 bytes"):
        read_checkpoint(path)


def _storage_class(dtype):
    return getattr(torch, torch.storage._dtype_to_storage_type_map()[dtype])
