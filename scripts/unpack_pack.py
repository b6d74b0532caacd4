#!/usr/bin/env python3
"""unpack_pack.py PACK OUTDIR [BASE.safetensors|BASEDIR|BASE.qpk] - restore the files of a pack, by docs/pack-format.md alone.

A second reader, to test the first one and the page that describes the format. Needs the PyPI packages zstandard, xxhash and numpy.
"""
import hashlib, json, os, struct, sys

import numpy as np
import xxhash
import zstandard

CHUNK = 1 << 20
WIDTH = {"F8_E4M3": 1, "F8_E5M2": 1, "F16": 2, "BF16": 2, "F32": 4, "F64": 8}


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def decode(frame):
    return zstandard.ZstdDecompressor().decompress(frame)


class Pack:
    def __init__(self, path, base=None):
        self.data = data = open(path, "rb").read()
        assert data[:16] == struct.pack("<II", 0x184D2A50, 8) + b"QUERNPK1", "head"
        nframes, flags, magic = struct.unpack("<IBI", data[-9:])
        assert (flags, magic) == (0, 0x8F92EAB1), "footer"
        table = len(data) - 9 - 8 * nframes - 8
        assert struct.unpack_from("<II", data, table) == (0x184D2A5E, 8 * nframes + 9), "table"
        sizes = [struct.unpack_from("<II", data, table + 8 + 8 * i) for i in range(nframes)]
        self.at = [0]
        for size, _ in sizes:
            self.at.append(self.at[-1] + size)
        assert self.at[-1] == table, "frames"
        last = self.at[nframes - 1]
        assert u32(data, last) == 0x184D2A51 and u32(data, last + 4) == sizes[-1][0] - 8, "directory"
        self.directory = json.loads(decode(data[last + 8:table]))
        assert self.directory["quern_pack"] == 1 and self.directory["chunk"] == CHUNK
        self.runs = [run for f in self.directory["files"] for run in f["runs"]]
        self.base = base
        frame = 1
        for run in self.runs:
            run["frames"] = []
            for letter in run["chunks"]:
                run["frames"].append(frame)
                frame += {"r": 1, "b": 1, "s": 0}.get(letter) if letter in "rbs" else WIDTH[run["dtype"]]
        assert frame == nframes - 1, "number of frames"

    def frame(self, i):
        return decode(self.data[self.at[i]:self.at[i + 1]])

    def chunk(self, run, k):
        letter, first = run["chunks"][k], run["frames"][k]
        n = min(CHUNK, run["bytes"] - k * CHUNK)
        if letter == "r":
            return self.frame(first)
        if letter == "s":
            return self.chunk(self.runs[run["same"]], k)
        if letter == "b":
            chunk, check = self.base(run["base"])[k * CHUNK:][:n], self.frame(first)
        else:
            w = WIDTH[run["dtype"]]
            bits, kind = 8 * w, np.dtype("<u%d" % w).type
            planes = [self.frame(first + i) for i in range(w)]
            check, planes[0] = planes[0][n // w:], planes[0][:n // w]
            z = np.frombuffer(b"".join(planes), np.uint8).reshape(w, -1).T.copy().view("<u%d" % w).ravel()
            top = kind(1 << (bits - 1))
            if letter == "f":
                return ((z >> kind(1)) | (z << kind(bits - 1))).tobytes()
            y = np.frombuffer(self.base(run["base"])[k * CHUNK:][:n], "<u%d" % w)
            d = (z >> kind(1)) ^ (kind(0) - (z & kind(1)))
            o = np.where(y & top, ~y, y | top) + d
            chunk = np.where(o & top, o & ~top, ~o).astype("<u%d" % w).tobytes()
        assert xxhash.xxh64(chunk).intdigest() == struct.unpack("<Q", check)[0], "another base"
        return chunk

    def run(self, run):
        return b"".join(self.chunk(run, k) for k in range(len(run["chunks"])))

    def file(self, f):
        data = b"".join(self.run(run) for run in f["runs"])
        assert len(data) == f["bytes"] and hashlib.sha256(data).hexdigest() == f["sha256"], f["name"]
        return data


def open_base(path):
    """A function from a tensor's name to its bytes."""
    if path.endswith(".qpk"):
        pack = Pack(path)
        tensors = {run["tensor"]: run for run in pack.runs if "tensor" in run}
        return lambda name: pack.run(tensors[name])
    if os.path.isdir(path):
        path = os.path.join(path, "model.safetensors")
    data = open(path, "rb").read()
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    return lambda name: data[start + header[name]["data_offsets"][0]:start + header[name]["data_offsets"][1]]


def main():
    np.seterr(over="ignore")
    pack = Pack(sys.argv[1], open_base(sys.argv[3]) if len(sys.argv) > 3 else None)
    for f in pack.directory["files"]:
        path = os.path.join(sys.argv[2], f["name"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(pack.file(f))


main()
