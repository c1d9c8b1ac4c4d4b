"""Archives in which two readers could see different records. Each maker changes the bytes of a good one.

PyTorch's own reader opens most of them, as do other readers, and not all see the same.
"""

import struct
import zlib

LOCAL, ENTRY, END, END64 = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"


def packed(records, flags=0, names=lambda name: name, fields=lambda name: b"", between=lambda name: b""):
    """Return an archive of (name, content) written from the format's own description.

    Args:
        flags: of every record.
        names: gives the name that stands before the record, for the one in the directory.
        fields: gives the extra fields in the directory.
        between: gives bytes that follow the record.
    """
    body, directory = b"", b""
    for name, content in records:
        sizes = struct.pack("<III", zlib.crc32(content), len(content), len(content))
        local = names(name)
        head = struct.pack("<HHHI", 20, flags, 0, 0) + sizes
        where = struct.pack("<HHHHHII", len(name), len(fields(name)), 0, 0, 0, 0, len(body))
        directory += ENTRY + struct.pack("<H", 20) + head + where + name + fields(name)
        body += LOCAL + head + struct.pack("<HH", len(local), 0) + local + content + between(name)
    end = struct.pack("<HHHHIIH", 0, 0, len(records), len(records), len(directory), len(body), 0)
    return body + directory + END + end


CONTENT = ((b"a/data.pkl", b"\x80\x02}."), (b"a/version", b"3\n"))


def renamed(name):
    return lambda data: packed([*CONTENT, (name, b"x")])


def changed(signature, place, value, form="<I", which=0):
    """Return a maker that writes a number so many bytes behind one of the signatures."""

    def change(data):
        start = -1
        for _ in range(which + 1):
            start = data.index(signature, start + 1)
        data = bytearray(data)
        struct.pack_into(form, data, start + place, value)
        return bytes(data)

    return change


def with_comment(comment):
    return lambda data: data[:-2] + struct.pack("<H", len(comment)) + comment


def two_ends(data):
    """An archive whose comment is another archive: from the start, or from the end, one sees the one or the other."""
    other = packed([(b"a/data.pkl", b"\x80\x02]."), (b"a/version", b"3\n")])
    return with_comment(other)(packed(CONTENT))


def two_archives(data):
    """One archive behind another: some readers move the second one's places to where it really begins."""
    return packed(CONTENT) + packed([*CONTENT, (b"a/data/0", b"x")])


def overlapping(data):
    """Two records that are in one place."""
    data = packed([(b"a/data.pkl", b"\x80\x02}."), (b"a/data.pk2", b"\x80\x02}.")])
    return changed(ENTRY, 42, 0, which=1)(data)


def hidden(data):
    """A record that only those find who read from the start."""
    return packed(CONTENT, between=lambda name: packed([(b"a/data.pkl", b"\x80\x02].")])[:40])


def second_name(data):
    """The field of Info-ZIP that replaces a name."""
    name = b"a/data.pkl"
    field = b"\x01" + struct.pack("<I", zlib.crc32(name)) + b"a/code.pkl"
    return packed(CONTENT, fields=lambda name: struct.pack("<HH", 0x7075, len(field)) + field)


