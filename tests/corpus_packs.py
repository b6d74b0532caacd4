"""corpus_packs.py - packs for make_corpus.py: sound ones, and for every rule of docs/formats.md one that breaks it.

Frames are made by hand, of raw or repeated bytes, so libzstd plays no part. Standard library only.
"""
import copy
import functools
import hashlib
import json
import struct

CHUNK = 1 << 20
M64 = 2**64 - 1
HEAD = struct.pack("<II", 0x184D2A50, 8) + b"QUERNPK1"
DIRECTORY, TABLE, TABLE_END = 0x184D2A51, 0x184D2A5E, 0x8F92EAB1
WIDTHS = {"F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4, "F64": 8}


def rotl(v, n):
    return (v << n | v >> 64 - n) & M64


def xxh64(data):
    p1, p2, p3, p4, p5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

    def turn(acc, lane):
        return rotl((acc + lane * p2) & M64, 31) * p1 & M64

    at, n = 0, len(data)
    if n >= 32:
        v = [(p1 + p2) & M64, p2, 0, -p1 & M64]
        while at + 32 <= n:
            v = [turn(v[i], lane) for i, lane in enumerate(struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(rotl(v[i], s) for i, s in enumerate((1, 7, 12, 18))) & M64
        for x in v:
            h = ((h ^ turn(0, x)) * p1 + p4) & M64
    else:
        h = p5
    h = (h + n) & M64
    while at + 8 <= n:
        h = (rotl(h ^ turn(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & M64
        at += 8
    if at + 4 <= n:
        h = (rotl(h ^ struct.unpack_from("<I", data, at)[0] * p1 & M64, 23) * p2 + p3) & M64
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ byte * p5 & M64, 11) * p1 & M64
    for shift, p in ((33, p2), (29, p3)):
        h = (h ^ h >> shift) * p & M64
    return h ^ h >> 32


def frame(content, descriptor=0xA4, size=None, sum_of=None, blocks=None):
    """A zstd frame of one raw block, or more of 128 KiB."""
    size = len(content) if size is None else size
    pieces = [content[i:i + (1 << 17)] for i in range(0, len(content), 1 << 17)] or [b""]
    if blocks is None:
        blocks = b"".join(struct.pack("<I", len(p) << 3 | (i == len(pieces) - 1))[:3] + p for i, p in enumerate(pieces))
    check = struct.pack("<I", xxh64(content if sum_of is None else sum_of) & 0xFFFFFFFF) if descriptor & 4 else b""
    sizes = struct.pack("<I", size) if descriptor & 0xC0 else bytes([size]) if descriptor & 0x20 else b""
    return b"\x28\xB5\x2F\xFD" + bytes([descriptor]) + sizes + blocks + check


# A size of one byte, as zstd itself writes it: what is stored in such a frame is used where it lies.
STORED = 0x24


def content_of(made):
    """What frame() was made of."""
    n = struct.unpack_from("<I", made, 5)[0]
    assert n < 1 << 17
    return made[12:12 + n]


@functools.lru_cache
def repeated(n):
    """A frame of n zeros that takes next to nothing."""
    pieces = [min(1 << 17, n - at) for at in range(0, n, 1 << 17)]
    return frame(bytes(n), blocks=b"".join(struct.pack("<I", p << 3 | 2 | (i == len(pieces) - 1))[:3] + b"\0" for i, p in enumerate(pieces)))


def planes(data, width):
    values = [int.from_bytes(data[i:i + width], "little") for i in range(0, len(data), width)]
    bits = 8 * width
    turned = [(v << 1 | v >> bits - 1) & ((1 << bits) - 1) for v in values]
    return [bytes(v >> 8 * k & 255 for v in turned) for k in range(width)]


def delta_planes(data, base, width):
    bits = 8 * width
    top, full = 1 << bits - 1, (1 << bits) - 1

    def ordered(v):
        return v ^ full if v & top else v | top

    out = []
    for i in range(0, len(data), width):
        d = (ordered(int.from_bytes(data[i:i + width], "little")) - ordered(int.from_bytes(base[i:i + width], "little"))) & full
        d -= (full + 1) if d & top else 0
        out.append(2 * d if d >= 0 else -2 * d - 1)
    parts = [bytes(z >> 8 * k & 255 for z in out) for k in range(width)]
    return [parts[0] + struct.pack("<Q", xxh64(data))] + parts[1:]


# Forty bytes and a checksum, with a window of 1 KiB: as streaming writers make them.
WINDOWED_TEXT = bytes(range(40))
WINDOWED = b"\x28\xB5\x2F\xFD\x84\x00" + struct.pack("<I", 40) + struct.pack("<I", 40 << 3 | 1)[:3] + WINDOWED_TEXT + struct.pack("<I", xxh64(WINDOWED_TEXT) & 0xFFFFFFFF)


# ---- the models -----------------------------------------------------------------------------------------------------


def bf16(n, start):
    return struct.pack("<%dH" % n, *[0x3C00 + (start + 7 * i) % 400 | (i % 3 == 0) << 15 for i in range(n)])


def safetensors(tensors):
    header, at = {}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


WORDS = bf16(40, 3)
FLOATS = struct.pack("<5f", 0.5, -1.25, 3, 0, -0.0)
TENSORS = [("w", "BF16", [8, 5], WORDS), ("v", "F32", [5], FLOATS)]
BASE_WORDS = bf16(40, 4)
BASE_TENSORS = [("w", "BF16", [8, 5], BASE_WORDS), ("v", "F32", [5], FLOATS)]
# The same with tensors that do not fit, or other values.
OTHERS = {"no_w": BASE_TENSORS[1:], "longer_w": [("w", "BF16", [82], bf16(82, 4)), BASE_TENSORS[1]],
          "f16_w": [("w", "F16", [8, 5], BASE_WORDS), BASE_TENSORS[1]], "other_w": [("w", "BF16", [8, 5], bf16(40, 5)), BASE_TENSORS[1]]}


def whole(tensors):
    return safetensors(tensors) + b"".join(t[3] for t in tensors)


def run(data, letters, **more):
    return dict({"bytes": len(data), "chunks": letters}, **more)


def tensor_run(tensor, letters, **more):
    name, dtype, shape, data = tensor
    return run(data, letters, tensor=name, dtype=dtype, shape=shape, **more)


def file(name, data, runs):
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "runs": runs}


class Pack:
    """A directory and the frames behind it; what is to be wrong is changed before it is written."""

    def __init__(self, directory, contents):
        self.directory = directory  # or its text
        self.frames = [(len(c), frame(c)) for c in contents]  # (what the table says it holds, bytes)
        self.entries = None  # of the table: changed by a function
        self.directory_frame = None
        self.head, self.directory_head, self.table_head, self.footer = HEAD, None, None, None
        self.between = b""  # before the table

    def write(self):
        text = self.directory if isinstance(self.directory, bytes) else json.dumps(self.directory).encode()
        packed = frame(text) if self.directory_frame is None else self.directory_frame
        last = (self.directory_head or struct.pack("<II", DIRECTORY, len(packed))) + packed
        entries = [(len(self.head), 0)] + [(len(f), n) for n, f in self.frames] + [(len(last), 0)]
        if self.entries:
            entries = self.entries(entries)
        body = b"".join(struct.pack("<II", *e) for e in entries)
        footer = self.footer or struct.pack("<IBI", len(entries), 0, TABLE_END)
        head = self.table_head or struct.pack("<II", TABLE, len(body) + len(footer))
        return self.head + b"".join(f for _, f in self.frames) + last + self.between + head + body + footer


def plain(letters="ff"):
    """A directory with config.json and a model of two tensors."""
    data = whole(TENSORS)
    runs = [run(safetensors(TENSORS), "r"), tensor_run(TENSORS[0], letters[0]), tensor_run(TENSORS[1], letters[1])]
    contents = [b"{}", safetensors(TENSORS)]
    for letter, (_, dtype, _, values) in zip(letters, TENSORS):
        contents += planes(values, WIDTHS[dtype]) if letter == "f" else [values]
    return Pack({"quern_pack": 1, "chunk": CHUNK, "directory": True,
                 "files": [file("config.json", b"{}", [run(b"{}", "r")]), file("model.safetensors", data, runs)]}, contents)


def against_base(path="base.safetensors", data=BASE_WORDS):
    """The first tensor as a difference, the second as it is in the base."""
    p = plain()
    probe = hashlib.sha256(data + FLOATS).hexdigest()
    p.directory["base"] = {"path": path, "probe": probe}
    runs = p.directory["files"][1]["runs"]
    runs[1].update(chunks="d", base="w")
    runs[2].update(chunks="b", base="v")
    contents = [b"{}", safetensors(TENSORS)] + delta_planes(WORDS, BASE_WORDS, 2) + [struct.pack("<Q", xxh64(FLOATS))]
    p.frames = [(len(c), frame(c)) for c in contents]
    return p


def shared():
    """Two files with the same model: the second takes nothing."""
    p = plain()
    first = p.directory["files"][1]
    second = copy.deepcopy(first)
    second["name"] = "zweite/model.safetensors"
    for i, r in enumerate(second["runs"]):
        r.update(chunks="s", same=1 + i)
    p.directory["files"].append(second)
    return p


def long_file(letters, nbytes):
    """One file of zeros, of several chunks."""
    p = Pack({"quern_pack": 1, "chunk": CHUNK, "directory": False, "files": [
        {"name": "zeros.gguf", "bytes": nbytes, "sha256": hashlib.sha256(bytes(nbytes)).hexdigest(), "runs": [{"bytes": nbytes, "chunks": letters}]}]}, [])
    p.frames = [(min(CHUNK, nbytes - at), repeated(min(CHUNK, nbytes - at))) for at in range(0, nbytes, CHUNK)]
    return p


def changed(make, change):
    """A pack of make() after change(pack) or, when it takes two, change(pack, runs of the model)."""
    p = make()
    if change.__code__.co_argcount == 1:
        change(p)
    else:
        change(p, p.directory["files"][1]["runs"])
    return p.write()


def text_changed(old, new, make=plain):
    p = make()
    text = json.dumps(p.directory)
    assert old in text, old
    p.directory = text.replace(old, new, 1).encode()
    return p.write()


# ---- cases ----------------------------------------------------------------------------------------------------------


def store_planes(p):
    for i, (n, made) in enumerate(p.frames[2:], 2):
        p.frames[i] = n, frame(content_of(made), STORED)


def good():
    """Models; and packs without one."""
    return {
        "plain": (plain().write(), None, "two tensors in planes, and a small file"),
        "raw": (plain("rr").write(), None, "two tensors as they are"),
        "stored": (changed(plain, store_planes), None, "planes in frames as zstd stores them"),
        "delta": (against_base().write(), None, "a difference from the base, and what equals it"),
        "shared": (shared().write(), None, "a directory whose files are as others are"),
        "unknown_keys": (text_changed('"chunk": ', '"later": {"a": [1, {"b": null}]}, "chunk": '), None, "keys that are not known are passed over"),
    }, {
        "long": (long_file("rrr", 2 * CHUNK + 5).write(), "magic", "three chunks in little room: a pack, and no model"),
    }


def bad_container():
    def entries(change):
        def make(p):
            p.entries = change
        return changed(plain, make)

    def footer(n, flags=0, end=TABLE_END):
        return changed(plain, lambda p: setattr(p, "footer", struct.pack("<IBI", n, flags, end)))

    def table_head(magic, n):
        return changed(plain, lambda p: setattr(p, "table_head", struct.pack("<II", magic, n)))

    def directory_head(magic, more):
        return changed(plain, lambda p: setattr(p, "directory_head", struct.pack("<II", magic, len(frame(json.dumps(p.directory).encode())) + more)))

    def directory_frame(made):
        return changed(plain, lambda p: setattr(p, "directory_frame", made(json.dumps(p.directory).encode())))

    def first_plane(made):
        return changed(plain, lambda p: p.frames.__setitem__(2, (40, made)))

    low = planes(WORDS, 2)[0]
    full = plain().write()
    count = len(plain().frames) + 2
    body = 8 * count + 9
    return {
        "pack": {
            "head_alone": (HEAD, "nothing behind the head"),
            "head_and_footer": (HEAD + struct.pack("<IBI", 0, 0, TABLE_END), "no room for a table"),
            "cut_1": (full[:-1], "the last byte is missing"),
            "cut_footer": (full[:-9], "no footer"),
            "longer_1": (full + b"\0", "a byte behind the footer"),
            "footer_magic": (footer(count, end=TABLE_END + 1), "another number at the end"),
            "footer_flags": (footer(count, flags=0x80), "the table says that it has checksums"),
            "frames_0": (footer(0), "no frames"),
            "frames_1": (footer(1), "not even a directory"),
            "frames_fewer": (footer(count - 1), "one frame fewer than the table has"),
            "frames_more": (footer(count + 1), "one frame more"),
            "frames_max": (footer(0xFFFFFFFF), "4 294 967 295 frames"),
            "frames_2_29": (footer(2**29), "a table of 4 GiB"),
            "table_magic": (table_head(TABLE + 1, body), "another magic before the table"),
            "table_length": (table_head(TABLE, body + 1), "another length of the table"),
            "hole": (changed(plain, lambda p: setattr(p, "between", b"\0" * 8)), "bytes that belong to no frame"),
            "frames_short": (entries(lambda e: e[:1] + [(e[1][0] - 1, e[1][1])] + e[2:]), "frames that do not fill the file"),
            "frame_4_gib": (entries(lambda e: e[:1] + [(0xFFFFFFFF, e[1][1])] + e[2:]), "a frame of 4 GiB"),
            "head_entry": (entries(lambda e: [(8, 0), (e[1][0] + 8, e[1][1])] + e[2:]), "a head of another length"),
            "directory_magic": (directory_head(DIRECTORY + 1, 0), "another magic before the directory"),
            "directory_length": (directory_head(DIRECTORY, -1), "another length of the directory"),
            "directory_empty": (changed(plain, lambda p: (setattr(p, "directory_frame", b""), setattr(p, "directory_head", struct.pack("<I", DIRECTORY)))), "a directory of four bytes"),
            "directory_raw": (directory_frame(lambda text: text), "a directory that is no zstd frame"),
            "directory_unsized": (directory_frame(lambda text: frame(text[:200], 0x04)), "a directory that does not say its size"),
            "directory_no_sum": (directory_frame(lambda text: frame(text, 0xA0)), "a directory without checksum"),
            "directory_dictionary": (directory_frame(lambda text: frame(text, 0xA5)), "a directory with a dictionary"),
            "directory_sum": (directory_frame(lambda text: frame(text, sum_of=b"other")), "a directory with the checksum of another"),
            "directory_sum_cut": (directory_frame(lambda text: frame(text)[:-4]), "a directory that ends before its checksum"),
            "directory_size_more": (directory_frame(lambda text: frame(text, size=len(text) + 1)), "a directory with less than it says"),
            "directory_size_less": (directory_frame(lambda text: frame(text, size=len(text) - 1)), "a directory with more than it says"),
            "directory_bomb": (directory_frame(lambda text: repeated(CHUNK)), "a directory of 1 MiB in 50 bytes"),
            "directory_2_gib": (directory_frame(lambda text: frame(text, size=2**31)), "a directory that says it has 2 GiB"),
            "entry_head_content": (entries(lambda e: [(16, 1)] + e[1:]), "a head with content"),
            "entry_directory_content": (entries(lambda e: e[:-1] + [(e[-1][0], 1)]), "content behind the chunks"),
            "entry_content": (entries(lambda e: e[:1] + [(e[1][0], e[1][1] + 1)] + e[2:]), "a frame with more content than its chunk needs"),
            "frame_too_few": (changed(plain, lambda p: p.frames.pop()), "a frame is missing"),
            "frame_too_many": (changed(plain, lambda p: p.frames.append((0, frame(b"")))), "a frame that no chunk has"),
            "frame_large": (changed(plain, lambda p: p.frames.__setitem__(0, (2, frame(b"{}") + bytes(1000)))), "a frame larger than two bytes can make"),
        },
        "pack-frame": {
            "chunk_magic": (first_plane(b"\x29" + frame(low)[1:]), "a chunk that is no zstd frame"),
            "chunk_size": (first_plane(frame(low + b" ")), "a chunk with more than the table says"),
            "chunk_less": (first_plane(frame(low, size=39)), "a chunk with less than the table says"),
            "chunk_two_frames": (first_plane(frame(low) + frame(b"")), "two frames in one"),
            "chunk_cut": (first_plane(frame(low)[:-1]), "a frame that ends before its checksum does"),
            "chunk_sum": (first_plane(frame(low, sum_of=b"other")), "a frame with the checksum of another"),
            "chunk_no_sum": (first_plane(frame(low, 0xA0)), "a frame without checksum"),
            "chunk_windowed": (first_plane(WINDOWED), "a frame with a window instead of a single segment"),
            "chunk_unsized": (first_plane(frame(low, 0x04)), "a frame that does not say its size"),
            "chunk_dictionary": (first_plane(frame(low, 0xA5)), "a frame with a dictionary"),
            "chunk_reserved": (first_plane(frame(low, 0xAC)), "a frame with a bit that must be zero"),
            "chunk_stored_sum": (first_plane(frame(low, STORED, sum_of=b"other")), "a stored plane with the checksum of another"),
            "chunk_stored_block": (first_plane(frame(low, STORED, blocks=struct.pack("<I", len(low) << 3 | 7)[:3] + low)), "a stored plane whose block is of no kind"),
        },
    }


def bad_directory():
    def one(change):
        return changed(plain, change)

    def top(change):
        return changed(plain, lambda p: change(p.directory))

    def name(text):
        return changed(plain, lambda p: p.directory["files"][0].__setitem__("name", text))

    def raw(text):
        return changed(plain, lambda p: setattr(p, "directory", text))

    def config(change):
        return changed(plain, lambda p: change(p.directory["files"][0]))

    def below_a_file(p):
        p.directory["files"][0]["name"] = "a"
        p.directory["files"].insert(1, file("a/b", b"{}", [run(b"{}", "r")]))
        p.frames.insert(1, (2, frame(b"{}")))

    def sha(text):
        return config(lambda f: f.__setitem__("sha256", text))

    plain_text = json.dumps(plain().directory).encode()
    file_text = json.dumps(plain().directory["files"][0])
    return {
        "json": {"not_json": (raw(b"quern"), "no JSON"), "after": (raw(plain_text + b" x"), "something behind the object"),
                 "comma": (raw(plain_text[:-1] + b",}"), "a trailing comma")},
        "utf8": {"not_utf8": (raw(plain_text.replace(b"config", b"conf\xff\xff")), "bytes that are no UTF-8")},
        "json-depth": {"deep": (raw(plain_text.replace(b'"chunk"', b'"x": ' + b"[" * 70 + b"]" * 70 + b', "chunk"')), "70 lists in each other")},
        "pack-version": {"version_0": (top(lambda d: d.__setitem__("quern_pack", 0)), "version 0"),
                         "version_2": (top(lambda d: d.__setitem__("quern_pack", 2)), "a version to come")},
        "pack-directory": {
            "list": (raw(b"[]"), "a list"), "text": (raw(b'"pack"'), "a text"),
            "no_version": (top(lambda d: d.pop("quern_pack")), "no version"),
            "no_chunk": (top(lambda d: d.pop("chunk")), "no size of chunks"),
            "no_files": (top(lambda d: d.pop("files")), "no files"),
            "chunk_other": (top(lambda d: d.__setitem__("chunk", CHUNK * 2)), "another size of chunks"),
            "chunk_text": (top(lambda d: d.__setitem__("chunk", "1048576")), "a text for a number"),
            "version_fraction": (text_changed('"quern_pack": 1', '"quern_pack": 1.5'), "a fraction"),
            "version_negative": (text_changed('"quern_pack": 1', '"quern_pack": -1'), "a negative number"),
            "directory_number": (top(lambda d: d.__setitem__("directory", 1)), "1 for true"),
            "key_twice": (text_changed('"chunk": ', '"quern_pack": 1, "chunk": '), "a key that is there twice"),
            "files_twice": (text_changed('"chunk": ', '"files": [], "chunk": '), "two lists of files"),
            "files_none": (Pack(dict(plain().directory, files=[]), []).write(), "no files"),
            "files_object": (top(lambda d: d.__setitem__("files", {})), "an object for the files"),
            "file_text": (top(lambda d: d["files"].append("x")), "a text for a file"),
            "name_twice_in_file": (text_changed('"bytes": 2', '"name": "a", "bytes": 2'), "two names of a file"),
            "no_name": (config(lambda f: f.pop("name")), "a file without name"),
            "no_bytes": (config(lambda f: f.pop("bytes")), "a file without size"),
            "no_sha256": (config(lambda f: f.pop("sha256")), "a file without SHA-256"),
            "no_runs": (config(lambda f: f.pop("runs")), "a file without runs"),
            "name_number": (config(lambda f: f.__setitem__("name", 7)), "a number for a name"),
            "name_nul": (name("a\0b"), "NUL in a name"),
            "name_empty": (name(""), "an empty name"),
            "name_up": (name("../a"), "a name that leads upwards"),
            "name_up_inside": (name("a/../../b"), "the same, further inside"),
            "name_root": (name("/etc/a"), "a name from the root"),
            "name_dot": (name("./a"), "a dot for a part"),
            "name_slashes": (name("a//b"), "a part that is empty"),
            "name_slash_end": (name("a/"), "a name that ends in a slash"),
            "name_part_256": (name("a/" + "n" * 256), "a part of 256 bytes"),
            "name_4097": (name("/".join(["a" * 240] * 17) + "a"), "a name of 4097 bytes"),
            "names_same": (top(lambda d: d["files"].insert(0, copy.deepcopy(d["files"][0]))), "two files of one name"),
            "names_order": (top(lambda d: d["files"].reverse()), "files that are not in order"),
            "name_of_directory": (changed(plain, below_a_file), "a file with the name of a directory"),
            "sha256_63": (sha("0" * 63), "63 digits"),
            "sha256_65": (sha("0" * 65), "65 digits"),
            "sha256_capital": (sha("A" * 64), "capital digits"),
            "sha256_g": (sha("g" * 64), "other letters"),
            "bytes_more": (config(lambda f: f.__setitem__("bytes", 3)), "a file larger than its runs"),
            "bytes_2_64": (text_changed('"bytes": 2', '"bytes": 18446744073709551616'), "a size of 2^64"),
            "bytes_wrap": (text_changed('"runs": [{"bytes": 2, ', '"runs": [{"bytes": 18446744073709551615, "chunks": "r"}, {"bytes": 2, '), "sizes that wrap around"),
            "runs_object": (config(lambda f: f.__setitem__("runs", {})), "an object for the runs"),
            "run_number": (config(lambda f: f["runs"].append(1)), "a number for a run"),
            "run_empty": (config(lambda f: f["runs"].append({"bytes": 0, "chunks": ""})), "a run without bytes"),
            "run_no_bytes": (config(lambda f: f["runs"][0].pop("bytes")), "a run that does not say its size"),
            "run_no_chunks": (config(lambda f: f["runs"][0].pop("chunks")), "a run without letters"),
            "run_key_twice": (text_changed('"bytes": 2, "chunks": "r"', '"bytes": 2, "bytes": 2, "chunks": "r"'), "the size of a run twice"),
            "chunks_list": (config(lambda f: f["runs"][0].__setitem__("chunks", ["r"])), "a list of letters"),
            "chunks_few": (config(lambda f: f["runs"][0].__setitem__("chunks", "")), "fewer letters than chunks"),
            "chunks_many": (config(lambda f: f["runs"][0].__setitem__("chunks", "rr")), "more letters than chunks"),
            "chunks_unknown": (config(lambda f: f["runs"][0].__setitem__("chunks", "q")), "a letter that is none"),
            "float_bytes": (config(lambda f: f["runs"][0].__setitem__("chunks", "f")), "planes of bytes that are no numbers"),
            "tensor_alone": (one(lambda p, runs: (runs[1].pop("dtype"), runs[1].pop("shape"))), "a tensor with neither type nor shape"),
            "no_tensor": (one(lambda p, runs: runs[1].pop("tensor")), "type and shape of no tensor"),
            "no_dtype": (one(lambda p, runs: runs[1].pop("dtype")), "a tensor without type"),
            "no_shape": (one(lambda p, runs: runs[1].pop("shape")), "a tensor without shape"),
            "dtype_unknown": (one(lambda p, runs: runs[1].__setitem__("dtype", "BF17")), "an unknown type"),
            "dtype_other": (one(lambda p, runs: runs[1].__setitem__("dtype", "F32")), "a type of another width"),
            "shape_other": (one(lambda p, runs: runs[1].__setitem__("shape", [8, 6])), "a shape of more elements"),
            "shape_huge": (one(lambda p, runs: runs[1].__setitem__("shape", [2**62, 8])), "a shape that no number holds"),
            "shape_33": (one(lambda p, runs: runs[1].__setitem__("shape", [1] * 33)), "33 dimensions"),
            "shape_text": (one(lambda p, runs: runs[1].__setitem__("shape", "40")), "a text for a shape"),
            "delta_no_base": (one(lambda p, runs: runs[1].__setitem__("chunks", "d")), "a difference from nothing"),
            "equal_no_base": (one(lambda p, runs: runs[1].__setitem__("chunks", "b")), "equal to nothing"),
            "delta_bytes": (changed(against_base, lambda p, runs: p.directory["files"][0]["runs"][0].update(chunks="d", base="w")), "a difference of bytes that are no numbers"),
            "base_of_nothing": (one(lambda p, runs: runs[1].__setitem__("base", "w")), "a run has a base and the pack has none"),
            "base_text": (changed(against_base, lambda p: p.directory.__setitem__("base", "base.safetensors")), "a text for the base"),
            "base_no_path": (changed(against_base, lambda p: p.directory["base"].pop("path")), "a base without path"),
            "base_no_probe": (changed(against_base, lambda p: p.directory["base"].pop("probe")), "a base without probe"),
            "base_probe_short": (changed(against_base, lambda p: p.directory["base"].__setitem__("probe", "00")), "a probe of two digits"),
            "same_self": (changed(shared, lambda p: p.directory["files"][2]["runs"][0].__setitem__("same", 4)), "a run as itself"),
            "same_later": (changed(shared, lambda p: p.directory["files"][2]["runs"][0].__setitem__("same", 6)), "a run as a later one"),
            "same_absent": (changed(shared, lambda p: p.directory["files"][2]["runs"][0].__setitem__("same", 2**40)), "a run as one that is not there"),
            "same_size": (changed(shared, lambda p: p.directory["files"][2]["runs"][0].__setitem__("same", 2)), "a run as one of another size"),
            "same_nothing": (changed(shared, lambda p: p.directory["files"][2]["runs"][0].pop("same")), "as nothing"),
            "same_chain": (changed(shared, lambda p: (p.directory["files"].append(dict(copy.deepcopy(p.directory["files"][2]), name="zzz")), p.directory["files"][3]["runs"][0].__setitem__("same", 4))), "a run as one that is itself as another"),
        },
    }


def bad_bases():
    def with_base(path, data=BASE_WORDS):
        return against_base(path, data).write()

    def sums(p):
        n, packed = p.frames[-1]
        p.frames[-1] = n, frame(struct.pack("<Q", 7))
        n, packed = p.frames[2]
        content = delta_planes(WORDS, BASE_WORDS, 2)[0]
        p.frames[2] = n, frame(content[:-8] + bytes(8))

    return {
        "base": {
            "base_absent": (with_base("nowhere.safetensors"), "the base is not there"),
            "base_no_tensor": (with_base("no_w.safetensors"), "the base lacks a tensor"),
            "base_size": (with_base("longer_w.safetensors"), "a tensor of the base has another size"),
            "base_type": (with_base("f16_w.safetensors"), "a tensor of the base has another type"),
            "base_values": (with_base("other_w.safetensors"), "the base has other values"),
            "base_probe": (changed(plain, lambda p, runs: (p.directory.__setitem__("base", {"path": "base.safetensors", "probe": "0" * 64}), runs[1].__setitem__("base", "w"))), "a base that nothing is read from has other values"),
            "base_sum": (changed(against_base, sums), "chunks that come out otherwise"),
        },
    }


def cases(corpus):
    for prefix, group in zip(("ok_", "odd_"), good()):
        for name, (data, err, why) in group.items():
            corpus.case("pack", ".qpk", err, prefix + name, data, why)
    for groups in (bad_container(), bad_directory(), bad_bases()):
        for err, group in groups.items():
            for name, (data, why) in group.items():
                corpus.case("pack", ".qpk", err, "bad_" + name, data, why)
    for name, tensors in dict(OTHERS, base=BASE_TENSORS).items():
        corpus.write("pack/%s.safetensors" % name, whole(tensors))
