"""The reader of safetensors files against the library: what it accepts, the library accepts too and reads the same."""

import hashlib
import json
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unrolled.errors import UserError
from unrolled.runs import safetensors_file
from unrolled.runs.safetensors_file import DTYPES, SafetensorsProblem, open_safetensors

FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ours(path):
    """Return the tensors and the metadata, or None where the file is refused."""
    try:
        with open_safetensors(path) as file:
            return file.read(), file.metadata
    except SafetensorsProblem:
        return None


def the_librarys(path):
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError:
        return None


def equal(first, second):
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))
    )


def check_against_library(path):
    """Check that both readers agree as far as they must; tell whether ours accepts the file."""
    mine, other = ours(path), the_librarys(path)
    if mine is None:
        return False
    assert other is not None
    assert mine[1] == other[1]
    assert mine[0].keys() == other[0].keys()
    assert all(equal(tensor, other[0][name]) for name, tensor in mine[0].items())
    return True


def tensors_of_every_type():
    generator = torch.Generator().manual_seed(1)
    shapes = [(), (0,), (3,), (2, 5), (1, 3, 2), (2, 0, 3)]
    tensors = {}
    for dtype in DTYPES.values():
        for number, shape in enumerate(shapes):
            values = torch.randint(0, 100, shape, generator=generator)
            tensors[f"{dtype} {number}"] = values.to(dtype)
    return tensors


@pytest.mark.parametrize("metadata", [None, {"format": "pt", "ünrolled": '{"step": 5, "[": "\\u0000"}'}])
def test_every_type_and_shape_that_the_library_writes_comes_back(tmp_path, metadata):
    path = tmp_path / "all.safetensors"
    tensors = tensors_of_every_type()
    save_file(tensors, path, metadata)
    assert check_against_library(path)
    read, about = ours(path)
    assert about == (metadata or {})
    assert read.keys() == tensors.keys()
    assert all(equal(read[name], tensors[name]) for name in tensors)


def test_a_file_without_tensors_comes_back(tmp_path):
    save_file({}, tmp_path / "none.safetensors", {"a": "b"})
    assert ours(tmp_path / "none.safetensors") == ({}, {"a": "b"})


def test_size_and_hash_are_those_of_the_file(tmp_path):
    path = tmp_path / "all.safetensors"
    save_file({**tensors_of_every_type(), "long": torch.arange(400_000)}, path)  # more than one block
    with open_safetensors(path) as file:
        file.read()
        assert (file.size_bytes, file.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_tensors_that_were_read_do_not_depend_on_the_file(tmp_path):
    path = tmp_path / "one.safetensors"
    save_file({"x": torch.arange(100_000)}, path)
    read, _ = ours(path)
    os.truncate(path, 0)
    assert torch.equal(read["x"], torch.arange(100_000))


def test_a_file_that_is_shortened_after_its_header_was_checked_is_a_problem(tmp_path):
    path = tmp_path / "one.safetensors"
    save_file({"x": torch.arange(100_000)}, path)
    with open_safetensors(path) as file:
        os.truncate(path, 500_000)
        with pytest.raises(SafetensorsProblem, match="shorter"):
            file.read()


def test_nothing_is_allocated_before_the_whole_header_was_found_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: pytest.fail("allocated"))
    first = {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}
    write(tmp_path / "x", {"a": first, "b": {**first, "data_offsets": [2**40, 2**41 - 1]}})
    os.truncate(tmp_path / "x", 2**38)
    assert ours(tmp_path / "x") is None


def write(path, header, data=b"", length=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(content) if length is None else length).to_bytes(8, "little") + content + data)


