"""Files that would run code, fill the memory or lie about themselves. Each maker writes one and returns its path.

Whatever runs leaves a marker file, whose path the makers get.
"""

import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import torch

from tests.importers.elsewhere import Stacked, save_model, word_layout, words
from tests.importers.hostile_zips import ZIPS

# An ordered dict whose methods `items` and `keys` are hidden by attributes
ODD_DICT = b"\x80\x02ccollections\nOrderedDict\n)R}(X\x05\x00\x00\x00itemsK\x01X\x04\x00\x00\x00keysK\x02ub."


# t = (t, t), sixty times over, and then a key: 2^60 numbers to whoever computes its hash
TUPLES = (
    b"\x80\x02](K\x01\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(60)) + b"e}h\x3cK\x02sa."
)


class Call:
    """Pickles as a call of `function` with these arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Module(torch.nn.Linear):
    """A whole model, as torch.save(model) stores it."""


class Storage:
    """Pickles as the reference to a tensor's numbers."""

    def __init__(self, key, numbers, kind=torch.FloatStorage, location="cpu"):
        self.reference = "storage", kind, key, location, numbers


class WithStorages(pickle.Pickler):
    def persistent_id(self, thing):
        return thing.reference if isinstance(thing, Storage) else None


def touch(marker):
    return Call(os.mkdir, str(marker))


def tensor(key, shape, stride, numbers, offset=0, location="cpu"):
    storage = key if isinstance(key, Storage) else Storage(key, numbers, location=location)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, OrderedDict())


def archive(path, content, records=(), compression=zipfile.ZIP_STORED, extra=(), before=(), order=b"little"):
    """Write a `.pt` whose pickle is `content`, an object or the very bytes."""
    if not isinstance(content, bytes):
        data = io.BytesIO()
        WithStorages(data, 2).dump(content)
        content = data.getvalue()
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as file:
        warnings.simplefilter("ignore")  # two records of one name
        own = [("data.pkl", content), ("version", b"3\n"), *([("byteorder", order)] if order else [])]
        for name, record in [*before, *own, *records, *extra]:
            file.writestr(f"archive/{name}", record)
    return path


def with_file(change):
    """Return a maker that changes the bytes of a good checkpoint."""

    def make(folder, marker):
        path = save_model(folder, word_layout(Stacked()))
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def with_state(change):
    """Return a maker that changes a good state dict before it is saved."""
    return lambda folder, marker: save_model(folder, change(word_layout(Stacked())))


def with_pickle(content, **options):
    """Return a maker of an archive with this pickle; `content` gets the marker."""
    return lambda folder, marker: archive(folder / "model.pt", content(marker), **options)


def plain(content):
    """Return a maker of a file with these bytes; `content` gets the marker."""

    def make(folder, marker):
        (folder / "model.pt").write_bytes(content(marker))
        return folder / "model.pt"

    return make


def shell(marker):
    return f"touch {marker}"


def old_instruction(marker):
    """INST: an object's name and its arguments in one instruction, as protocol 0 has it."""
    command = shell(marker).encode()
    return b"(X" + struct.pack("<I", len(command)) + command + b"ios\nsystem\n."


def wide_reference(marker):
    """A persistent id that hides a call in the place of the storage's type."""
    return Storage("0", 3, touch(marker))


def claims_more(data):
    """Raise the size of every record in the archive's directory."""
    data, start = bytearray(data), 0
    while (start := data.find(b"PK\x01\x02", start)) >= 0:
        struct.pack_into("<II", data, start + 20, 0x7FFFFFF0, 0x7FFFFFF0)
        start += 4
    return bytes(data)


def resealed(data):
    """Return an archive of the same records, written again with right checksums."""
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as file:
        for name, record in torch_records(data):
            file.writestr(name, record)
    return changed.getvalue()