ZIPS = {
    "two cases": (renamed(b"a/DATA.PKL"), "two records of one name"),
    "two cases of other letters": (
        lambda d: packed([*CONTENT, ("a/\u00e9".encode(), b""), ("a/\u00c9".encode(), b"")], 2048),
        "two records of one name",
    ),
    "an absolute name": (renamed(b"/data.pkl"), "a name that torch.save never writes"),
    "a name that leads up": (renamed(b"a/../data.pkl"), "a name that torch.save never writes"),
    "a name that leads nowhere": (renamed(b"a/./data.pkl"), "a name that torch.save never writes"),
    "a name with nothing between": (renamed(b"a//data.pkl"), "a name that torch.save never writes"),
    "a name of Windows": (renamed(b"a\\data.pkl"), "a name that torch.save never writes"),
    "a name with an end in it": (renamed(b"a/data.pkl\0x"), "a name that torch.save never writes"),
    "a folder": (renamed(b"a/data/"), "a name that torch.save never writes"),
    "no name": (renamed(b""), "a name that torch.save never writes"),
    "a name without end": (renamed(b"a/" + b"b" * 2000), "a name that torch.save never writes"),
    "a name in an unknown encoding": (renamed(b"a/\xe9"), "read in two ways"),
    "two folders": (renamed(b"b/data.pkl"), "not a PyTorch checkpoint"),
    "too many records": (lambda d: packed([*CONTENT, *((b"a/%d" % k, b"") for k in range(20_001))]), "20,003 records"),
    "something in front": (lambda d: LOCAL + d, "not laid out"),
    "something in front that the directory knows of": (lambda d: changed(END64, 48, 1, "<Q")(d), "not laid out"),
    "something behind": (lambda d: d + b"\0", "truncated or damaged"),
    "a comment": (with_comment(b"hello"), "truncated or damaged"),
    "a comment that is an end": (with_comment(END + bytes(18)), "not where its end says"),
    "two archives of one comment": (two_ends, "not laid out"),
    "two archives": (two_archives, "not laid out"),
    "fewer records in the classic end": (changed(END, 8, 1, "<H"), "not laid out"),
    "fewer records in both counts of the classic end": (changed(END, 8, 0x00010001), "two ends"),
    "fewer records in the large end": (changed(END64, 24, 1, "<Q"), "ZIP64 end"),
    "another directory in the large end": (changed(END64, 48, 0, "<Q"), "two ends"),
    "a large end elsewhere": (changed(b"PK\x06\x07", 8, 0, "<Q"), "ZIP64 end"),
    "several disks": (changed(END, 4, 1, "<H"), "part of several"),
    "the numbers of a large end without one": (lambda d: changed(END, 16, 2**32 - 1)(packed(CONTENT)), "two ends"),
    "another name before the record": (
        lambda d: packed(CONTENT, names=lambda name: name.swapcase()),
        "not what the directory says",
    ),
    "another size before the record": (lambda d: changed(LOCAL, 22, 1)(packed(CONTENT)), "not what the directory says"),
    "another checksum before the record": (
        lambda d: changed(LOCAL, 14, 1)(packed(CONTENT)),
        "not what the directory says",
    ),
    "another method before the record": (changed(LOCAL, 8, 8, "<H"), "not what the directory says"),
    "sizes where they should follow": (changed(LOCAL, 18, 1), "not what the directory says"),
    "another size in the descriptor": (changed(b"PK\x07\x08", 8, 1), "between two records"),
    "another checksum in the descriptor": (changed(b"PK\x07\x08", 4, 1), "between two records"),
    "two sizes": (changed(ENTRY, 20, 1), "two sizes"),
    "a large size without the field for it": (lambda d: changed(ENTRY, 42, 2**32 - 1)(packed(CONTENT)), "two sizes"),
    "a comment on a record": (changed(ENTRY, 32, 1, "<H"), "comment"),
    "a record on another disk": (changed(ENTRY, 34, 1, "<H"), "another disk"),
    "a record that is a folder to some": (changed(ENTRY, 38, 0x10), "marked as a folder"),
    "a record that is text to some": (changed(ENTRY, 36, 1, "<H"), "marked as a folder"),
    "unknown flags": (lambda d: packed(CONTENT, flags=1 << 13), "unknown flags"),
    "a field with a second name": (second_name, "fields that torch.save never writes"),
    "a place beyond the end": (changed(ENTRY, 42, 2**31), "not laid out"),
    "records in one place": (overlapping, "not laid out"),
    "a record without an entry": (hidden, "between two records"),
    "a changed number": (
        lambda d: d[: d.index(b"data/1FB") - 90] + b"\x7f" + d[d.index(b"data/1FB") - 89 :],
        "checksum",
    ),
    "no records": (lambda d: LOCAL + packed([]), "not laid out"),
}
