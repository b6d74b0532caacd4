#!/usr/bin/env python3
"""make_corpus.py DIR [--big]: write model files that are wrong in one way each, and sound ones beside them.

DIR gets the files and two lists of them, MANIFEST.json and MANIFEST.tsv (file, kind, expect, err, why):
  kind    safetensors, gguf: a file; index: a directory that is opened as a model; config: a merge recipe;
          imatrix: an importance matrix; misfit: one that is sound, for other models than gguf/ok_three.gguf;
          pack: a pack that is opened as a model, and all of whose files are read
  expect  accept or reject
  err     the kind of the error that must come, "-" for accept
Every rule of docs/formats.md has at least one case. Nothing here does anything when opened: the pickles are empty.
--big adds sparse files of several GiB and the largest headers. Standard library only.
"""
import json
import os
import struct
import sys

import corpus_packs

U64 = 2**64 - 1


class Corpus:
    def __init__(self, root):
        self.root = root
        self.rows = []
        os.makedirs(root, exist_ok=True)

    def path(self, name):
        full = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        return full

    def write(self, name, data, size=None):
        """A file; with size, its rest is a hole."""
        with open(self.path(name), "wb") as f:
            f.write(data)
            if size is not None:
                f.truncate(size)

    def row(self, name, kind, err, why):
        self.rows.append({"file": name, "kind": kind, "expect": "reject" if err else "accept", "err": err or "-", "why": why})

    def case(self, kind, suffix, err, name, data, why, size=None):
        full = "%s/%s%s" % (kind, name, suffix)
        self.write(full, data, size)
        self.row(full, kind, err, why)

    def finish(self):
        names = [r["file"] for r in self.rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        assert not twice, "used twice: %s" % twice
        with open(self.path("MANIFEST.json"), "w") as f:
            json.dump(self.rows, f, indent=1)
            f.write("\n")
        with open(self.path("MANIFEST.tsv"), "w") as f:
            for r in self.rows:
                f.write("\t".join((r["file"], r["kind"], r["expect"], r["err"], r["why"])) + "\n")


# ---- safetensors ----------------------------------------------------------------------------------------------------

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}


def safetensors(header, data=b"", length=None):
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


PLAIN = entry("F32", [2, 2], 0, 16)  # what most cases bend
PLAIN_TEXT = json.dumps(PLAIN)
DATA16 = bytes(range(16))


def only(entry_text, data=DATA16):
    """A file with one tensor whose entry is this text."""
    return safetensors('{"t": %s}' % entry_text, data)


def bent(data=DATA16, **fields):
    """The plain entry with raw JSON text for some fields; None leaves a field out."""
    texts = {"dtype": '"F32"', "shape": "[2, 2]", "data_offsets": "[0, 16]"}
    texts.update(fields)
    return only("{%s}" % ", ".join('"%s": %s' % (k, v) for k, v in texts.items() if v is not None), data)


def u8(shape, begin, end):
    return entry("U8", shape, begin, end)


