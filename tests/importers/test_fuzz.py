"""Files that chance has changed: each is refused in one sentence, or read as the established readers read it.

What is accepted here is plain by then, so that PyTorch and Python may open it too, to compare.
"""

import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.importers.elsewhere import Stacked, word_layout, words
from tests.importers.hostile import torch_records
from unrolled.errors import UserError
from unrolled.importers.checkpoint_file import read_checkpoint
from unrolled.importers.pickles import PLAIN, Maker, Rules, read_pickle
from unrolled.importers.refusals import NotPlain
from unrolled.importers.stored_tensors import INSTRUCTIONS, Kind, Storage
from unrolled.importers.vocabulary_file import read_vocabulary

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MUCH_KIB = 400_000


@pytest.fixture(autouse=True, scope="module")
def memory_stays_bounded():
    """All of these files are of a few kilobytes; the highest use of memory hardly moves."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MUCH_KIB


@pytest.fixture(scope="module")
def good():
    """The bytes of a checkpoint with views, several kinds of numbers and plain values."""
    shared, data = torch.randn(4, 6), io.BytesIO()
    content = {
        "model": word_layout(Stacked()),
        "views": [shared, shared.t(), shared[1:, ::2], shared.half(), shared.bfloat16(), shared.double()],
        "epoch": 3,
        "rates": (0.1, None, True, OrderedDict(a=1)),
    }
    torch.save(content, data)
    return data.getvalue()


def read(path, content, use=read_checkpoint):
    """Return what a file holds, or the sentence by which it is refused."""
    path.write_bytes(content)
    found, refusal = None, ""
    try:
        found = use(path)
    except UserError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert refusal.endswith(".") or not refusal
    return found, refusal


def assert_read_as_torch_does(path, content):
    """What both accept is the same to both. PyTorch also looks at records that nothing here depends on."""
    found, refusal = read(path, content)
    if refusal:
        return
    try:
        expected = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file can make PyTorch raise anything
        return
    assert_same(found, expected)


def assert_same(found, expected):
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
        raw = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (found, expected)]
        assert torch.equal(*raw)
    elif isinstance(expected, dict):
        assert list(map(repr, found)) == list(map(repr, expected))
        for one, other in zip(found.values(), expected.values(), strict=True):
            assert_same(one, other)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(found, Maker | Kind | Storage):  # these stand for functions, classes and storages
        assert not isinstance(expected, str | int | float | None)
    else:
        assert repr(found) == repr(expected)


def changed(draw, content, most=4):
    """Change a few bytes, or a part, or cut it off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["byte", "byte", "bit", "remove", "insert", "copy", "cut"])):
            case "byte":
                content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "bit":
                content[place : place + 1] = bytes(
                    b ^ (1 << draw(st.integers(0, 7))) for b in content[place : place + 1]
                )
            case "remove":
                del content[place : place + draw(st.integers(1, 40))]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=12))
            case "copy":
                start = draw(st.integers(0, len(content)))
                content[place:place] = content[start : start + draw(st.integers(1, 200))]
            case "cut":
                del content[place:]
    return bytes(content)


def archive_of(records):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in records:
            file.writestr(zipfile.ZipInfo(name), content)
    return data.getvalue()


@FUZZ
@given(data=st.data())
def test_an_archive_with_changed_bytes(tmp_path, good, data):
    assert_read_as_torch_does(tmp_path / "model.pt", changed(data.draw, good))


@FUZZ
@given(data=st.data())
def test_an_archive_with_changes_in_what_describes_its_records(tmp_path, good, data):
    """Near the signatures: names, sizes, places, flags."""
    content = bytearray(good)
    places = [k for k in range(len(good) - 4) if good[k : k + 2] == b"PK"]
    for _ in range(data.draw(st.integers(1, 3))):
        place = min(data.draw(st.sampled_from(places)) + data.draw(st.integers(0, 60)), len(good) - 9)
        form, largest = data.draw(st.sampled_from([("<B", 2**8), ("<H", 2**16), ("<I", 2**32), ("<Q", 2**64)]))
        number = data.draw(st.one_of(st.integers(0, 64), st.integers(0, largest - 1), st.just(largest - 1)))
        struct.pack_into(form, content, place, min(number, largest - 1))
    assert_read_as_torch_does(tmp_path / "model.pt", bytes(content))


@FUZZ
@given(data=st.data())
def test_an_archive_of_other_records(tmp_path, good, data):
    """Renamed, doubled, removed, swapped, spliced; with right checksums, so that what is inside is looked at."""
    records = list(torch_records(good))
    for _ in range(data.draw(st.integers(1, 3))):
        index, other = (data.draw(st.integers(0, len(records) - 1)) for _ in range(2))
        name, content = records[index]
        match data.draw(st.sampled_from(["rename", "double", "remove", "swap", "splice", "change"])):
            case "rename":
                records[index] = (data.draw(st.sampled_from([name.upper(), f"{name}x", "archive/data/99"])), content)
            case "double":
                records.insert(other, (data.draw(st.sampled_from([name, name.upper()])), content))
            case "remove":
                records = [*records[:index], *records[index + 1 :]] or records
            case "swap":
                records[index], records[other] = (name, records[other][1]), (records[other][0], content)
            case "splice":
                records[index] = (name, content[: data.draw(st.integers(0, len(content)))] + records[other][1])
            case "change":
                records[index] = (name, changed(data.draw, content, 2))
    try:
        content = archive_of(records)
    except UserWarning:  # of two records of one name, which Python says when it writes them
        return
    assert_read_as_torch_does(tmp_path / "model.pt", content)