def torch_records(data):
    """Return the names and contents in an archive, whatever its checksums say."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for entry in file.infolist():
            start = entry.header_offset + 30 + sum(struct.unpack_from("<HH", data, entry.header_offset + 26))
            yield entry.filename, data[start : start + entry.file_size]


def encrypted(data):
    data, start = bytearray(data), 0
    while (start := data.find(b"PK\x01\x02", start)) >= 0:
        data[start + 8] |= 1
        start += 4
    return bytes(data)


def old_format(state):
    data = io.BytesIO()
    torch.save(state, data, _use_new_zipfile_serialization=False)
    return data.getvalue()


def in_a_tar(marker):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        file.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return data.getvalue()


def pipe_called(name):
    def make(folder, marker):
        os.mkfifo(folder / name)
        return folder / name

    return make


def link_to(target, name="model.pt"):
    def make(folder, marker):
        (folder / name).symlink_to(target)
        return folder / name

    return make


def nan_in(value, dtype=torch.float32):
    def change(state):
        weight = state["lstm.weight_hh_l1"].to(dtype)
        weight[3, 2] = value
        return {**state, "lstm.weight_hh_l1": weight}

    return with_state(change)


def one_record(numbers, shape, stride):
    content = {"embedding.weight": tensor("0", shape, stride, numbers)}
    return with_pickle(lambda marker: {**content}, records=[("data/0", b"\0" * 24)])


def bomb(folder, marker):
    """100 KB that unpack to 100 MB."""
    content = {"embedding.weight": tensor("0", (25_000_000,), (1,), 25_000_000)}
    return archive(folder / "model.pt", content, [("data/0", b"\0" * 100_000_000)], zipfile.ZIP_DEFLATED)


def repeated(state):
    """Every name a view of one number, a terabyte if it were copied."""
    return {**state, "embedding.weight": torch.zeros(1).expand(10**9, 5)}


def module(folder, marker):
    torch.save(Module(3, 4), folder / "model.pt")
    return folder / "model.pt"


def newer_protocol(folder, marker):
    torch.save(word_layout(Stacked()), folder / "model.pt", pickle_protocol=4)
    return folder / "model.pt"


# name -> (maker, what the sentence says)
CHECKPOINTS = {
    "runs code in an archive": (with_pickle(touch), "holds a Python object (posix.mkdir)"),
    "runs a shell": (with_pickle(lambda m: Call(os.system, shell(m))), "Python object"),
    "runs eval": (with_pickle(lambda m: {"x": Call(eval, f"open({str(m)!r}, 'w')")}), "builtin"),
    "runs code by INST": (with_pickle(old_instruction), "os.system"),
    "runs code in a storage's place": (with_pickle(wide_reference), "posix.mkdir"),
    "runs code in a key": (with_pickle(lambda m: {("a", touch(m)): 1}), "posix.mkdir"),
    "runs code by name in two texts": (with_pickle(lambda m: pickle.dumps(touch(m), 4)), "protocol 4"),
    "runs code by getattr": (with_pickle(lambda m: Call(getattr, touch(m), "x")), "Python object"),
    "runs code as a bare pickle": (plain(lambda m: pickle.dumps(touch(m))), "old format"),
    "runs code as a bare pickle of protocol 0": (plain(lambda m: pickle.dumps(touch(m), 0)), "not a PyTorch"),
    "a persistent id as text": (with_pickle(lambda m: b"\x80\x02Pos.system\n."), "PERSID"),
    "an extension code": (with_pickle(lambda m: b"\x80\x02\x82\x01."), "EXT1"),
    "a bytearray of any length": (with_pickle(lambda m: {"x": Call(bytearray, 10**12)}), "bytearray"),
    "a tensor of any length": (with_pickle(lambda m: {"x": Call(torch.Tensor, 10**12)}), "torch.Tensor"),
    "a tensor rebuilt by type": (
        with_pickle(lambda m: {"x": Call(torch._tensor._rebuild_from_type_v2, 1, 2, 3, 4)}),
        "_rebuild_from_type_v2",
    ),
    "a whole module": (module, "holds a Python object (tests.importers.hostile.Module)"),
    "a number of numpy beside the weights": (with_state(lambda s: {"model": s, "best": np.float64(1.5)}), "numpy"),
    "the old format": (plain(lambda m: old_format(word_layout(Stacked()))), "old format"),
    "a tar": (plain(in_a_tar), "old format"),
    "a newer protocol": (newer_protocol, "protocol 4"),
    "TorchScript": (
        with_pickle(lambda m: {}, extra=[("constants.pkl", b"\x80\x02)."), ("code/__torch__.py", b"x")]),
        "TorchScript",
    ),
    "a compressed bomb": (bomb, "compressed"),
    "records that claim more than there is": (with_file(claims_more), "more than the file is long"),
    "encrypted": (with_file(encrypted), "encrypted"),
    "two records of one name": (
        with_pickle(lambda m: {}, extra=[("data.pkl", b"\x80\x02}.")]),
        "two records of one name",
    ),
    "no pickle inside": (with_file(lambda d: d.replace(b"data.pkl", b"date.pkl")), "not a PyTorch checkpoint"),
    "half of it": (with_file(lambda d: d[: len(d) // 2]), "truncated or damaged"),
    "all but the last byte": (with_file(lambda d: d[:-1]), "truncated or damaged"),
    "a flipped bit in the pickle": (with_file(lambda d: d.replace(b"embedding", b"embeddinh", 1)), "damaged"),
    "a truncated pickle": (with_pickle(lambda m: b"\x80\x02}q\x00(X\x05\x00"), "damaged or truncated"),
    "an instruction that does not exist": (with_pickle(lambda m: b"\x80\x02\xff."), "damaged"),
    "an absurd number": (with_pickle(lambda m: b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b"."), "absurdly"),
    "instructions in no order": (with_pickle(lambda m: b"\x80\x02aeu."), "is damaged"),
    "a key of tuples of tuples": (with_pickle(lambda m: TUPLES), "a tuple"),
    "a call with other arguments": (with_pickle(lambda m: {"x": Call(OrderedDict, [("a", 1)])}), "damaged"),
    "a call of a number": (with_pickle(lambda m: b"\x80\x02K\x01)R."), "damaged"),
    "a size that is a list": (with_pickle(lambda m: Call(torch.Size, [1, 2])), "cannot be"),
    "a parameter that is a text": (
        with_pickle(lambda m: Call(torch._utils._rebuild_parameter, "a", True, {})),
        "parameter",
    ),
    "a storage as text": (with_pickle(lambda m: b"\x80\x02X\x01\x00\x00\x00aQ."), "not the storage"),
    "a storage of no kind": (with_pickle(lambda m: Storage("0", 6, "float")), "no known kind"),
    "one storage as numbers of two kinds": (
        with_pickle(
            lambda m: [Storage("0", 6), Storage("0", 3, torch.DoubleStorage)], records=[("data/0", b"\0" * 24)]
        ),
        "does not hold 3 numbers",
    ),
    "a tensor of seventeen dimensions": (one_record(6, (1,) * 17, (1,) * 17), "cannot be"),
    "a tensor that counts beyond 64 bits": (one_record(6, (2**40, 2**40), (0, 0)), "larger than its storage"),
    "strides that run backwards": (one_record(6, (2, 3), (-3, -1)), "cannot be"),
    "fewer strides than sizes": (one_record(6, (2, 3), (1,)), "damaged"),
    "a byte order that does not exist": (
        with_file(lambda d: resealed(d.replace(b"little", b"middle"))),
        "in which order",
    ),
    "a storage larger than its record": (one_record(10**9, (10**9,), (1,)), "damaged"),
    "a tensor larger than its storage": (one_record(6, (10**9,), (1,)), "damaged"),
    "a tensor before its storage": (
        with_pickle(lambda m: {"x": tensor("0", (2, 3), (3, 1), 6, offset=-4)}, records=[("data/0", b"\0" * 24)]),
        "damaged",
    ),
    "a storage that is missing": (with_pickle(lambda m: {"x": tensor("7", (2, 3), (3, 1), 6)}), "damaged"),
    "one number repeated a billion times": (with_state(repeated), "fewer numbers than that"),
    "sparse": (with_state(lambda s: {**s, "embedding.weight": s["embedding.weight"].to_sparse()}), "sparse"),
    "quantised": (
        with_pickle(lambda m: {"x": Call(torch._utils._rebuild_qtensor, 1, 2, 3, 4, 5, 6, 7)}),
        "_rebuild_qtensor",
    ),
    "complex": (with_state(lambda s: {**s, "fc.weight": s["fc.weight"] + 0j}), "complex64"),
    "whole numbers": (with_state(lambda s: {**s, "fc.weight": s["fc.weight"].int()}), "int32"),
    "not a number": (nan_in(float("nan")), "not finite"),
    "infinite": (nan_in(float("inf")), "not finite"),
    "too large for float32": (nan_in(1e300, torch.float64), "not finite"),
    "thousands of tensors": (
        with_state(lambda s: {**s, **{f"x{k}": torch.zeros(1, 1) for k in range(2_000)}}),
        "far more than any model",
    ),
    "a name with a line break": (with_state(lambda s: {**s, "a\nb": torch.zeros(3)}), "name that no module"),
    "a name without end": (with_state(lambda s: {**s, "x" * 10**6: torch.zeros(3)}), "name that no module"),
    "a list": (with_state(lambda s: list(s.values())), "a list"),
    "a text": (with_state(lambda s: "embedding.weight"), "a text"),
    "no tensors": (with_state(lambda s: {"epoch": 3}), "a dict of 'epoch'"),
    "two models": (with_state(lambda s: {"generator": s, "critic": s}), "several models: 'generator'"),
    "two models under known names": (with_state(lambda s: {"model": s, "state_dict": s}), "several models"),
    "attributes over methods": (with_pickle(lambda m: ODD_DICT), "an empty dict"),
    "nothing": (plain(lambda m: b""), "not a PyTorch checkpoint"),
    "noise": (plain(lambda m: np.random.default_rng(1).bytes(5000)), "not a PyTorch checkpoint"),
    "a web page": (plain(lambda m: b"<!DOCTYPE html>"), "not a PyTorch checkpoint"),
    "the pointer of Git LFS": (plain(lambda m: b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "an archive of something else": (
        with_file(lambda d: d.replace(b"data.pkl", b"word.xml")),
        "not a PyTorch checkpoint",
    ),
    "a pipe": (pipe_called("model.pt"), "is a named pipe"),
    "a link to a device": (link_to("/dev/zero"), "is a device"),
    "a link to itself": (link_to("model.pt"), "cannot be read"),
    "a link to nothing": (link_to("gone.pt"), "There is no file"),
    "a link to a folder": (link_to("."), "is a directory"),
    **{f"an archive with {name}": (with_file(change), words) for name, (change, words) in ZIPS.items()},
}


def pickled(content, protocol=None):
    def make(folder, marker):
        (folder / "vocab.pkl").write_bytes(pickle.dumps(content(marker), protocol))
        return folder / "vocab.pkl"

    return make


def raw(content, name="vocab.pkl"):
    def make(folder, marker):
        (folder / name).write_bytes(content)
        return folder / name

    return make


def as_json(content):
    return raw(json.dumps(content).encode(), "vocab.json")


def nested(depth):
    content = []
    for _ in range(depth):
        content = [content]
    return content


def laughing():
    """Twenty lists of ten times the one below: 10^20 words to whoever walks through them."""
    content = ["ha"]
    for _ in range(20):
        content = [content] * 10
    return content


class Vocab:
    """As torchtext's: an object with the list inside."""

    def __init__(self):
        self.itos = ["<unk>"]