def good_safetensors():
    every, at = {}, 0
    for name, bits in BITS.items():
        every["of " + name] = entry(name, [4], at, at + bits // 2)
        at += bits // 2
    return {
        "no_tensors": (safetensors("{}"), "an empty object is a complete header"),
        "metadata_only": (safetensors({"__metadata__": {"format": "pt"}}), "metadata without tensors"),
        "plain": (safetensors({"t": PLAIN}, DATA16), "one ordinary tensor"),
        "scalar": (safetensors({"t": entry("F32", [], 0, 4)}, b"\0" * 4), "no dimension: one element"),
        "empty_tensor": (safetensors({"t": entry("F32", [2, 0], 0, 0)}), "a dimension of zero: no bytes"),
        "empty_between": (safetensors({"a": u8([4], 0, 4), "b": entry("F32", [0], 4, 4), "c": u8([4], 4, 8)}, bytes(8)), "a tensor without bytes between two others"),
        "zero_hides_size": (safetensors({"t": u8([0, 2**40], 0, 0)}), "a zero before a huge dimension: the product stays 0"),
        "every_type": (safetensors(every, bytes(at)), "each of the 22 types"),
        "metadata": (safetensors({"__metadata__": {"format": "pt", "title": "\u00e9\0"}, "t": PLAIN}, DATA16), "string values, any text in them"),
        "metadata_null": (safetensors({"__metadata__": None, "t": PLAIN}, DATA16), "null stands for no metadata"),
        "blanks_after": (safetensors(json.dumps({"t": PLAIN}) + " " * 37, DATA16), "the usual padding"),
        "blanks_after_mixed": (safetensors(json.dumps({"t": PLAIN}) + "\r\n\t ", DATA16), "all four blanks of JSON as padding"),
        "blanks_before": (safetensors("\t\n " + json.dumps({"t": PLAIN}), DATA16), "the library takes blanks before the object"),
        "other_order": (safetensors({"z": u8([4], 4, 8), "a": u8([4], 0, 4)}, bytes(8)), "entries not in the order of their data"),
        "name_utf8": (safetensors(json.dumps({"\u6a21\u578b.\U0001f600": PLAIN}, ensure_ascii=False), DATA16), "a name in UTF-8"),
        "name_escaped": (safetensors('{"\\u6a21\\ud83d\\ude00\\n\\"\\/": %s}' % PLAIN_TEXT, DATA16), "a name in escapes, with a surrogate pair"),
        "eight_dims": (safetensors({"t": u8([1, 1, 2, 1, 2, 1, 1, 1], 0, 4)}, bytes(4)), "more dimensions than GGUF has"),
        "max_dims": (safetensors({"t": u8([1] * 32, 0, 1)}, b"\0"), "as many dimensions as are allowed"),
        "nan_inf": (safetensors({"t": entry("F32", [4], 0, 16)}, struct.pack("<4f", float("nan"), float("inf"), -float("inf"), 1e38)), "a reader does not look at values"),
        "odd_address": (safetensors('{"a": %s,"b": %s} ' % (json.dumps(u8([3], 0, 3)), json.dumps(entry("F32", [4], 3, 19))), bytes(19)), "floats at an odd address"),
        "half_bytes": (safetensors({"t": entry("F4", [3, 2], 0, 3)}, bytes(3)), "4-bit elements that fill whole bytes"),
        "unknown_field": (safetensors({"t": dict(PLAIN, later={"x": [1, {"y": None}]})}, DATA16), "fields of later versions are passed over"),
        "name_is_path": (safetensors({"../../etc/passwd": PLAIN}, DATA16), "a tensor name is never a path"),
        "name_long": (safetensors({"n" * (1 << 20): PLAIN}, DATA16), "a name of 1 MiB"),
        "name_controls": (safetensors(json.dumps({"a\x1b[2J\x1b]0;x\x07": PLAIN}), DATA16), "terminal controls in a name"),
        "name_printf": (safetensors({"%s%s%n%99999d": PLAIN}, DATA16), "printf directives in a name"),
        "many": (safetensors({"t%05d" % i: u8([1], i, i + 1) for i in range(10000)}, bytes(10000)), "10 000 tensors: no list is walked for each"),
    }


def bad_safetensors():
    zip_end = b"PK\5\6" + bytes(18)
    two = json.dumps(u8([1], 0, 1)), json.dumps(u8([1], 1, 2))
    shapes = {"negative": "[-2, 2]", "fraction": "[2.0, 2]", "exponent": "[2e0, 2]", "string": '["2", 2]', "null": "null", "nested": "[[2, 2]]", "object": '{"0": 2}',
              "minus_zero": "[-0, 2]", "plus": "[+2, 2]", "leading_zero": "[02, 2]", "hexadecimal": "[0x2, 2]", "two_to_64": "[18446744073709551616]", "bool": "[true, 2]",
              "nan": "[NaN]", "number": "4", "long_number": "[%s]" % ("9" * 1000000), "trailing_comma": "[2, 2,]", "no_comma": "[2 2]"}
    offsets = {"negative": "[-16, 0]", "fraction": "[0, 16.0]", "one": "[16]", "three": "[0, 16, 32]", "none": "[]", "strings": '["0", "16"]', "null": "[null, 16]",
               "object": '{"begin": 0, "end": 16}', "number": "16", "reversed": "[16, 0]", "wrapping": "[18446744073709551600, 0]"}
    pair = '{"t": %s, "t": %s}'
    return {
        "truncated": {
            "empty_file": (b"", "no bytes"),
            "one_byte": (b"\1", "one byte"),
            "seven_bytes": (b"\1" * 7, "a byte less than the length takes"),
            "short_data": (safetensors({"t": PLAIN}, DATA16[:-1]), "the last byte of data is missing"),
            "no_data": (safetensors({"t": PLAIN}), "all data are missing"),
        },
        "header-length": {
            "length_beyond_file": (safetensors("{}", length=1000), "the header would end behind the file"),
            "length_off_by_one": (safetensors("{}", length=3), "the header would end one byte behind the file"),
        },
        "header-too-large": {
            "length_limit": (safetensors("{}", length=100_000_001), "one more than the format allows"),
            "length_sign_bit": (safetensors("{}", length=2**63), "negative as a signed number"),
            "length_all_ones": (safetensors("{}", length=U64), "the largest number"),
            "length_wraps_to_0": (safetensors("{}", length=U64 - 7), "length + 8 wraps to 0"),
            "length_wraps_to_2": (safetensors("{}", length=U64 - 5), "length + 8 wraps to 2"),
            "length_swapped": (struct.pack(">Q", 2) + b"{}", "big-endian length"),
        },
        "json": {
            "length_zero": (struct.pack("<Q", 0), "an empty header"),
            "length_cuts": (safetensors({"t": PLAIN}, DATA16, length=20), "the header ends inside the JSON"),
            "length_cuts_shape": (safetensors('{"t": {"shape": [2', DATA16), "the header ends inside a shape"),
            "length_cuts_offsets": (safetensors('{"t": {"data_offsets": [0,', DATA16), "the header ends inside data_offsets"),
            "words": (safetensors("hello world"), "no JSON at all"),
            "open_brace": (safetensors("{"), "an object that does not end"),
            "root_array": (safetensors("[]"), "an array"),
            "root_string": (safetensors('"x"'), "a string"),
            "root_null": (safetensors("null"), "null"),
            "trailing_comma": (safetensors('{"t": %s,}' % PLAIN_TEXT, DATA16), "a comma before the end"),
            "comment": (safetensors('{/*c*/"t": %s}' % PLAIN_TEXT, DATA16), "a comment"),
            "single_quotes": (safetensors("{'t': %s}" % PLAIN_TEXT, DATA16), "quotes of another language"),
            "something_after": (safetensors(json.dumps({"t": PLAIN}) + "x", DATA16), "a letter after the object"),
            "object_after": (safetensors(json.dumps({"t": PLAIN}) + "{}", DATA16), "a second object"),
            "nul_padding": (safetensors(json.dumps({"t": PLAIN}) + "\0\0\0", DATA16), "NUL bytes as padding"),
            "nul_before": (safetensors("\0" + json.dumps({"t": PLAIN}), DATA16), "a NUL byte before the object"),
            "byte_order_mark": (safetensors(b"\xef\xbb\xbf" + json.dumps({"t": PLAIN}).encode(), DATA16), "a byte-order mark"),
            "utf16": (safetensors(json.dumps({"t": PLAIN}).encode("utf-16-le"), DATA16), "UTF-16"),
            "lone_surrogate": (safetensors('{"\\ud800": %s}' % PLAIN_TEXT, DATA16), "half a surrogate pair"),
            "lone_low_surrogate": (safetensors('{"\\udc00": %s}' % PLAIN_TEXT, DATA16), "the second half of a surrogate pair"),
            "unknown_escape": (safetensors('{"\\x41": %s}' % PLAIN_TEXT, DATA16), "an escape JSON does not have"),
            "escape_not_hex": (safetensors('{"\\u1zzz": %s}' % PLAIN_TEXT, DATA16), "an escape of letters that are no digits"),
            "number_leading_zero": (bent(x="01"), "a leading zero in a field that is passed over"),
            "number_no_fraction": (bent(x="1."), "a point without digits"),
            "number_no_exponent": (bent(x="1e"), "an exponent without digits"),
            "number_minus": (bent(x="-"), "a sign without digits"),
            "number_nan": (bent(x="NaN"), "a number that JSON does not have"),
            "word_cut": (bent(x="tru"), "a word that is cut"),
            "raw_newline": (safetensors('{"a\nb": %s}' % PLAIN_TEXT, DATA16), "a raw control byte in a string"),
            "zeros": (bytes(4096), "a file that was reserved and never written"),
        },
        "utf8": {
            "byte_ff": (safetensors(b'{"\xff": %s}' % PLAIN_TEXT.encode(), DATA16), "a byte that UTF-8 never has"),
            "overlong": (safetensors(b'{"\xc0\x80": %s}' % PLAIN_TEXT.encode(), DATA16), "U+0000 in two bytes"),
            "overlong_3": (safetensors(b'{"\xe0\x9f\xbf": %s}' % PLAIN_TEXT.encode(), DATA16), "U+07FF in three bytes"),
            "overlong_4": (safetensors(b'{"\xf0\x8f\xbf\xbf": %s}' % PLAIN_TEXT.encode(), DATA16), "U+FFFF in four bytes"),
            "byte_f5": (safetensors(b'{"\xf5\x80\x80\x80": %s}' % PLAIN_TEXT.encode(), DATA16), "the start of what is beyond Unicode"),
            "lone_continuation": (safetensors(b'{"\x80": %s}' % PLAIN_TEXT.encode(), DATA16), "a continuation byte alone"),
            "surrogate": (safetensors(b'{"\xed\xa0\x80": %s}' % PLAIN_TEXT.encode(), DATA16), "a surrogate in UTF-8"),
            "cut_sequence": (safetensors(b'{"a\xe6\xa8": %s}' % PLAIN_TEXT.encode(), DATA16), "a sequence without its last byte"),
            "beyond_unicode": (safetensors(b'{"\xf4\x90\x80\x80": %s}' % PLAIN_TEXT.encode(), DATA16), "U+110000"),
        },
        "name": {
            "name_with_nul": (safetensors('{"a\\u0000b": %s}' % PLAIN_TEXT, DATA16), "U+0000 in a name"),
            "names_equal_to_nul": (safetensors('{"a\\u0000b": %s, "a\\u0000c": %s}' % two, b"\1\2"), "two names that are one to C"),
            "name_empty": (safetensors({"": PLAIN}, DATA16), "an empty name"),
        },
        "duplicate": {
            "name_twice": (safetensors(pair % (json.dumps(u8([4], 0, 4)), json.dumps(u8([4], 4, 8))), bytes(8)), "a name twice, with different data"),
            "name_twice_same": (safetensors(pair % (PLAIN_TEXT, PLAIN_TEXT), DATA16), "a name twice, with the same data"),
            "name_twice_escaped": (safetensors('{"a": %s, "\\u0061": %s}' % (PLAIN_TEXT, PLAIN_TEXT), DATA16), "the same name once it is unescaped"),
            "name_twice_shapes": (safetensors(pair % (json.dumps(entry("F32", [4, 1], 0, 16)), PLAIN_TEXT), DATA16), "readers would disagree on the shape"),
            "metadata_twice": (safetensors('{"__metadata__": {}, "__metadata__": {}, "t": %s}' % PLAIN_TEXT, DATA16), "__metadata__ twice"),
            "metadata_key_twice": (safetensors('{"__metadata__": {"k": "1", "k": "2"}, "t": %s}' % PLAIN_TEXT, DATA16), "a metadata key twice"),
            "name_twice_of_many": (safetensors("{%s}" % ", ".join('"t%d": %s' % (i % 19, json.dumps(u8([1], i, i + 1))) for i in range(20)), bytes(20)), "the first name once more behind 19 names"),
            "metadata_key_twice_of_many": (safetensors('{"__metadata__": {%s}}' % ", ".join('"k%d": ""' % (i % 19) for i in range(20))), "a metadata key twice, with 18 between"),
            "dtype_twice": (only('{"dtype": "F32", "dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}'), "dtype twice"),
            "offsets_twice": (only('{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], "data_offsets": [0, 16]}'), "data_offsets twice"),
            "shape_twice": (only('{"dtype": "F32", "shape": [4], "shape": [2, 2], "data_offsets": [0, 16]}'), "shape twice"),
        },
        "json-depth": {
            "deep_root": (safetensors("[" * 1_000_000), "a million open brackets"),
            "deep_field": (only('{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], "x": %s%s}' % ("[" * 20000, "]" * 20000)), "deep nesting in a field that is passed over"),
            "deep_metadata": (safetensors('{"__metadata__": {"k": %s%s}}' % ("[" * 20000, "]" * 20000)), "deep nesting in the metadata"),
            "deep_objects": (safetensors('{"a":' * 100_000), "objects in objects"),
            "depth_65": (only('{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], "x": %s%s}' % ("[" * 63, "]" * 63)), "one level more than allowed"),
        },
        "metadata": {
            "metadata_number": (safetensors({"__metadata__": {"k": 1}, "t": PLAIN}, DATA16), "a value that is a number"),
            "metadata_nested": (safetensors({"__metadata__": {"k": {}}, "t": PLAIN}, DATA16), "a value that is an object"),
            "metadata_array": (safetensors({"__metadata__": [], "t": PLAIN}, DATA16), "an array"),
            "metadata_string": (safetensors({"__metadata__": "x", "t": PLAIN}, DATA16), "a string"),
        },
        "entry": {
            "entry_array": (only('["F32", [2, 2], [0, 16]]'), "fields without names"),
            "entry_null": (only("null"), "null"),
            "entry_number": (only("7"), "a number"),
            "no_dtype": (bent(dtype=None), "no dtype"),
            "no_shape": (bent(shape=None), "no shape"),
            "no_offsets": (bent(data_offsets=None), "no data_offsets"),
        },
        "dtype": {
            "dtype_unknown": (bent(dtype='"F33"'), "a type nobody has"),
            "dtype_lower_case": (bent(dtype='"f32"'), "types are in capitals"),
            "dtype_number": (bent(dtype="0"), "a number"),
            "dtype_object": (bent(dtype='{"F32": null}'), "an object"),
            "dtype_empty": (bent(dtype='""'), "an empty string"),
            "dtype_of_gguf": (bent(dtype='"Q4_0"'), "a type only GGUF has"),
        },
        "shape": dict({"shape_" + n: (bent(shape=s), "shape: " + n.replace("_", " ")) for n, s in shapes.items()}, **{
            "shape_100k_dims": (only('{"dtype": "U8", "shape": [%s], "data_offsets": [0, 1]}' % ",".join(["1"] * 100_000), b"\1"), "100 000 dimensions"),
            "shape_33_dims": (safetensors({"t": u8([1] * 33, 0, 1)}, b"\1"), "one dimension more than allowed"),
            "shape_two_to_63": (safetensors({"t": u8([0, 2**63], 0, 0)}), "a dimension that no signed number holds, beside a zero"),
        }),
        "overflow": {
            "product_is_2_64": (safetensors({"t": u8([2**32, 2**32], 0, 0)}), "the product wraps to 0"),
            "bytes_wrap_to_16": (safetensors({"t": entry("F32", [2**62 + 4], 0, 16)}, DATA16), "the bytes wrap to 16"),
            "bytes_wrap_to_0": (safetensors({"t": entry("F64", [2**61], 0, 0)}), "the bytes wrap to 0"),
            "bits_wrap_to_0": (safetensors({"t": u8([2**61], 0, 0)}), "the bits wrap to 0"),
            "product_before_zero": (safetensors({"t": u8([2**40, 2**40, 0], 0, 0)}), "overflow before the zero is reached"),
            "product_behind_zero": (safetensors({"t": u8([0, 2**40, 2**40], 0, 0)}), "overflow that a zero in front would hide"),
            "end_is_max": (safetensors({"t": u8([U64], 0, U64)}), "an end at 2^64-1"),
        },
        "misaligned": {
            "half_byte": (safetensors({"t": entry("F4", [3], 0, 1)}, b"\0"), "three 4-bit elements"),
            "six_bits": (safetensors({"t": entry("F6_E2M3", [3], 0, 2)}, b"\0\0"), "three 6-bit elements"),
        },
        "offsets": {"offsets_" + n: (bent(data_offsets=s), "data_offsets: " + n.replace("_", " ")) for n, s in offsets.items()},
        "hole": {
            "hole_first": (safetensors({"t": entry("F32", [2, 2], 8, 24)}, bytes(24)), "bytes before the first tensor"),
            "hole_between": (safetensors({"a": u8([4], 0, 4), "b": u8([4], 8, 12)}, bytes(12)), "bytes between two tensors"),
            "hole_empty_tensor": (safetensors({"a": u8([4], 0, 4), "z": u8([0], 100, 100)}, bytes(4)), "an empty tensor far behind the end"),
        },
        "overlap": {
            "overlap": (safetensors({"a": u8([8], 0, 8), "b": u8([8], 4, 12)}, bytes(12)), "four bytes in two tensors"),
            "all_the_same": (safetensors({"w%d" % i: PLAIN for i in range(10)}, DATA16), "ten tensors on the same bytes"),
        },
        "size-mismatch": {
            "too_few_bytes": (safetensors({"t": entry("F32", [2, 2], 0, 4)}, bytes(4)), "4 bytes for 4 floats"),
            "too_many_bytes": (safetensors({"t": entry("F32", [2, 2], 0, 32)}, bytes(32)), "32 bytes for 4 floats"),
            "two_to_53": (safetensors({"t": u8([2**53 + 1], 0, 2**53)}), "equal only for who counts in doubles"),
        },
        "trailing-data": {
            "one_byte_more": (safetensors({"t": PLAIN}, DATA16 + b"\0"), "a byte after the data"),
            "zip_behind": (safetensors({"t": PLAIN}, DATA16 + zip_end), "also a ZIP archive"),
            "data_without_tensor": (safetensors("{}", b"junk"), "data and no tensor"),
        },
        "lfs-pointer": {"lfs_pointer": (LFS, "the note Git LFS leaves in place of a file")},
        "html": {"html": (b"<!DOCTYPE html><html><body>401 Unauthorized</body></html>", "the error page of a web server")},
        "is-gguf": {"gguf": (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "a GGUF file under this name")},
        "is-pickle": {
            "zip_pickle": (b"PK\3\4" + bytes(60), "how PyTorch archives begin"),
            "bare_pickle": (b"\x80\x02}q\x00." + bytes(20), "an empty pickled dict"),
        },
    }


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"

# ---- GGUF -----------------------------------------------------------------------------------------------------------

KV_U8, KV_I8, KV_U16, KV_I16, KV_U32, KV_I32, KV_F32, KV_BOOL, KV_STR, KV_ARR, KV_U64, KV_I64, KV_F64 = range(13)
PACK = {KV_U8: "B", KV_I8: "b", KV_U16: "H", KV_I16: "h", KV_U32: "I", KV_I32: "i", KV_F32: "f", KV_BOOL: "B", KV_U64: "Q", KV_I64: "q", KV_F64: "d"}
T_F32, T_F16, T_Q4_0, T_Q4_K, T_I8, T_F64 = 0, 1, 2, 12, 24, 28


def string(s, length=None):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s) if length is None else length) + s