def entry(dtype="U8", shape=(3,), begin=0, end=3, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


HUGE = 2**40
REFUSED = {
    "an empty file": (b"", b"", None),
    "a header that is longer than the file": ({"a": entry()}, b"abc", 10**6),
    "a header that is as long as can be": (b"{}", b"", 2**64 - 1),
    "no object": (b"[]", b"", None),
    "white space first": (b" {}", b"", None),
    "a byte order mark": (b"\xef\xbb\xbf{}", b"", None),
    "no JSON": (b'{"a":', b"", None),
    "deep nesting": (b'{"a":' + b"[" * 100_000, b"", None),
    "a tensor twice": (b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), b"abc", None),
    "a place twice": (json.dumps({"a": entry()}).encode().replace(b'"shape"', b'"dtype":"U8","shape"'), b"abc", None),
    "metadata twice": (b'{"__metadata__":{},"__metadata__":{}}', b"", None),
    "metadata that is not text": ({"__metadata__": {"a": 1}}, b"", None),
    "metadata that is no object": ({"__metadata__": ["a"]}, b"", None),
    "metadata of null": ({"__metadata__": None}, b"", None),
    "a tensor that is a list": ({"a": [1]}, b"", None),
    "a tensor without a type": ({"a": {"shape": [3], "data_offsets": [0, 3]}}, b"abc", None),
    "a tensor with more": ({"a": entry(more=1)}, b"abc", None),
    "an unknown type": ({"a": entry("U9")}, b"abc", None),
    "a type that is not text": ({"a": entry(["U8"])}, b"abc", None),
    "a type that runs never have": ({"a": entry("BOOL")}, b"abc", None),
    "a negative size": ({"a": entry(shape=(-3,))}, b"abc", None),
    "a size with a fraction": ({"a": entry(shape=(3.0,))}, b"abc", None),
    "a size that is true": ({"a": entry(shape=(True, 3))}, b"abc", None),
    "a size of minus zero": (json.dumps({"a": entry(shape=(77,), end=0)}).encode().replace(b"77", b"-0"), b"", None),
    "a size of many digits": (json.dumps({"a": entry()}).encode().replace(b"3", b"3" * 50), b"abc", None),
    "sizes whose product is beyond 64 bits": ({"a": entry(shape=(HUGE, HUGE, 0), end=0)}, b"", None),
    "a shape that does not fill its bytes": ({"a": entry(shape=(2,))}, b"abc", None),
    "three offsets": ({"a": {**entry(), "data_offsets": [0, 3, 3]}}, b"abc", None),
    "an end before the beginning": ({"a": entry(begin=3, end=0)}, b"abc", None),
    "a hole at the beginning": ({"a": entry(begin=1, end=4)}, b"abcd", None),
    "a hole": ({"a": entry(), "b": entry(begin=4, end=7)}, b"abcdefg", None),
    "an overlap": ({"a": entry(), "b": entry(begin=2, end=5)}, b"abcde", None),
    "one place for two": ({"a": entry(), "b": entry()}, b"abc", None),
    "bytes that are missing": ({"a": entry()}, b"ab", None),
    "bytes behind the last tensor": ({"a": entry()}, b"abcd", None),
    "half of a surrogate pair": (b'{"__metadata__":{"a":"\\ud800"}}', b"", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_follow_the_format_is_refused(tmp_path, name):
    path = tmp_path / "x.safetensors"
    write(path, *REFUSED[name])
    assert not check_against_library(path)


def test_a_header_above_the_bound_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write(path, b"{}" + b" " * 1_000)
    assert ours(path) == ({}, {})
    monkeypatch.setattr(safetensors_file, "LARGEST_HEADER_BYTES", 1_001)
    assert ours(path) is None


def test_a_file_above_a_given_size_is_refused(tmp_path):
    write(tmp_path / "x.safetensors", {"a": entry()}, b"abc")
    with pytest.raises(UserError, match="larger than 9 bytes"), open_safetensors(tmp_path / "x.safetensors", 9):
        pass


@FUZZ
@given(
    position=st.integers(0, 10**6),
    inserted=st.binary(max_size=4)
    | st.sampled_from([b"0", b"1", b",", b"]", b"[", b'"', b"-", b"e9", b" ", b"\\u0061"]),
    removed=st.integers(0, 4),
    keep_length=st.booleans(),
)
def test_no_change_of_a_header_makes_it_accept_what_the_library_refuses(
    tmp_path, position, inserted, removed, keep_length
):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2]), "c": torch.zeros(0, 2)}
    save_file(tensors, path, {"about": '{"step": 1}'})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    position %= length
    write(
        path, header[:position] + inserted + header[position + removed :], data, length=length if keep_length else None
    )
    check_against_library(path)


SIZES = st.integers(0, 4) | st.sampled_from([-1, True, 2.0, None, "2", 2**63, 2**64, 10**30])
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "BOOL", "F8_E4M3", "f32", "", 1]),
        "shape": st.lists(SIZES, max_size=3),
        "data_offsets": st.tuples(SIZES, st.integers(0, 40)).map(list),
    },
    optional={"more": st.integers()},
)
SOUND = st.tuples(st.sampled_from([*DTYPES]), st.lists(st.integers(0, 3), max_size=3))


@FUZZ
@given(headers=st.dictionaries(st.text(max_size=3), ENTRIES, max_size=3), data=st.binary(max_size=40))
def test_no_generated_header_makes_it_accept_what_the_library_refuses(tmp_path, headers, data):
    write(tmp_path / "x.safetensors", headers, data)
    check_against_library(tmp_path / "x.safetensors")


@FUZZ
@given(tensors=st.lists(SOUND, max_size=4), order=st.randoms(use_true_random=False), more=st.sampled_from([0, 0, 0, 1]))
def test_sound_files_in_any_order_are_read_as_the_library_reads_them(tmp_path, tensors, order, more):
    header, position = {}, 0
    for number, (dtype, shape) in enumerate(tensors):
        size = DTYPES[dtype].itemsize * torch.Size(shape).numel()
        header[f"t{number}"] = entry(dtype, shape, position, position + size)
        position += size
    names = order.sample(sorted(header), len(header))
    data = bytes(order.randrange(256) for _ in range(position + more))
    write(tmp_path / "x.safetensors", {name: header[name] for name in names}, data)
    assert check_against_library(tmp_path / "x.safetensors") == (more == 0)