@FUZZ
@given(data=st.data())
def test_a_checkpoint_with_a_changed_pickle(tmp_path, good, data):
    (name, content), *rest = torch_records(good)
    assert name.endswith("data.pkl")
    assert_read_as_torch_does(tmp_path / "model.pt", archive_of([(name, changed(data.draw, content)), *rest]))


CODES = {code.name: code.code.encode("latin-1") for code in pickletools.opcodes}
ARGUMENTS = {
    "PROTO": st.just(b"\x02"),
    "FRAME": st.integers(0, 99).map(lambda n: struct.pack("<Q", n)),
    "GLOBAL": st.sampled_from([b"collections\nOrderedDict\n", b"torch\nSize\n", b"torch\nfloat32\n"]),
    "BINFLOAT": st.floats().map(lambda x: struct.pack(">d", x)),
    "UNICODE": st.sampled_from([b"a\n", b"\\u00e9\n"]),
    "BINUNICODE": st.sampled_from([b"\1\0\0\0a", b"\2\0\0\0\xc3\xa9"]),
    "SHORT_BINUNICODE": st.just(b"\1b"),
    "BINUNICODE8": st.just(b"\1\0\0\0\0\0\0\0c"),
    "INT": st.sampled_from([b"7\n", b"01\n", b"-3\n"]),
    "LONG": st.sampled_from([b"7L\n", b"99999999999L\n"]),
    "LONG1": st.sampled_from([b"\0", b"\x01\x7f", b"\x09" + b"\xff" * 8 + b"\x7f"]),
    "BININT": st.binary(min_size=4, max_size=4),
    "BININT1": st.binary(min_size=1, max_size=1),
    "BININT2": st.binary(min_size=2, max_size=2),
    **{name: st.sampled_from([b"0\n", b"1\n", b"2\n"]) for name in ("PUT", "GET")},
    **{name: st.sampled_from([b"\0", b"\1", b"\2"]) for name in ("BINPUT", "BINGET")},
    **{name: st.sampled_from([b"\0\0\0\0", b"\1\0\0\0"]) for name in ("LONG_BINPUT", "LONG_BINGET")},
}


def programs(names):
    """Return pickles of these instructions in any order."""
    step = st.sampled_from(sorted(set(names) - {"STOP", "BINPERSID"})).flatmap(
        lambda name: ARGUMENTS.get(name, st.just(b"")).map(lambda argument: CODES[name] + argument)
    )
    return st.lists(step, max_size=25).map(lambda steps: b"\x80\x02" + b"".join(steps) + b".")


def looked_at(value, depth=6):
    """Return a value's text down to a depth, for it may hold itself."""
    if depth and isinstance(value, dict):
        return {repr(key): looked_at(inner, depth - 1) for key, inner in value.items()}
    if depth and isinstance(value, list | tuple):
        return [type(value).__name__, *(looked_at(inner, depth - 1) for inner in value[:9])]
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


@FUZZ
@given(program=programs(PLAIN.split()))
def test_plain_instructions_in_any_order_build_what_python_builds(program):
    try:
        found, expected = read_pickle(program, Rules()), pickle.loads(program)
    except (NotPlain, pickle.UnpicklingError):
        return
    assert looked_at(found) == looked_at(expected)


@FUZZ
@given(program=programs(INSTRUCTIONS.split()))
def test_instructions_in_any_order_are_one_sentence_or_a_value(tmp_path, program):
    read(tmp_path / "model.pt", archive_of([("a/data.pkl", program)]))


@FUZZ
@given(data=st.data())
def test_a_changed_vocabulary(tmp_path, data):
    list_of = words(11)
    forms = {
        **{f"{p}.pkl": pickle.dumps(list_of, p) for p in range(6)},
        "dict.pkl": pickle.dumps({"stoi": {word: k for k, word in enumerate(list_of)}}),
        "list.json": json.dumps(list_of).encode(),
        "dict.json": json.dumps({word: k for k, word in enumerate(list_of)}).encode(),
        "lines.txt": "\n".join(list_of).encode(),
        "torch.pkl": archive_of([("a/data.pkl", pickle.dumps(list_of, 2))]),
    }
    name = data.draw(st.sampled_from(sorted(forms)))
    found, refusal = read(tmp_path / name, changed(data.draw, forms[name]), read_vocabulary)
    assert refusal or (all(type(word) is str for word in found) and len(set(found)) == len(found) > 0)