def scalar(kind, value):
    return string(value) if kind == KV_STR else struct.pack("<" + PACK[kind], value)


def key(name, kind, value, name_length=None):
    """value: bytes are taken as they are, a pair (type, items) is an array."""
    if isinstance(value, bytes):
        body = value
    elif kind == KV_ARR:
        body = struct.pack("<IQ", value[0], len(value[1])) + b"".join(scalar(value[0], v) for v in value[1])
    else:
        body = scalar(kind, value)
    return string(name, name_length) + struct.pack("<I", kind) + body


def tensor(name, dims, kind, offset, ndims=None, name_length=None):
    return (string(name, name_length) + struct.pack("<I", len(dims) if ndims is None else ndims) + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset))


HPARAMS = {"general.architecture": (KV_STR, "llama"), "llama.context_length": (KV_U32, 32), "llama.embedding_length": (KV_U32, 32), "llama.block_count": (KV_U32, 1),
           "llama.feed_forward_length": (KV_U32, 32), "llama.attention.head_count": (KV_U32, 1), "llama.attention.layer_norm_rms_epsilon": (KV_F32, 1e-5)}
QUERY = "blk.0.attn_q.weight"
ONE = (tensor(QUERY, [32, 2], T_F32, 0),)  # what most cases bend
DATA256 = struct.pack("<64f", *[i / 64 for i in range(64)])


def hparams(**changes):
    """The usual keys; a change of None leaves one out. Dots are written as double underscores."""
    kv = dict(HPARAMS)
    for k, v in changes.items():
        k = k.replace("__", ".")
        if v is None:
            del kv[k]
        else:
            kv[k] = v
    return [key(k, t, v) for k, (t, v) in kv.items()]


def gguf(*more, tensors=ONE, data=DATA256, keys=None, version=3, magic=b"GGUF", ntensors=None, nkeys=None, alignment=32, pad=True):
    keys = (hparams() if keys is None else keys) + list(more)
    head = magic + struct.pack("<IQQ", version, len(tensors) if ntensors is None else ntensors, len(keys) if nkeys is None else nkeys)
    head += b"".join(keys) + b"".join(tensors)
    if pad and tensors:
        head += bytes(-len(head) % alignment)
    return head + data


def three_tensors():
    """A tiny model that can be quantized."""
    infos, data = [], b""
    for name, dims in (("token_embd.weight", [32, 4]), (QUERY, [32, 32]), ("output.weight", [32, 4])):
        infos.append(tensor(name, dims, T_F32, len(data)))
        data += struct.pack("<%df" % (dims[0] * dims[1]), *[((i * 37) % 101 - 50) / 77 for i in range(dims[0] * dims[1])])
    return {"tensors": infos, "data": data}