VOCABULARIES = {
    **{f"runs code, protocol {p}": (pickled(touch, p), "holds a Python object") for p in range(6)},
    "runs code in a list": (pickled(lambda m: ["<unk>", touch(m)]), "posix.mkdir"),
    "runs a shell by INST": (lambda f, m: raw(old_instruction(m))(f, m), "os.system"),
    "an object with a list inside": (pickled(lambda m: Vocab()), "tests.importers.hostile.Vocab"),
    "a counter": (pickled(lambda m: Counter(["a"])), "collections.Counter"),
    "an ordered dict": (pickled(lambda m: OrderedDict(a=0)), "collections.OrderedDict"),
    "an array of numpy": (pickled(lambda m: np.array(["a", "b"])), "numpy"),
    "a list of numpy's texts": (pickled(lambda m: [np.str_("a")]), "numpy"),
    "a tuple": (pickled(lambda m: ("a", "b")), "TUPLE"),
    "a set": (pickled(lambda m: {"a", "b"}), "other than lists"),
    "bytes": (pickled(lambda m: [b"a"], 4), "other than lists"),
    "an extension code": (raw(b"\x80\x02\x82\x01."), "EXT1"),
    "a persistent id": (raw(b"\x80\x02X\x01\x00\x00\x00aQ."), "BINPERSID"),
    "a buffer from outside": (raw(b"\x80\x05\x97."), "NEXT_BUFFER"),
    "a table of two billion objects": (raw(b"\x80\x02]r\xff\xff\xff\x7f."), "far more objects"),
    "the same in text": (raw(b"(lp9999999999\n."), "far more objects"),
    "a text of a terabyte": (raw(b"\x80\x04]\x8d\x00\x00\x00\x00\x00\x01\x00\x00abca."), "damaged or truncated"),
    "a frame of a terabyte": (raw(b"\x80\x04\x95\x00\x00\x00\x00\x00\x01\x00\x00]."), "damaged"),
    "an endless number": (raw(b"I" + b"9" * 100_000 + b"\n."), "damaged or truncated"),
    "a large number": (raw(b"\x80\x02]\x8a\xff" + b"\x7f" * 255 + b"a."), "absurdly"),
    "a long number": (raw(b"\x80\x02]\x8b\x00\xff\x00\x00" + b"\x7f" * 0xFF00 + b"a."), "LONG4"),
    "depth without end": (raw(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."), "entry 0 is a list"),
    "lists of lists of lists": (pickled(lambda m: laughing()), "entry 0 is a list"),
    "a list in itself": (raw(b"\x80\x02]q\x00h\x00a."), "entry 0 is a list"),
    "a dict in itself": (raw(b"\x80\x02}q\x00X\x05\x00\x00\x00vocabh\x00s."), "no list of words, but a dict"),
    "a number among the words": (pickled(lambda m: ["a", 3]), "entry 1 is a number"),
    "a word without end": (pickled(lambda m: ["a", "b" * 10**6]), "entry 1 has 1,000,000 characters"),
    "half a character": (pickled(lambda m: ["a", "\ud800"]), "entry 1 holds half a character"),
    "a word at two ids": (pickled(lambda m: {0: "a", 1: "a"}), "holds 'a' twice"),
    "a word twice": (pickled(lambda m: ["a", "b", "a"]), "holds 'a' twice"),
    "a word twice among many": (pickled(lambda m: [*map(str, range(200_000)), "7"]), "holds '7' twice"),
    "no words": (pickled(lambda m: []), "holds no words"),
    "nothing": (raw(b""), "damaged"),
    "none": (pickled(lambda m: None), "NONE"),
    "a number": (pickled(lambda m: 3), "a number"),
    "a text": (pickled(lambda m: "abc"), "a text"),
    "ids with a gap": (pickled(lambda m: {"a": 0, "b": 2}), "no list of words, but a dict"),
    "ids twice": (pickled(lambda m: {"a": 0, "b": 0}), "no list of words"),
    "ids that are texts": (pickled(lambda m: {"a": "x"}), "no list of words"),
    "cut short": (raw(pickle.dumps(words(11))[:-9]), "damaged"),
    "noise": (raw(np.random.default_rng(1).bytes(5000)), "vocab.pkl"),
    "instructions in no order": (raw(b"\x80\x02aeu."), "damaged"),
    "no end": (raw(b"\x80\x02]"), "damaged"),
    "JSON cut short": (raw(b'["a", ', "vocab.json"), "is not JSON"),
    "JSON of depth": (raw(b"[" * 200_000, "vocab.json"), "nested more than"),
    "JSON with ids that are not numbers": (raw(b'{"a": NaN}', "vocab.json"), "holds NaN"),
    "JSON with an infinite id": (raw(b'{"a": 1e999}', "vocab.json"), "too large"),
    "JSON with an id without end": (raw(b'{"a": ' + b"9" * 10**6 + b"}", "vocab.json"), "thousands of digits"),
    "JSON with a huge id": (raw(b'{"a": ' + b"9" * 400 + b"}", "vocab.json"), "no list of words"),
    "JSON of millions of lists": (raw(b"[" + b"[]," * 5_000_000 + b"[]]", "vocab.json"), "4,000,000 entries"),
    "millions of lines": (raw(b"\n" * 5_000_000, "vocab.txt"), "4,000,000 entries"),
    "JSON in another encoding": (raw('["a"]'.encode("utf-16"), "vocab.json"), "not UTF-8"),
    "a pipe": (pipe_called("vocab.json"), "is a named pipe"),
    "a pipe among pickles": (pipe_called("vocab.pkl"), "is a named pipe"),
    "a link to a device": (link_to("/dev/zero", "vocab.pkl"), "is a device"),
    "a link to a device as text": (link_to("/dev/zero", "vocab.txt"), "is a device"),
    "a folder": (link_to(".", "vocab.json"), "is a directory"),
    "a link to nothing": (link_to("gone", "vocab.json"), "There is no file"),
    "a key twice": (raw(b"\x80\x02}(X\x01\x00\x00\x00aK\x00X\x01\x00\x00\x00aK\x01u."), "the key 'a' twice"),
    "numbers that collide": (
        pickled(lambda m: {k * (2**61 - 1): "a" for k in range(2_000)}),
        "numbers as keys that are not ids",
    ),
    "two objects at the end": (raw(b"\x80\x02]]."), "do not fit together"),
    "JSON with a word twice": (as_json({"itos": ["a", "a"]}), "twice"),
    "JSON with a number": (as_json(["a", None]), "entry 1 is nothing"),
    "JSON of something else": (as_json({"model_type": "gpt2"}), "no list of words"),
    "a text that is none": (raw(b"\xff\xfe\x00", "vocab.txt"), "not UTF-8"),
    "an archive that runs code": (
        lambda f, m: archive(f / "vocab.pkl", touch(m)),
        "posix.mkdir",
    ),
}