def good_gguf(big):
    numbers = [t for t in PACK]
    scalars = [key("a.u8", KV_U8, 255), key("a.i8", KV_I8, -1), key("a.u16", KV_U16, 65535), key("a.i16", KV_I16, -1), key("a.u32", KV_U32, 2**32 - 1), key("a.i32", KV_I32, -1),
               key("a.f32", KV_F32, float("inf")), key("a.bool", KV_BOOL, 1), key("a.str", KV_STR, ""), key("a.u64", KV_U64, U64), key("a.i64", KV_I64, -1), key("a.f64", KV_F64, float("nan"))]
    arrays = [key("b.%d" % t, KV_ARR, (t, [1, 0, 1])) for t in numbers] + [key("b.strings", KV_ARR, (KV_STR, ["", "x", "\u6a21"]))]

    def one(name, dims, kind=T_F32, data=DATA256):
        return gguf(tensors=[tensor(name, dims, kind, 0)], data=data)

    cases = {
        "nothing": (gguf(keys=[], tensors=[], data=b""), "no keys, no tensors"),
        "one": (gguf(), "one tensor"),
        "three": (gguf(**three_tensors()), "three tensors: can be quantized"),
        "version_2": (gguf(version=2), "version 2"),
        "all_scalars": (gguf(*scalars), "a key of every scalar type"),
        "all_arrays": (gguf(*arrays), "a key of every array type"),
        "empty_arrays": (gguf(key("b.e", KV_ARR, (KV_STR, [])), key("b.f", KV_ARR, (KV_U8, []))), "arrays without items"),
        "value_with_nul": (gguf(key("a.s", KV_STR, "x\0y")), "NUL in a value is data"),
        "value_not_utf8": (gguf(key("a.s", KV_STR, string(b"\xff\xfe"))), "values are bytes"),
        "key_longest": (gguf(key("k" * 65535, KV_U8, 1)), "the longest key"),
        "alignment_64": (gguf(key("general.alignment", KV_U32, 64), alignment=64), "an alignment of 64"),
        "alignment_8": (gguf(key("general.alignment", KV_U32, 8), alignment=8), "the smallest alignment"),
        "alignment_4096": (gguf(key("general.alignment", KV_U32, 4096), data=DATA256 + bytes(4096 - 256), alignment=4096), "an alignment of a page"),
        "name_longest": (one("n" * 63, [32, 2]), "the longest tensor name"),
        "dims_1": (one("x.weight", [64]), "one dimension"),
        "dims_4": (one("x.weight", [32, 2, 1, 1]), "four dimensions"),
        "dims_0": (one("x.weight", [], data=bytes(32)), "no dimension: one element"),
        "empty_row": (one("x.weight", [0], data=b""), "a row without elements"),
        "no_rows": (gguf(tensors=[tensor("x.weight", [32, 0], T_F32, 0), tensor(QUERY, [32, 2], T_F32, 0)]), "no rows: a divisor of zero for some readers"),
        "bytes_behind": (gguf(data=DATA256 + b"junk"), "bytes after the last tensor"),
        "no_last_padding": (one("x.weight", [3], data=bytes(12)), "the last tensor is not padded"),
        "integers": (gguf(tensors=[tensor("a", [32], T_I8, 0), tensor("b", [4], T_F64, 32)], data=bytes(64)), "integers and doubles"),
        "value_controls": (gguf(key("general.name", KV_STR, "\x1b[2J\x1b]0;pwn\x07")), "terminal controls in a value"),
        "name_printf": (one("%s%n%n.weight", [32, 2]), "printf directives in a name"),
        "nan_inf": (gguf(data=struct.pack("<64f", *([float("nan")] * 32 + [float("inf")] * 32))), "a reader does not look at values"),
        "blocks": (one(QUERY, [32, 2], T_Q4_0, bytes(64)), "two blocks and padding"),
        "keys_20k": (gguf(*[key("k.%06d" % i, KV_U8, 1) for i in range(20000)]), "20 000 keys: no list is walked for each"),
        "unknown_architecture": (gguf(keys=hparams(general__architecture=(KV_STR, "nosuch"))), "an architecture nobody knows"),
        "layer_number_huge": (one("blk.99999999999999999999.ffn_down.weight", [32, 2]), "a layer number that fits no integer is none"),
        "layer_number_negative": (one("blk.-1.ffn_down.weight", [32, 2]), "a negative layer number is none"),
        "no_attention_no_heads": (gguf(keys=hparams(llama__attention__head_count=(KV_U32, 0)), tensors=[tensor("blk.0.ssm_in.weight", [32, 2], T_F32, 0)]), "state-space models have no heads"),
        "split_count_1": (gguf(key("split.no", KV_U16, 0), key("split.count", KV_U16, 1)), "a set of one file"),
    }
    if big:
        cases["keys_200k"] = (gguf(*[key("k.%06d" % i, KV_U8, 1) for i in range(200_000)]), "200 000 keys in linear time")
        cases["tensors_60k"] = (gguf(tensors=[tensor("t%06d" % i, [8], T_F32, 32 * i) for i in range(60_000)], data=bytes(32 * 60_000)), "60 000 tensors in linear time")
    return cases


def bad_gguf():
    full = gguf()
    header_end = len(gguf(pad=False, data=b""))
    lies = {"minus_1": U64, "2_63": 2**63, "2_62": 2**62, "2_56": 2**56, "1e9": 10**9}
    lengths = {"max": U64, "wraps": U64 - 7, "2_63": 2**63, "1_gib": 2**30, "below_1_gib": 2**30 - 1, "64_mib": 2**26}
    types = (13, 14, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    counts = {"u8_max": (KV_U8, U64), "u8_2_63": (KV_U8, 2**63), "u8_1e9": (KV_U8, 10**9), "u64_2_61": (KV_U64, 2**61), "u64_wraps_to_16": (KV_U64, 2**61 + 2),
              "u32_2_62": (KV_U32, 2**62), "f64_1e9": (KV_F64, 10**9), "strings_1e9": (KV_STR, 10**9), "strings_2_60": (KV_STR, 2**60), "strings_2_61": (KV_STR, 2**61),
              "bools_2_40": (KV_BOOL, 2**40), "u8_beyond_file": (KV_U8, 2**20)}

    def one(name, dims, kind=T_F32, offset=0, data=DATA256, **more):
        return gguf(tensors=[tensor(name, dims, kind, offset, **more)], data=data)

    def two(a, b, data=DATA256):
        return gguf(tensors=[tensor("a", *a), tensor("b", *b)], data=data)

    def array(kind, count, rest=bytes(16)):
        return gguf(key("a.x", KV_ARR, struct.pack("<IQ", kind, count) + rest))

    def alignment(value, kind=KV_U32, at=32):
        return gguf(key("general.alignment", kind, value), alignment=at)

    def model(**changes):
        return gguf(keys=hparams(**changes), **three_tensors())

    def split(no, count, total=(KV_I32, 3)):
        return gguf(key("split.no", *no), key("split.count", *count), key("split.tensors.count", *total))

    cases = {
        "truncated": {
            "empty_file": (b"", "no bytes"),
            "magic_alone": (b"GGUF", "four bytes"),
            "short_data": (full[:-1], "the last byte of data is missing"),
            "no_data": (gguf(data=b""), "all data are missing"),
            "keys_claimed_1000": (gguf(nkeys=1000), "1000 keys claimed in a file too small for them"),
            "tensors_claimed_1000": (gguf(ntensors=1000), "1000 tensors claimed in a file too small for them"),
            "no_padding": (gguf(pad=False, data=b""), "the file ends before its data begin"),
            "no_padding_no_data": (gguf(tensors=[tensor("x", [0], T_F32, 0)], pad=False, data=b""), "the same, with a tensor that has no bytes"),
            "lying_size": (one(QUERY, [2**20, 64], T_F16, data=bytes(64)), "128 MiB declared, 64 bytes there"),
            "page_edge": (one(QUERY, [32, 4096], data=bytes(4096 * 3)), "the tensor ends pages behind the file"),
        },
        "magic": {
            "magic_old": (gguf(magic=b"lmgg"), "the format before GGUF"),
            "magic_swapped": (gguf(magic=b"FUGG"), "the bytes of the magic reversed"),
            "magic_lower_case": (gguf(magic=b"gguf"), "lower case"),
            "zeros": (bytes(4096), "what an interrupted writer leaves"),
        },
        "lfs-pointer": {"lfs_pointer": (LFS, "the note Git LFS leaves in place of a file")},
        "is-safetensors": {"safetensors": (safetensors({"t": PLAIN}, DATA16), "a safetensors file under this name")},
        "version": dict({"version_%x" % v: (gguf(version=v), "version %#x" % v) for v in (0, 1, 4, 0x7FFFFFFF, 0xFFFFFFFF)},
                        big_endian=(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "a file for big-endian machines")),
        "count": {
            "keys_claimed_alone": (b"GGUF" + struct.pack("<IQQ", 3, 0, 10**9), "24 bytes that claim 1e9 keys"),
            "tensors_claimed_alone": (b"GGUF" + struct.pack("<IQQ", 3, 10**9, 0), "24 bytes that claim 1e9 tensors"),
        },
        "string-length": {
            "string_in_array": (gguf(key("a.x", KV_ARR, struct.pack("<IQ", KV_STR, 2) + string("x") + string("y", U64))), "a string in an array claims 2^64-1 bytes"),
            "name_length_max": (one("x", [32, 2], name_length=U64), "a tensor name claims 2^64-1 bytes"),
            "one_key_too_many": (gguf(nkeys=len(HPARAMS) + 1), "the first tensor is read as a key, the next bytes as a length"),
        },
        "key": {
            "key_too_long": (gguf(key("k" * 65536, KV_U8, 1)), "a key of 65536 bytes"),
            "key_empty": (gguf(key("", KV_U8, 1)), "an empty key"),
            "key_with_nul": (gguf(key("a\0b", KV_U8, 1)), "NUL in a key"),
            "key_not_utf8": (gguf(key(b"\xff\xfe", KV_U8, 1)), "a key that is not UTF-8"),
        },
        "duplicate": {
            "key_twice_of_many": (gguf(*[key("k.%d" % (i % 99), KV_U8, 1) for i in range(100)]), "a key twice, with 98 between"),
            "key_twice": (gguf(key("a.x", KV_U8, 1), key("a.x", KV_U8, 2)), "a key twice"),
            "alignment_twice": (gguf(key("general.alignment", KV_U32, 32), key("general.alignment", KV_U32, 64)), "two alignments"),
            "name_twice": (gguf(tensors=[tensor(QUERY, [32, 1], T_F32, 0), tensor(QUERY, [32, 1], T_F32, 128)]), "a tensor name twice"),
        },
        "kv-type": {
            "array_of_arrays": (gguf(key("a.x", KV_ARR, struct.pack("<IQIQB", KV_ARR, 1, KV_U8, 1, 0))), "an array of arrays"),
            "arrays_nested_5k": (gguf(key("a.x", KV_ARR, struct.pack("<IQ", KV_ARR, 1) * 5000 + struct.pack("<IQ", KV_U8, 0))), "arrays nested 5000 deep"),
            "alignment_u64": (alignment(32, KV_U64), "an alignment of another type"),
            "alignment_string": (alignment("32", KV_STR), "an alignment in words"),
            "alignment_array": (alignment((KV_U32, [32]), KV_ARR), "an array of alignments"),
            "alignment_i32": (alignment(32, KV_I32), "a signed alignment"),
            "architecture_number": (gguf(keys=hparams(general__architecture=(KV_U32, 1))), "an architecture that is a number"),
            "architecture_array": (gguf(keys=hparams(general__architecture=(KV_ARR, (KV_STR, ["llama"])))), "an array of architectures"),
            "block_count_string": (model(llama__block_count=(KV_STR, "1")), "a block_count in words"),
            "head_count_float": (model(llama__attention__head_count=(KV_F32, 1.0)), "a head_count with a fraction"),
            "split_no_u32": (split((KV_U32, 0), (KV_U16, 1)), "a split.no of 32 bits"),
            "split_total_u32": (split((KV_U16, 0), (KV_U16, 1), (KV_U32, 1)), "an unsigned split.tensors.count"),
            "split_count_string": (split((KV_U16, 0), (KV_STR, "3")), "a split.count in words"),
        },
        "array-length": {"array_" + n: (array(*c), "%d items are claimed" % c[1]) for n, c in counts.items()},
        "kv-value": {
            "bool_2": (gguf(key("a.b", KV_BOOL, 2)), "a bool of 2"),
            "bool_array_255": (gguf(key("a.b", KV_ARR, (KV_BOOL, [0, 1, 255]))), "a bool of 255 in an array"),
        },
        "alignment": dict({"alignment_%d" % a: (alignment(a, at=a if a in (1, 2, 4) else 32), "not a power of two from 8 to 2^20") for a in (0, 1, 2, 3, 4, 33, 48, 2**30, 2**31, 2**32 - 1)}),
        "name": {
            "name_64": (one("n" * 64, [32, 2]), "a name of 64 bytes"),
            "name_10k": (one("n" * 10240, [32, 2]), "a name of 10 KiB"),
            "name_empty": (one("", [32, 2]), "an empty name"),
            "name_with_nul": (one("a\0b", [32, 2]), "NUL in a name"),
            "name_not_utf8": (one(b"\xff\xfe", [32, 2]), "a name that is not UTF-8"),
            "one_tensor_too_many": (gguf(ntensors=2), "padding is read as a tensor without a name"),
        },
        "dims": {
            "dims_5": (one(QUERY, [32, 2, 1, 1, 1]), "five dimensions"),
            "dims_max": (one(QUERY, [32, 2], ndims=2**32 - 1), "2^32-1 dimensions"),
            "dim_minus_1": (one(QUERY, [U64, 2]), "a dimension of -1"),
            "dim_2_63": (one(QUERY, [2**63]), "a dimension of 2^63"),
        },
        "overflow": {
            "dim_max": (one(QUERY, [2**63 - 1]), "a dimension of 2^63-1"),
            "product_2_64": (one(QUERY, [2**32, 2**32]), "the product wraps to 0"),
            "product_wraps_to_4": (one(QUERY, [4194305, 4194305, 211106198978564]), "the product wraps to 4"),
            "product_2_63": (one(QUERY, [2**31, 2**32]), "a negative product"),
            "product_behind_zero": (one("x.weight", [32, 0, 2**40, 2**40], data=b""), "overflow that a zero in front would hide"),
            "padding_wraps": (two(([2**62 - 1], T_F32, 0), ([8], T_F32, 0), bytes(32)), "2^64-4 bytes: their padding wraps to 0"),
            "bytes_2_63": (one(QUERY, [2**60], T_F64), "2^63 bytes"),
            "sum_wraps": (gguf(tensors=[tensor("a", [2**61], T_F32, 0), tensor("b", [2**61], T_F32, 2**63), tensor("c", [8], T_F32, 0)]), "the sizes add up to 2^64"),
            "sum_2_63": (gguf(tensors=[tensor("a", [2**60 - 8], T_F32, 0), tensor("b", [2**60 + 8], T_F32, 2**62 - 32)]), "the sizes add up to 2^63"),
            "blocks_2_62": (one(QUERY, [2**62, 1], T_Q4_0), "2^62 elements in blocks"),
        },
        "tensor-type": {"type_%x" % t: (one(QUERY, [32, 2], t), "type number %#x" % t) for t in (4, 5, 31, 32, 33, 36, 37, 38, 43, 100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)},
        "block": {
            "row_33": (one(QUERY, [33, 2], T_Q4_0), "rows of 33 in blocks of 32"),
            "row_32_of_256": (one(QUERY, [32, 8], T_Q4_K), "rows of 32 in blocks of 256"),
        },
        "offset": {
            "offset_1": (one(QUERY, [32, 2], offset=1), "not aligned"),
            "offset_hole": (two(([8], T_F32, 0), ([8], T_F32, 64)), "a hole between tensors"),
            "offset_hole_first": (one(QUERY, [32, 2], offset=32), "a hole before the first tensor"),
            "offset_overlap": (two(([32], T_F32, 0), ([32], T_F32, 0)), "two tensors on the same bytes"),
            "offset_order": (two(([32], T_F32, 128), ([32], T_F32, 0)), "the second before the first"),
            "offset_max": (one(QUERY, [32, 2], offset=U64 - 31), "2^64-32"),
            "offset_behind_file": (one(QUERY, [32, 2], offset=4096), "behind the end of the file"),
        },
        "arch": {"architecture_missing": (gguf(keys=hparams(general__architecture=None)), "no general.architecture: a container, not a model")},
        "hparam": dict({"block_count_%d" % n: (model(llama__block_count=(KV_U32, n)), "%d blocks against 1" % n) for n in (0, 66, 513, 10**9, 2**32 - 1)}, **{
            "block_count_0_no_layers": (gguf(keys=hparams(llama__block_count=(KV_U32, 0)), tensors=[tensor("token_embd.weight", [32, 2], T_F32, 0)]), "no blocks, and no layers"),
            "block_count_65536": (gguf(keys=hparams(llama__block_count=(KV_U32, 65536)), tensors=[tensor("token_embd.weight", [32, 2], T_F32, 0)]), "more blocks than any model has"),
            "block_count_too_small": (gguf(tensors=[tensor("blk.1.attn_q.weight", [32, 2], T_F32, 0)]), "a tensor of layer 1 in a model of one layer"),
            "head_count_0": (model(llama__attention__head_count=(KV_U32, 0)), "no heads where there is attention"),
        }),
        "split": {
            "split_alone": (split((KV_U16, 0), (KV_U16, 3)), "one of three whose name does not tell the others"),
            "split_no_5_of_3": (split((KV_U16, 5), (KV_U16, 3)), "number 5 of 3"),
            "split_no_5_of_1": (split((KV_U16, 5), (KV_U16, 1)), "number 5 of a single file"),
            "split_total_negative": (split((KV_U16, 0), (KV_U16, 1), (KV_I32, -1)), "a negative number of tensors"),
        },
    }
    cuts = [3, 7, 8, 15, 16, 23, 24, 31, 40, 55, 100, 200] + [header_end - n for n in (1, 8, 9, 12, 13, 20, 28, 29, 32)]
    for cut in sorted(set(cuts)):
        cases["truncated"]["cut_%03d" % cut] = (full[:cut], "cut after byte %d" % cut)
    for name, n in lies.items():
        cases["count"]["keys_" + name] = (gguf(nkeys=n), "a number of keys that cannot be")
        cases["count"]["tensors_" + name] = (gguf(ntensors=n), "a number of tensors that cannot be")
    for name, n in lengths.items():
        cases["string-length"]["key_length_" + name] = (gguf(key("k", KV_U8, 1, name_length=n)), "a key claims %#x bytes" % n)
        cases["string-length"]["value_length_" + name] = (gguf(key("a.s", KV_STR, string("x", n))), "a value claims %#x bytes" % n)
    for t in types:
        cases["kv-type"]["value_type_%x" % t] = (gguf(key("a.x", t, bytes(8))), "value type %#x" % t)
        cases["kv-type"]["array_type_%x" % t] = (array(t, 1, bytes(8)), "array type %#x" % t)
    return cases


def gguf_sets(corpus):
    """Split sets: the row names the member that is opened."""
    def member(no, count, names, total=None, arch=None):
        keys = [key("split.no", KV_U16, no), key("split.count", KV_U16, count)]
        if total is not None:
            keys.append(key("split.tensors.count", KV_I32, total))
        if no == 0:
            keys = hparams() + keys
        if arch:
            keys.insert(0, key("general.architecture", KV_STR, arch))
        return gguf(keys=keys, tensors=[tensor(n, [8], T_F32, 32 * i) for i, n in enumerate(names)], data=bytes(32 * len(names)))

    first, second = member(0, 2, ["a", "b"], 3), member(1, 2, ["c"], 3)
    sets = {
        "complete": (None, 1, first, second, "two files, opened by the first"),
        "by_second": (None, 2, first, second, "two files, opened by the second"),
        "incomplete": ("missing-shard", 1, first, None, "the second is missing"),
        "wrong_number": ("split", 1, first, member(0, 2, ["c"], 3), "the second says it is the first"),
        "wrong_total": ("split", 1, member(0, 2, ["a", "b"], 4), second, "one tensor fewer than announced"),
        "name_in_both": ("duplicate", 1, first, member(1, 2, ["a"], 3), "a tensor in both files"),
        "two_architectures": ("split", 1, first, member(1, 2, ["c"], 3, arch="gemma"), "files of different models"),
        "second_cut": ("truncated", 1, first, second[:-1], "the second is cut"),
        "first_count": ("split", 1, member(0, 3, ["a", "b"], 3), second, "the first says there are three"),
        "other_count": ("split", 1, first, member(1, 3, ["c"], 3), "the second says there are three"),
        "not_split": (None, 1, gguf(), None, "the name of a set, the content of a whole model"),
    }
    for name, (err, opened, one, other, why) in sets.items():
        for no, data in ((1, one), (2, other)):
            if data is not None:
                corpus.write("gguf/set_%s/m-%05d-of-00002.gguf" % (name, no), data)
        corpus.row("gguf/set_%s/m-%05d-of-00002.gguf" % (name, opened), "gguf", err, why)


# ---- directories with an index --------------------------------------------------------------------------------------

INDEX = "model.safetensors.index.json"


def index_cases(corpus):
    a, b = safetensors({"a": PLAIN}, DATA16), safetensors({"b": PLAIN}, DATA16)
    shards = {"m-1.safetensors": a, "m-2.safetensors": b}

    def case(name, err, why, index=None, files=shards, links=(), fifo=None, folder=None):
        at = "index/" + name + "/"
        for n, data in files.items():
            corpus.write(at + n, data)
        if index is not None:
            corpus.write(at + INDEX, index if isinstance(index, bytes) else json.dumps(index).encode())
        for n, target in links:
            if not os.path.lexists(corpus.path(at + n)):
                os.symlink(target, corpus.path(at + n))
        if fifo and not os.path.exists(corpus.path(at + fifo)):
            os.mkfifo(corpus.path(at + fifo))
        os.makedirs(corpus.path(at + (folder or "")), exist_ok=True)
        corpus.row(at[:-1], "index", err, why)

    def mapped(**files):
        return {"weight_map": {t: f if "." in f or not f else "m-%s.safetensors" % f for t, f in files.items()}}

    both = {"metadata": {"total_size": 32}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    case("two_shards", None, "two shards", both)
    case("hub_cache", None, "links to blobs, as the hub's cache has them", mapped(a="1"), {"../blobs/5ha": a}, [("m-1.safetensors", "../blobs/5ha")])
    case("total_size_wrong", None, "a wrong total_size is only noted", dict(both, metadata={"total_size": 1}))
    case("extra_shard", None, "a shard the index does not name is ignored with a note", mapped(a="1"))
    case("other_metadata", None, "metadata nobody knows", dict(both, metadata=["x", {"total_size": [1]}], later={"x": 1}))
    case("single_file", None, "no index, one model.safetensors", files={"model.safetensors": a})
    case("other_single_file", None, "no index, one file of another name", files={"weights.safetensors": a})
    case("single_gguf", None, "one GGUF file", files={"m.gguf": gguf()})
    case("single_and_gguf", None, "safetensors go before GGUF", files={"model.safetensors": a, "m.gguf": gguf()})

    case("missing_shard", "missing-shard", "a shard that is not there", mapped(a="1", z="9"))
    case("dangling_link", "missing-shard", "a link to a blob that is not there", mapped(a="1"), {}, [("m-1.safetensors", "../blobs/none")])
    paths = {"up": "../two_shards/m-1.safetensors", "absolute": "/etc/passwd", "dot": ".", "dots": "..", "empty": "", "backslash": "..\\m-1.safetensors",
             "nul": "m-1.safetensors\0.txt", "nul_inside": "m\0-1.safetensors", "down_and_up": "x/../../two_shards/m-1.safetensors", "device": "/dev/zero", "proc": "/proc/self/mem",
             "url": "https://example.invalid/x.safetensors", "long": "x" * 5000, "suffix": "m-1.txt", "component_256": "x" * 244 + ".safetensors"}
    for name, path in paths.items():
        case("path_" + name, "shard-path", "a shard that is not a file beside the index", {"weight_map": {"a": path}})
    case("pickle_shard", "is-pickle", "the index of a pickled model", {"weight_map": {"a": "pytorch_model-00001.bin"}})
    case("link_to_device", "not-a-file", "a link to a device without end", mapped(a="z"), links=[("m-z.safetensors", "/dev/zero")])
    case("link_loop", "io", "a link to itself", mapped(a="l"), links=[("m-l.safetensors", "m-l.safetensors")])
    case("fifo", "not-a-file", "a named pipe: opening must not wait", mapped(a="p"), fifo="m-p.safetensors")
    case("folder", "not-a-file", "a directory", mapped(a="d"), folder="m-d.safetensors")
    case("no_map", "index", "no weight_map", {"metadata": {}})
    case("map_array", "index", "an array", {"weight_map": []})
    case("map_number", "index", "a number for a file name", {"weight_map": {"a": 1}})
    case("map_null", "index", "null for a file name", {"weight_map": {"a": None}})
    case("root_array", "index", "an array for the whole", [])
    case("name_twice", "duplicate", "a tensor in two shards", b'{"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors","b":"m-2.safetensors"}}')
    case("map_twice", "duplicate", "two maps", b'{"weight_map":{"a":"m-1.safetensors"},"weight_map":{"b":"m-2.safetensors"}}')
    case("tensor_elsewhere", "index-mismatch", "a tensor its shard does not have", mapped(a="2", b="2"))
    case("tensors_swapped", "index-mismatch", "each tensor in the other shard", mapped(a="2", b="1"))
    case("tensor_unlisted", "index-mismatch", "a tensor the index does not name", mapped(a="1"), {"m-1.safetensors": safetensors({"a": u8([1], 0, 1), "x": u8([1], 1, 2)}, b"\1\2")})
    case("two_homes", "index-mismatch", "a tensor in both shards", both, {"m-1.safetensors": a, "m-2.safetensors": safetensors({"a": u8([1], 0, 1), "b": u8([1], 1, 2)}, b"\1\2")})
    case("not_json", "json", "not JSON", b"<html>")
    case("byte_order_mark", "json", "a byte-order mark", b"\xef\xbb\xbf" + json.dumps(both).encode())
    case("not_utf8", "utf8", "not UTF-8", b'{"weight_map":{"\xff":"m-1.safetensors"}}')
    case("empty", "json", "no bytes", b"")
    case("something_after", "json", "a letter after the index", json.dumps(both).encode() + b"x")
    case("cut", "json", "the index is cut", json.dumps(both).encode()[:-1])
    case("bad_metadata", "json", "metadata that is no JSON", b'{"metadata": {"x": [1,]}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}')
    case("bad_other_field", "json", "another field that is no JSON", b'{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}, "x": [1,]}')
    case("bad_metadata_array", "json", "metadata in an array that is no JSON", b'{"metadata": [1,], "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}')
    case("too_many_shards", "count", "10 001 shards", {"weight_map": {"t%d" % i: "m-%d.safetensors" % i for i in range(10001)}}, {})
    case("deep", "json-depth", "100 000 open brackets", b'{"weight_map":' + b"[" * 100_000)
    case("lfs_pointer", "lfs-pointer", "the note Git LFS leaves in place of a file", LFS)
    case("shard_cut", "truncated", "the second shard is cut", both, {"m-1.safetensors": a, "m-2.safetensors": b[:-1]})
    case("index_and_single", "ambiguous", "which one is meant?", mapped(a="1"), {"model.safetensors": a, "m-1.safetensors": a})
    case("two_singles", "ambiguous", "two files and no index", files={"x.safetensors": a, "y.safetensors": b})
    case("two_ggufs", "ambiguous", "two GGUF files that are no set", files={"x.gguf": gguf(), "y.gguf": gguf()})
    case("only_pickles", "is-pickle", "a model in pickles", files={"pytorch_model.bin": b"PK\3\4" + bytes(60), "config.json": b"{}"})
    case("nothing", "no-model", "no model", files={"config.json": b"{}"})


# ---- merge recipes --------------------------------------------------------------------------------------------------


def config_cases(corpus):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join("%s: &%s [%s]\n" % (c, c, ",".join(["*" + p] * 9)) for p, c in zip("abcdefgh", "bcdefghi"))
    pair = "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: %s}\n  - model: b\n    parameters: {weight: %s}\n"
    cases = {
        "alias_bomb": ("alias", bomb, "aliases of aliases: 9^9 leaves"),
        "alias_unknown": ("alias", "merge_method: *nowhere\n", "an alias of nothing"),
        "alias_in_itself": ("alias", "models: &a [*a]\n", "an alias inside what it stands for"),
        "tag_on_word": ("tag", "merge_method: !!str linear\n", "a tag before a word"),
        "key_list": ("yaml", "? [merge_method]\n: linear\n", "a list as a key"),
        "key_merge": ("yaml", "a: &a {merge_method: linear}\nb:\n  <<: *a\n", "a merge key"),
        "nul_escaped": ("yaml", 'merge_method: "a\\0b"\n', "a NUL that is made by an escape"),
        "python_tag": ("tag", "!!python/object/apply:os.getcwd []\n", "a tag that asks for code"),
        "deep": ("depth", "[" * 100_000, "deep nesting"),
        "key_twice": ("duplicate", "merge_method: linear\nmerge_method: slerp\n", "a key twice"),
        "tabs": ("yaml", "models:\n\t- model: a\n", "tabs as indentation"),
        "unclosed": ("yaml", "models: [a, b\n", "a list that does not end"),
        "unknown_key": ("unknown-key", "merge_method: linear\nmerge_metod: slerp\n", "a key that is misspelt"),
        "weight_nan": ("value", "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: .nan}\n", "a weight that is no number"),
        "weights_zero": ("weights", pair % (0, 0) + "parameters: {normalize: true}\n", "weights that add up to 0"),
        "t_overflows": ("recipe", "merge_method: slerp\nparameters: {t: 1e400}\n", "a number that is infinite"),
        "nul": ("encoding", b"merge_method: linear\0\n", "a NUL byte"),
        "utf16": ("encoding", "merge_method: linear\n".encode("utf-16"), "UTF-16"),
        "not_utf8": ("encoding", b"merge_method: \xff\n", "a byte that UTF-8 never has"),
        "too_large": ("too-large", "#" * (1 << 20) + "\n", "a recipe of more than 1 MiB"),
        "empty": ("recipe", "", "no bytes"),
    }
    for name, (err, text, why) in cases.items():
        corpus.case("config", ".yaml", err, name, text if isinstance(text, bytes) else text.encode(), why)


# ---- importance matrices --------------------------------------------------------------------------------------------

I32_MAX = 2**31 - 1


def dat(nentries=1, name=QUERY.encode(), name_length=None, ncalls=1, nvalues=None, values=range(32), tail=struct.pack("<ii", 1, 1) + b"d"):
    row = struct.pack("<i", len(name) if name_length is None else name_length) + name
    row += struct.pack("<ii", ncalls, len(values) if nvalues is None else nvalues) + struct.pack("<%df" % len(values), *values)
    return struct.pack("<i", nentries) + row + tail


def imatrix_gguf(tensors, drop=None, more=b"", nkeys=None, **kinds):
    """tensors: (name, number of values, type), of one dimension each, all of them 1."""
    fields = {"datasets": key("imatrix.datasets", KV_ARR, (KV_STR, ["d"])), "chunk_count": key("imatrix.chunk_count", KV_U32, 1),
              "chunk_size": key("imatrix.chunk_size", KV_U32, 512)}
    fields.update(kinds)
    keys = [key("general.type", KV_STR, "imatrix")] + [v for k, v in fields.items() if k != drop]
    infos, data = [], b""
    for name, n, kind in tensors:
        value = struct.pack("<f", 1) if kind == T_F32 else struct.pack("<e", 1)
        infos.append(tensor(name, [n], kind, len(data)))
        data += n * value + bytes(-n * len(value) % 32)
    return gguf(tensors=infos, data=data, keys=keys + ([more] if more else []), nkeys=nkeys)


def imatrix_cases(corpus):
    nan, inf = float("nan"), float("inf")
    for name, err, data, why in (
            ("plain", None, dat(), "one row"),
            ("no_tail", None, dat(tail=b""), "chunks and data set came later than the format"),
            ("no_dataset", None, dat(tail=bytes(4)), "chunks alone"),
            ("trailing", None, dat(tail=bytes(8) + b"x"), "bytes after the end are noted"),
            ("empty", "truncated", b"", "an empty file"),
            ("zeros", "count", bytes(64), "no entry"),
            ("negative_entries", "count", dat(nentries=-1), "a negative number of entries"),
            ("huge_entries", "count", dat(nentries=I32_MAX), "more entries than any file has"),
            ("many_entries", "truncated", dat(nentries=1000000), "more entries than bytes"),
            ("second_missing", "truncated", dat(nentries=2, tail=b""), "it ends before its second entry"),
            ("name_empty", "count", dat(name=b""), "a name of no bytes"),
            ("name_negative", "count", dat(name_length=-1), "a negative length"),
            ("name_least", "count", dat(name_length=-I32_MAX - 1), "the most negative length"),
            ("name_huge", "count", dat(name_length=I32_MAX), "a name of 2 GiB"),
            ("name_1025", "count", dat(name=b"n" * 1025), "a name one byte longer than allowed"),
            ("name_long", "truncated", dat(name_length=900), "a name longer than the file"),
            ("name_nul", "name", dat(name=b"a\0b"), "a NUL in a name"),
            ("name_utf8", "name", dat(name=b"\xff\xfe"), "a name that is not UTF-8"),
            ("name_twice", "duplicate", dat(nentries=2, tail=dat()[4:]), "a name twice"),
            ("calls_none", "count", dat(ncalls=0), "sums of no call"),
            ("calls_negative", "count", dat(ncalls=-1), "a negative number of calls"),
            ("values_none", "count", dat(nvalues=0, values=()), "a row without values"),
            ("values_negative", "count", dat(nvalues=-4), "a negative number of values"),
            ("values_huge", "truncated", dat(nvalues=I32_MAX), "a row of 8 GiB"),
            ("values_cut", "truncated", dat(nvalues=64, tail=b""), "half a row"),
            ("value_nan", "nonfinite", dat(values=[1] * 31 + [nan]), "a value that is NaN"),
            ("value_inf", "nonfinite", dat(values=[inf] + [1] * 31), "an infinite value"),
            ("value_negative", "nonfinite", dat(values=[-1] * 32), "negative sums of squares"),
            ("chunks_negative", "count", dat(tail=struct.pack("<ii", -1, 0)), "a negative number of chunks"),
            ("tail_cut", "truncated", dat(tail=b"\1\0"), "half a number of chunks"),
            ("dataset_negative", "count", dat(tail=struct.pack("<ii", 1, -1)), "a negative length"),
            ("dataset_cut", "truncated", dat(tail=struct.pack("<ii", 1, 9) + b"d"), "half a name of a data set"),
            ("dataset_huge", "count", dat(tail=struct.pack("<ii", 1, I32_MAX)), "a name of 2 GiB"),
            ("lfs_pointer", "lfs-pointer", LFS, "the note Git LFS leaves in place of a file"),
            ("pickle", "is-pickle", b"PK\3\4" + bytes(60), "how PyTorch archives begin")):
        corpus.case("imatrix", ".dat", err, "dat_" + name, data, why)
    corpus.case("imatrix", ".dat", "is-model", "dat_safetensors", safetensors({"t": PLAIN}, DATA16), "a safetensors file under this name")
    corpus.case("misfit", ".dat", "imatrix", "dat_31_values", dat(values=[1] * 31), "31 values for 32 columns")
    sums, counts = (QUERY + ".in_sum2", 32, T_F32), (QUERY + ".counts", 1, T_F32)
    corpus.case("misfit", ".gguf", "imatrix", "gguf_31_values", imatrix_gguf([(QUERY + ".in_sum2", 31, T_F32), counts]), "31 values for 32 columns")
    for name, err, data, why in (
            ("plain", None, imatrix_gguf([sums, counts]), "one entry"),
            ("other_tensor", None, imatrix_gguf([sums, counts, ("x", 4, T_F32)]), "a tensor that is no part of an entry"),
            ("no_type", None, imatrix_gguf([sums, counts]).replace(b"general.type", b"general.tipo"), "sums tell that it is one"),
            ("model", "is-model", gguf(), "a model"),
            ("set_member", "split", imatrix_gguf([sums, counts], more=key("split.no", KV_U16, 0) + key("split.count", KV_U16, 2), nkeys=6), "one file of a set"),
            ("no_datasets", "missing-key", imatrix_gguf([sums, counts], drop="datasets"), "no data sets"),
            ("no_chunk_count", "missing-key", imatrix_gguf([sums, counts], drop="chunk_count"), "no number of chunks"),
            ("no_chunk_size", "missing-key", imatrix_gguf([sums, counts], drop="chunk_size"), "no size of a chunk"),
            ("chunk_size_type", "kv-type", imatrix_gguf([sums, counts], chunk_size=key("imatrix.chunk_size", KV_I32, 512)), "an i32"),
            ("datasets_type", "kv-type", imatrix_gguf([sums, counts], datasets=key("imatrix.datasets", KV_STR, "d")), "a string, not an array"),
            ("datasets_numbers", "kv-type", imatrix_gguf([sums, counts], datasets=key("imatrix.datasets", KV_ARR, (KV_U32, [0]))), "an array of numbers"),
            ("no_counts", "missing-pair", imatrix_gguf([sums]), "sums without counts"),
            ("no_sums", "missing-pair", imatrix_gguf([counts]), "counts without sums"),
            ("other_pair", "missing-pair", imatrix_gguf([sums, ("v.counts", 1, T_F32)]), "counts of another weight"),
            ("nameless", "name", imatrix_gguf([(".in_sum2", 4, T_F32), (".counts", 2, T_F32)]), "a weight without a name"),
            ("sums_f16", "tensor-type", imatrix_gguf([(QUERY + ".in_sum2", 32, T_F16), counts]), "sums in F16"),
            ("counts_f16", "tensor-type", imatrix_gguf([sums, (QUERY + ".counts", 1, T_F16)]), "counts in F16"),
            ("sums_empty", "dims", imatrix_gguf([(QUERY + ".in_sum2", 0, T_F32), counts]), "no sums"),
            ("counts_empty", "dims", imatrix_gguf([sums, (QUERY + ".counts", 0, T_F32)]), "no counts"),
            ("uneven", "dims", imatrix_gguf([sums, (QUERY + ".counts", 3, T_F32)]), "32 values for three matrices"),
            ("no_entries", "empty", imatrix_gguf([("x", 4, T_F32)]), "no entry"),
            ("sum_nan", "nonfinite", imatrix_gguf([sums, counts]).replace(struct.pack("<32f", *[1] * 32), struct.pack("<32f", *[1] * 31, nan)), "a sum that is NaN"),
            ("sum_negative", "nonfinite", imatrix_gguf([sums, counts]).replace(struct.pack("<32f", *[1] * 32), struct.pack("<32f", *[1] * 31, -1)), "a negative sum"),
            ("count_nan", "nonfinite", imatrix_gguf([sums, counts])[:-32] + struct.pack("<f", nan) + bytes(28), "a count that is NaN"),
            ("count_negative", "nonfinite", imatrix_gguf([sums, counts])[:-32] + struct.pack("<f", -1) + bytes(28), "a negative count"),
            ("count_2_53", "nonfinite", imatrix_gguf([sums, counts])[:-32] + struct.pack("<f", 2.0**53) + bytes(28), "a count that no whole number holds"),
            ("truncated", "truncated", imatrix_gguf([sums, counts])[:-40], "a file that is cut")):
        corpus.case("imatrix", ".gguf", err, "gguf_" + name, data, why)


# ---- everything -----------------------------------------------------------------------------------------------------


def sparse_cases(corpus):
    """Claims that are true of the file, and more than is allowed: the rest of each is a hole."""
    n = (64 << 20) + 1
    corpus.case("gguf", ".gguf", "string-length", "bad_string_over_64_mib", gguf(key("a.s", KV_STR, string("", n))), "a string of 64 MiB and a byte", 2 * n)
    corpus.case("gguf", ".gguf", "array-length", "bad_array_over_1_gib", gguf(key("a.x", KV_ARR, struct.pack("<IQ", KV_U8, 2**30 + 1))), "an array of 1 GiB and a byte", 2**31)
    for what, counts in (("keys", (0, 1_000_001)), ("tensors", (1_000_001, 0))):
        corpus.case("gguf", ".gguf", "count", "bad_%s_1000001" % what, b"GGUF" + struct.pack("<IQQ", 3, *counts), "one more than a file may have", 1 << 26)
    corpus.case("safetensors", ".safetensors", "header-too-large", "bad_length_limit_in_file", safetensors("{}", length=100_000_001), "one more than the format allows, and all there", 1 << 27)
    corpus.write("index/too_large/" + INDEX, b"{}", (64 << 20) + 1)
    corpus.row("index/too_large", "index", "too-large", "an index of 64 MiB and a byte")


def big_cases(corpus):
    def sparse(name, kind, err, head, data_bytes, why):
        corpus.case(kind, "." + kind, err, "big_" + name, head, why, len(head) + data_bytes)

    n = 5 * 2**30
    sparse("second_past_4_gib", "safetensors", None, safetensors({"a": u8([n], 0, n), "b": entry("F32", [4], n, n + 16)}), n + 16, "a tensor behind 4 GiB")
    n = 2**31 + 1
    sparse("2_31_elements", "safetensors", None, safetensors({"a": entry("I8", [n], 0, n)}), n, "more elements than an int counts")
    sparse("2_31_elements_short", "safetensors", "truncated", safetensors({"a": entry("I8", [n], 0, n)}), n - 1, "one byte short")
    n = 2**31 + 32
    head = gguf(tensors=[tensor(QUERY, [32, n // 32], T_F16, 0)], data=b"")
    sparse("2_31_elements", "gguf", None, head, 2 * n, "more elements than an int counts")
    sparse("2_31_elements_short", "gguf", "truncated", head, 2 * n - 1, "one byte short")
    corpus.case("safetensors", ".safetensors", None, "big_header_limit", safetensors(b"{}" + b" " * (100_000_000 - 2)), "the largest header")
    rows = ['"t%07d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1) for i in range(1_000_000)]
    corpus.case("safetensors", ".safetensors", None, "big_million_tensors", safetensors("{%s}" % ",".join(rows), bytes(1_000_000)), "a million tensors")


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("-")]
    if len(args) != 1:
        sys.exit(__doc__)
    big = "--big" in sys.argv
    corpus = Corpus(args[0])
    for kind, good, bad in (("safetensors", good_safetensors(), bad_safetensors()), ("gguf", good_gguf(big), bad_gguf())):
        for name, (data, why) in good.items():
            corpus.case(kind, "." + kind, None, "ok_" + name, data, why)
        for err, group in bad.items():
            for name, (data, why) in group.items():
                corpus.case(kind, "." + kind, err, "bad_" + name, data, why)
    gguf_sets(corpus)
    index_cases(corpus)
    config_cases(corpus)
    imatrix_cases(corpus)
    corpus_packs.cases(corpus)
    sparse_cases(corpus)
    if big:
        big_cases(corpus)
    corpus.finish()
    print("%d files in %s" % (len(corpus.rows), args[0]), file=sys.stderr)


if __name__ == "__main__":
    main()
