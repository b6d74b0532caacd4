#!/usr/bin/env python3
"""mutants.py [--rule RULE] [--list] - take every check of the readers away, one at a time: a test must notice.

Each mutant below is one check dropped from one source file: its rule in docs/formats.md (M and G of importance matrices and GGUF, K of
packs, R of recipes, J of the journal), the text that stands for the check, which must occur exactly once, and what takes its place. A mutant is
compiled beside the tree, linked with what else `make build/malformed-tests` has made, and must fail: the verdicts on the corpus first,
then other tests of readers. Prints a table with the tests that noticed; exit code 1 when a mutant survives.

B names the build directory, CC the compiler. Standard library only.
"""
import argparse, concurrent.futures, os, resource, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("B", "build")
FLAGS = "-std=gnu11 -O1 -w -ffp-contract=off -pthread -D_GNU_SOURCE -Iinclude -I."
SECONDS = 240  # a mutant may wait for ever
FIRST = {"R": "r", "J": "j"}  # suites by their first letter: which is asked first for which rules

ST, GGUF, CHECK, PULL, STR = "formats/safetensors.c", "formats/gguf.c", "formats/gguf_check.c", "core/pull.c", "core/str.c"
MODEL, OPEN, INDEX, IO, YAML = "formats/model.c", "formats/model_open.c", "formats/shard_index.c", "core/io.c", "core/yaml.c"
PACK, PDIR, PBASE, PCHUNKS, FRAME = "formats/pack.c", "formats/pack_directory.c", "formats/pack_base.c", "formats/pack_chunks.c", "core/frame.c"
IM, DAT, JOURNAL, JFILE = "formats/imatrix.c", "formats/imatrix_dat.c", "pipeline/journal.c", "pipeline/journal_file.c"

MUTANTS = [
    # ---- what a path may be
    ("P content", OPEN, "format == NEITHER || (named != NEITHER && format != named)", "format == NEITHER"),
    ("P regular", IO, "if (!S_ISREG(st.st_mode))", "if (0)"),
    ("P both", OPEN, "if (!(l->has_single && l->has_index))", "if (1)"),
    ("P one file", OPEN, "l->nsafetensors == 1 ? l->safetensors : NULL", "l->safetensors"),
    ("P one set", OPEN, "l->nggufs == 1 || (l->nggufs > 1 && l->gguf_set)", "l->nggufs > 0"),
    ("P pickle", OPEN, "if (l->has_pickle)", "if (0)"),

    # ---- safetensors
    ("S1", ST, "if (size < LENGTH_BYTES)", "if (0)"),
    ("S2", ST, "if (n > ST_MAX_HEADER)", "if (0)"),
    ("S3", ST, "if (n > size - LENGTH_BYTES)", "if (0)"),
    ("S4", PULL, "if (!utf8_valid(", "if (0 && !utf8_valid("),
    ("S4 overlong 2", STR, "c >= 0xC2 && c <= 0xDF", "c >= 0xC0 && c <= 0xDF"),
    ("S4 overlong 3", STR, "(c == 0xE0 && p[1] < 0xA0) || ", ""),
    ("S4 overlong 4", STR, "(c == 0xF0 && p[1] < 0x90) ||", ""),
    ("S4 surrogates", STR, "(c == 0xED && p[1] > 0x9F) || ", ""),
    ("S4 beyond", STR, "(c == 0xF4 && p[1] > 0x8F)", "0"),
    ("S4 first byte", STR, "c >= 0xF0 && c <= 0xF4 ? 4", "c >= 0xF0 ? 4"),
    ("S4 continuation", STR, "if ((p[i] & 0xC0) != 0x80)", "if (0)"),
    ("S4 cut", STR, "if (n == 0 || n > left)", "if (n == 0)"),
    ("S5 after", ST, "if (token == PULL_ERROR || pull_next(&r->json) != PULL_END)", "if (token == PULL_ERROR)"),
    ("S5 object", ST, 'if (first != PULL_OBJECT)\n        return wrong_type(r, first, "json"', 'if (first != PULL_OBJECT && first != PULL_ARRAY)\n        return wrong_type(r, first, "json"'),
    ("S6 control", PULL, "(unsigned char)text[i] >= 0x20 && ", ""),
    ("S6 escape", PULL, 'if (!known)\n        return bad(p, p->at - 1, "json", "unknown escape in a string");', "if (!known)\n        return true;"),
    ("S6 hex", PULL, "if (digit < 0)\n            return -1;", ""),
    ("S6 surrogate", PULL, "if (low < 0xDC00 || low > 0xDFFF)", "if (0)"),
    ("S6 low surrogate", PULL, "if (c >= 0xDC00 && c <= 0xDFFF)", "if (0)"),
    ("S6 comma", PULL, "closing == '}' ? STATE_KEY : STATE_VALUE;", "closing == '}' ? STATE_KEY_OR_END : STATE_VALUE_OR_END;"),
    ("S6 zero", PULL, "if (p->text[at] == '0' && is_digit(p, at + 1))", "if (0)"),
    ("S6 fraction", PULL, "if (!is_digit(p, at + 1))\n            return bad(p, at", "if (0)\n            return bad(p, at"),
    ("S6 exponent", PULL, 'if (!is_digit(p, at))\n            return bad(p, at, "json", "no digit in the exponent', 'if (0)\n            return bad(p, at, "json", "no digit in the exponent'),
    ("S6 digits", PULL, 'if (!is_digit(p, at))\n        return bad(p, at, "json", "a digit is missing', 'if (0)\n        return bad(p, at, "json", "a digit is missing'),
    ("S6 NaN", PULL, 'if (p->nonfinite && is_word(p, p->at, "NaN"))', 'if (is_word(p, p->at, "NaN"))'),
    ("S7", PULL, "if (p->depth == PULL_MAX_DEPTH)", "if (0)"),
    ("S8 value", ST, 'if (token != PULL_STRING)\n            return wrong_type(r, token, "metadata"', 'if (token == PULL_ERROR)\n            return wrong_type(r, token, "metadata"'),
    ("S8 object", ST, 'if (token != PULL_OBJECT)\n        return wrong_type(r, token, "metadata"', 'if (token == PULL_STRING)\n        return QUERN_OK;\n    if (token != PULL_OBJECT)\n        return wrong_type(r, token, "metadata"'),
    ("S9 name", MODEL, "if (fresh)\n            continue;", "continue;"),
    ("S9 metadata", ST, "if (metadata_seen)", "if (0)"),
    ("S9 key", ST, "if (!fresh)\n        return at_offset", "if (0)\n        return at_offset"),
    ("S9 few keys", PULL, "*fresh = !str_eq(set->keys[i], key);", "*fresh = true;"),
    ("S9 many keys", PULL, "set, fresh, NULL))\n        return false;", "set, fresh, NULL))\n        return false;\n    *fresh = true;"),
    ("S9 field", ST, "if (e->fields & fields[i].bit)", "if (0)"),
    ("S10 empty", ST, "if (name.n == 0 || memchr", "if (memchr"),
    ("S10 NUL", ST, "if (name.n == 0 || memchr(name.p, '\\0', name.n))", "if (name.n == 0)"),
    ("S11 fields", ST, "if (e->fields != FIELD_ALL)", "if (0)"),
    ("S11 object", ST, 'if (first != PULL_OBJECT)\n        return wrong_type(r, first, "entry"', 'if (first == PULL_NULL)\n        return QUERN_OK;\n    if (first != PULL_OBJECT)\n        return wrong_type(r, first, "json"'),
    ("S12", ST, "if (!dtype_from_safetensors(r->json.str, &e->dtype))", "if (!dtype_from_safetensors(r->json.str, &e->dtype) && 0)"),
    ("S13 rank", PULL, "if (*count == max)", "if (0)"),
    ("S13 separator", PULL, "if (c != ',')\n            return ints_stop", "if (0)\n            return ints_stop"),
    ("S13 leading zero", STR, " || (s.n > 1 && s.p[0] == '0')", ""),
    ("S13 2^64", STR, "if (__builtin_mul_overflow(v, 10u, &v) ||\n            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))", "v = v * 10 + (uint64_t)(s.p[i] - '0');\n        if (0)"),
    ("S13 2^63", ST, "if (e->dims[i] > INT64_MAX)", "if (0)"),
    ("S14 pair", ST, "if (got == PULL_INTS_OK && count == 2)", "if (got == PULL_INTS_OK)"),
    ("S14 order", ST, "if (e->range[0] > e->range[1])", "if (0)"),
    ("S15 product", MODEL, "if (dims[i] > 0 && !checked_mul(*nelems, dims[i], nelems))", "if (dims[i] > 0 && (checked_mul(*nelems, dims[i], nelems), false))"),
    ("S15 bits", ST, "if (!checked_mul(nelems, bits_per_elem, &nbits))", "if (checked_mul(nelems, bits_per_elem, &nbits), 0)"),
    ("S16", ST, "if (nbits % 8 != 0)", "if (0)"),
    ("S17", ST, "if (e->range[1] - e->range[0] != nbits / 8)", "if (0)"),
    ("S18 hole", ST, "if (t->offset != *end)", "if (t->offset < *end)"),
    ("S18 overlap", ST, "if (t->offset != *end)", "if (t->offset > *end)"),
    ("S19 truncated", ST, "if (end == data_bytes)", "if (end >= data_bytes)"),
    ("S19 trailing", ST, "if (end == data_bytes)", "if (end <= data_bytes)"),

    # ---- GGUF
    ("G1", GGUF, 'if (memcmp(r->buf ? r->buf : "", "GGUF", n) != 0)', "if (0)"),
    ("G2", GGUF, "if (version != 2 && version != 3)", "if (0)"),
    ("G3", GGUF, "if (count > max)", "if (0)"),
    ("G4", GGUF, "return count * min_bytes <= r->size - r->pos ?", "return 1 ?"),
    ("G5 limit", GGUF, "if (nbytes <= max && nbytes <= r->size - r->pos)", "if (nbytes <= r->size - r->pos)"),
    ("G5 rest", GGUF, "if (nbytes <= max && nbytes <= r->size - r->pos)", "if (nbytes <= max)"),
    ("G6 empty", GGUF, "if (s.n == 0)", "if (0)"),
    ("G6 limit", GGUF, "else if (s.n > max)", "else if (0)"),
    ("G6 NUL", GGUF, "else if (memchr(s.p, '\\0', s.n))", "else if (0)"),
    ("G6 UTF-8", GGUF, "else if (!utf8_valid(s, NULL))", "else if (0)"),
    ("G6", GGUF, 'TRY(check_name(r, k->name, "key", MAX_KEY, err));', ""),
    ("G7", GGUF, "if (!fresh)", "if (0)"),
    ("G8 value", GGUF, 'if (type >= META_COUNT)\n', 'if (0)\n'),
    ("G8 array", GGUF, "if (type >= META_COUNT || type == META_ARRAY)", "if (type == META_ARRAY)"),
    ("G8 nested", GGUF, "if (type >= META_COUNT || type == META_ARRAY)", "if (type >= META_COUNT)"),
    ("G9", GGUF, 'TRY(check_length(r, "array-length", nbytes, MAX_HEADER, err));', ""),
    ("G9 wrap", GGUF, "nbytes = UINT64_MAX;", "nbytes = 0;"),
    ("G10", GGUF, "if ((uint8_t)v.p[i] > 1)", "if (0)"),
    ("G10 array", GGUF, "if (k->type == META_BOOL || (k->type == META_ARRAY && k->item_type == META_BOOL))", "if (k->type == META_BOOL)"),
    ("G11", GGUF, "if (k && k->type != known[i].type)", "if (0)"),
    ("G11 architecture", GGUF, '{"general.architecture", META_STRING},', ""),
    ("G11 alignment", GGUF, '{"general.alignment",    META_U32   },', ""),
    ("G11 split.no", GGUF, '{"split.no",             META_U16   },', ""),
    ("G11 split.count", GGUF, '{"split.count",          META_U16   },', ""),
    ("G11 split.tensors", GGUF, '{"split.tensors.count",  META_I32   },', ""),
    ("G12 least", GGUF, "if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT", "if (a > MAX_ALIGNMENT"),
    ("G12 most", GGUF, "if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT", "if (a < MIN_ALIGNMENT"),
    ("G12 power", GGUF, " || (a & (a - 1)) != 0)", ")"),
    ("G13", GGUF, 'TRY(check_name(r, name, "name", GGUF_MAX_NAME, err));', ""),
    ("G15 rank", GGUF, "if (ndims > GGUF_MAX_DIMS)", "if (ndims > 100)"),
    ("G15 2^63", GGUF, "if (*d > INT64_MAX)", "if (0)"),
    ("G16 product", GGUF, "if (!dims_product(dims, t->ndims, &t->nelems) || t->nelems > INT64_MAX)", "if (!dims_product(dims, t->ndims, &t->nelems) && (t->nelems = 0, false))"),
    ("G16 bytes", GGUF, "if (!fits || t->nbytes > INT64_MAX)", "if (t->nbytes > INT64_MAX)"),
    ("G16 sum", GGUF, " ||\n        *end > INT64_MAX)", ")"),
    ("G17", GGUF, "if (!dtype_from_gguf((uint32_t)id, &dtype))", "if (!dtype_from_gguf((uint32_t)id, &dtype) && (dtype = DTYPE_F32, false))"),
    ("G18", GGUF, "if (row % type->block_elems != 0)", "if (0)"),
    ("G19 hole", GGUF, "if (t->offset != *end)", "if (t->offset < *end)"),
    ("G19 overlap", GGUF, "if (t->offset != *end)", "if (t->offset > *end)"),
    ("G20 header", GGUF, "if (n > r->size - r->pos)\n        return truncated", "if (0)\n        return truncated"),
    ("G20 data", GGUF, "if (t->offset + t->nbytes > r->size)", "if (0)"),
    ("G22 number", GGUF, "if (values[1] > 0 && values[0] >= values[1])", "if (0)"),
    ("G22 negative", GGUF, "if (!meta_u64(&value, &values[i]))", "if (meta_u64(&value, &values[i]), 0)"),
    ("G22 name", OPEN, "if (f->split_no == no && f->split_count == count)", "if (f->split_count == count)"),
    ("G22 count", OPEN, "if (f->split_no == no && f->split_count == count)", "if (f->split_no == no)"),
    ("G22 named", OPEN, " || named != count)", ")"),
    ("G23", OPEN, "if (!path_exists(path) && errno == ENOENT)", "if (0)"),
    ("G24 total", OPEN, "if (total != 0 && total != m->ntensors)", "if (0)"),
    ("G24 architecture", GGUF, "if (r->file == 0 || !first || !k ||", "if (1 ||"),
    ("G25", CHECK, 'if (!meta_string(model_meta(m, "general.architecture"), &arch))', 'if (!meta_string(model_meta(m, "general.architecture"), &arch) && (arch = STR("x"), false))'),
    ("G26 blocks", CHECK, 'if (!meta_u64(k, &count))\n        return wrong_type(k, "a whole number", err);\n    for', "if (!meta_u64(k, &count))\n        return QUERN_OK;\n    for"),
    ("G26 heads", CHECK, 'if (!meta_u64(k, &count))\n        return wrong_type(k, "a whole number", err);\n    /*', "if (!meta_u64(k, &count))\n        return QUERN_OK;\n    /*"),
    ("G27 none", CHECK, "if (count >= 1 && ", "if ("),
    ("G27 limit", CHECK, "count <= MAX_BLOCKS && ", ""),
    ("G27 found", CHECK, "found <= count &&", ""),
    ("G27 spare", CHECK, "(found == 0 || count <= found + SPARE_BLOCKS)", "1"),
    ("G28", CHECK, "if (count > 0 || !has_attention(m))", "if (1)"),

    # ---- indexes
    ("I1", IO, "if (f.nbytes > max)", "if (0)"),
    ("I1 pointer", INDEX, 'if (kind && strcmp(kind, "lfs-pointer") == 0)', "if (0)"),
    ("I1 after", INDEX, "if (token == PULL_ERROR || pull_next(&r->json) != PULL_END)", "if (token == PULL_ERROR)"),
    ("I2 map", INDEX, "if (!r->map_seen)", "if (0)"),
    ("I2 object", INDEX, 'if (token != PULL_OBJECT)\n        return wrong_type(r, token, "weight_map', 'if (token == PULL_ARRAY && pull_skip(&r->json, token))\n        return QUERN_OK;\n    if (token != PULL_OBJECT)\n        return wrong_type(r, token, "weight_map'),
    ("I2 root", INDEX, 'if (token != PULL_OBJECT)\n        return wrong_type(r, token, "the index', 'if (token == PULL_ARRAY && pull_skip(&r->json, token))\n        return QUERN_OK;\n    if (token != PULL_OBJECT)\n        return wrong_type(r, token, "the index'),
    ("I2 string", INDEX, "if (token != PULL_STRING)", "if (token == PULL_ERROR)"),
    ("I3 tensor", INDEX, "return fresh ? QUERN_OK", "return 1 ? QUERN_OK"),
    ("I3 map", INDEX, "if (r->map_seen)", "if (0)"),
    ("I4 NUL", INDEX, "if (memchr(name.p, '\\0', name.n))", "if (0)"),
    ("I4 slash", INDEX, "memchr(name.p, '/', name.n) || ", ""),
    ("I4 backslash", INDEX, " || memchr(name.p, '\\\\', name.n)", ""),
    ("I4 length", INDEX, "else if (name.n > MAX_COMPONENT)", "else if (0)"),
    ("I4 suffix", INDEX, 'else if (!str_ends(name, ".safetensors"))', "else if (0)"),
    ("I4 pickle", INDEX, 'else if (str_ends(name, ".bin"))', "else if (0)"),
    ("I7 absent", OPEN, "if (!t || !str_is(e->file, m->files[t->file].name))", "if (t && !str_is(e->file, m->files[t->file].name))"),
    ("I7 elsewhere", OPEN, "if (!t || !str_is(e->file, m->files[t->file].name))", "if (!t)"),
    ("I7 unlisted", OPEN, "if (!mapped[i])", "if (0)"),
    ("I7 two homes", MODEL, "home != file && m->format == MODEL_SAFETENSORS;", "false;"),
    ("I shards", OPEN, "if (s == QUERN_OK && n > MAX_SHARDS)", "if (0)"),

    # ---- importance matrices
    ("M2", IM, "if (!is_imatrix(m))", "if (0)"),
    ("M3", IM, "if (m->files[0].split_count > 1)", "if (0)"),
    ("M4", IM, 'if (!k)\n        return fail(err, QUERN_EFORMAT, "missing-key"', 'if (0)\n        return fail(err, QUERN_EFORMAT, "missing-key"'),
    ("M5 number", IM, "if (!k || k->type != META_U32 || ", "if (!k || "),
    ("M5 array", IM, "if (!k || k->type != META_ARRAY || ", "if (!k || "),
    ("M5 strings", IM, " || (k->item_type != META_STRING && k->count > 0))", ")"),
    ("M6", IM, "if (find_counterpart(im, weight, other))", "if (1)"),
    ("M7", IM, "if (weight.n == 0)", "if (0)"),
    ("M8", IM, "if (t->dtype != DTYPE_F32)", "if (0)"),
    ("M9 empty", IM, "return t->nelems > 0 ? QUERN_OK", "return 1 ? QUERN_OK"),
    ("M9 uneven", IM, "if (e->sums->nelems % e->counts->nelems != 0)", "if (0)"),
    ("M10", IM, "if (im->nentries == 0)", "if (0)"),
    ("M11 least", DAT, "if (v < min || (uint32_t)v > max)", "if ((uint32_t)v > max)"),
    ("M11 most", DAT, "if (v < min || (uint32_t)v > max)", "if (v < min)"),
    ("M12 NUL", DAT, "if (!memchr(name->p, '\\0', n) && ", "if ("),
    ("M12 UTF-8", DAT, " && utf8_valid(*name, NULL))", ")"),
    ("M13", DAT, "TRY(model_index_tensors(w->im->model, 0, err));", ""),
    ("M14 row", DAT, "if (t->nbytes > w->size - w->pos)", "if (0)"),
    ("M14 number", DAT, "if (n > w->size - w->pos)\n        return truncated(w, what, n, err);\n    TRY(model_pread", "if (0)\n        return truncated(w, what, n, err);\n    TRY(model_pread"),
    ("M15", IM, "s == QUERN_EFORMAT ? sniff(head, n, &sentence) : NULL", "NULL"),
    ("M16 negative", IM, "if (!(v[i] >= 0 && v[i] <= FLT_MAX))", "if (!(v[i] <= FLT_MAX))"),
    ("M16 infinite", IM, "if (!(v[i] >= 0 && v[i] <= FLT_MAX))", "if (!(v[i] >= 0))"),
    ("M16 count", IM, "if (!(counts[i] >= 0 && counts[i] < 0x1p53f))", "if (!(counts[i] < 0x1p53f))"),
    ("M16 2^53", IM, "if (!(counts[i] >= 0 && counts[i] < 0x1p53f))", "if (!(counts[i] >= 0))"),

    # ---- packs
    ("K2 magic", PACK, "load_u32(foot + 5) != PACK_TABLE_END || ", ""),
    ("K2 flags", PACK, " || foot[4] != 0", ""),
    ("K3 most", PACK, " || body > all - TABLE_HEAD_BYTES", ""),
    ("K4 magic", PACK, "load_u32(head) != PACK_TABLE || ", ""),
    ("K4 length", PACK, " || load_u32(head + 4) != body", ""),
    ("K5", PACK, "if (at != table_at)", "if (0)"),
    ("K6", PACK, "if (p->frame_at[1] != PACK_HEAD_BYTES)", "if (0)"),
    ("K7 magic", PACK, " || load_u32(stored) != PACK_DIRECTORY", ""),
    ("K7 length", PACK, " ||\n        load_u32(stored + 4) != n - TABLE_HEAD_BYTES", ""),
    ("K8 text", PACK, " ||\n        content > FREE_TEXT + tail * TEXT_PER_BYTE", ""),
    ("K8 damaged", PACK, 'if (wrong)\n        return bad(p, "its directory is damaged", err);', ""),
    ("K9 after", PDIR, 'TRY(want(r, PULL_END, "something follows the directory"));', ""),
    ("K9 twice", PDIR, "if (*key >= 0 && *seen >> *key & 1)", "if (0)"),
    ("K9 NUL", PDIR, "return memchr(out->p, '\\0', out->n) ?", "return 0 ?"),
    ("K9 number", PDIR, "return pull_u64(&r->pull, out) ?", "*out = 1;\n    return pull_u64(&r->pull, out) || 1 ?"),
    ("K10 version", PDIR, "if (version == PACK_VERSION)", "if (1)"),
    ("K10 chunk", PDIR, " || chunk != PACK_CHUNK", ""),
    ("K10 keys", PDIR, "(seen & 11) != 11 || ", ""),
    ("K10 files", PDIR, "if (r->pack->nfiles == 0)", "if (0)"),
    ("K10 directory", PDIR, "if (token != PULL_TRUE && token != PULL_FALSE)", "if (0)"),
    ("K11 keys", PDIR, "return seen == 3 ?", "return 1 ?"),
    ("K11 none", PDIR, "if (r->pack->runs[i].base.n && !r->pack->base_path.p)", "if (0)"),
    ("K12 keys", PDIR, "if (seen != 15)", "if (0)"),
    ("K12 digits", PDIR, "if (s.n != 64)", "if (0)"),
    ("K12 hexadecimal", PDIR, "if (v < 0)", "if (0)"),
    ("K12 sum", PDIR, "if (sum != f->nbytes)", "if (0)"),
    ("K13 long", PDIR, " || name.n > PACK_MAX_NAME", ""),
    ("K13 empty part", PDIR, "if (n == 0 || n > 255", "if (n > 255"),
    ("K13 long part", PDIR, "if (n == 0 || n > 255", "if (n == 0"),
    ("K13 dot", PDIR, ' || str_is(part, ".") ||', " ||"),
    ("K13 up", PDIR, ' || str_is(part, "..")', ""),
    ("K13 order", PDIR, "if (i > 0 && strcmp(p->files[i - 1].name, name) >= 0)", "if (0)"),
    ("K13 directory", PDIR, "if (has_file(p, (struct str){name, (size_t)(slash - name)}))", "if (0)"),
    ("K14 empty", PDIR, " || run->nbytes == 0", ""),
    ("K14 letters", PDIR, "if (letters.n != need)", "if (0)"),
    ("K15 all or none", PDIR, "if (given != 0 && given != 7)", "if (0)"),
    ("K15 bytes", PDIR, " || nbytes != run->nbytes", ""),
    ("K16 unknown", PDIR, "default:\n        return false;", "default:\n        return true;"),
    ("K16 numbers", PDIR, "return numbers;", "return true;"),
    ("K16 delta of bytes", PDIR, "return numbers && run->base.n;", "return run->base.n;"),
    ("K16 delta", PDIR, "return numbers && run->base.n;", "return numbers;"),
    ("K16 equal", PDIR, "case CHUNK_BASE:\n        return run->base.n;", "case CHUNK_BASE:\n        return true;"),
    ("K17 earlier", PDIR, "if (same >= run->same)", "if (0)"),
    ("K17 size", PDIR, "if (r->pack->runs[same].nbytes != run->nbytes)", "if (0)"),
    ("K17 self", PDIR, "return other != run && ", "return "),
    ("K17 chain", PDIR, " && other->chunks[chunk] != CHUNK_SAME", ""),
    ("K18 content", PACK, "load_u32(entry + 4) != content || ", ""),
    ("K18 bound", PACK, " || load_u32(entry) > frame_bound(content)", ""),
    ("K18 more", PACK, "frame != p->nframes - 1 || ", ""),
    ("K18 head", PACK, "load_u32(table + 4) != 0 || ", ""),
    ("K18 directory", PACK, " || load_u32(last + 4) != 0", ""),
    ("K19 single", FRAME, "!(d & DESCRIPTOR_SINGLE) || ", ""),
    ("K19 checksum", FRAME, " || !(d & DESCRIPTOR_CHECK)", ""),
    ("K19 length", FRAME, "if (ZSTD_findFrameCompressedSize(frame, nbytes) != nbytes)", "if (0)"),
    ("K19 damaged", PCHUNKS, "return wrong ? damaged(p, frame, wrong, err) : QUERN_OK;", "return QUERN_OK;"),
    ("K19 in place", FRAME, "return (uint32_t)xxh64_end(&sum, at, some) == load_le(at + some, CHECKSUM_BYTES);", "return true;"),
    ("K19 block", FRAME, "if (load_le(at - FRAME_GAP, FRAME_GAP) != want)", "if (0)"),
    ("K20 type", PBASE, " || (run->tensor.n && t->dtype != run->dtype)", ""),
    ("K20 probe", PBASE, "if (s == QUERN_OK && memcmp(digest, p->base_probe, sizeof digest) != 0)", "if (0)"),
    ("K21", PCHUNKS, "if (xxh64(bytes, n) == sum)", "if (1)"),

    # ---- recipes
    ("R depth", YAML, "if (depth > YAML_MAX_DEPTH)", "if (0)"),
    ("R tag", YAML, "if (tag)\n", "if (0)\n"),
    ("R tag on word", YAML, "if (b->event.data.scalar.tag)", "if (0)"),
    ("R NUL", YAML, "if (memchr(n->text.p, 0, n->text.n))", "if (0)"),
    ("R NUL byte", YAML, "text.n ? memchr(text.p, 0, text.n) : NULL", "NULL"),
    ("R UTF-8", YAML, "else if (utf8_valid(text, &bad))", "else"),
    ("R key", YAML, "} else if (!fresh) {", "} else if ((fresh = true, false)) {"),
    ("R merge key", YAML, 'if (n->plain && str_is(n->text, "<<"))', "if (0)"),
    ("R alias", YAML, "if (!a)\n        return refuse", "if (!a)\n        return new_node(b, YAML_IS_LIST);\n    if (!a)\n        return refuse"),
    ("R alias inside", YAML, "if (!a->node)\n        return refuse(b, mark", "if (!a->node)\n        return new_node(b, YAML_IS_LIST);\n    if (0)\n        return refuse(b, mark"),
    ("R aliases", YAML, "if (a->node->nnodes > YAML_MAX_ALIASED - b->naliased)", "if (0)"),

    # ---- journals
    ("J version", JFILE, "if (memcmp(got->version, want->version, sizeof got->version) != 0)", "if (0)"),
    ("J plan", JFILE, " || memcmp(got->plan, want->plan, sizeof got->plan) != 0)", ")"),
    ("J inputs", JFILE, "if (memcmp(inputs[i].digest, digests + 32 * (size_t)i, 32) != 0)", "if (0)"),
    ("J head", JFILE, "memcmp(check, want, sizeof check) == 0", "1"),
    ("J record", JFILE, "if (memcmp(check, chain, sizeof check) != 0)", "if (0)"),
    ("J chain", JFILE, "sha256_add(&s, before, 32);", ""),
    ("J payload", JFILE, "r->nbytes > RECORD_MAX ||", ""),
    ("J part file", JOURNAL, " && st.st_ino == ino;", ";"),
    ("J gone", JOURNAL, "else if (s == QUERN_OK && !find_places(j, &h))", "else if (find_places(j, &h), 0)"),
    ("J forgotten", JOURNAL, "TRY(journal_file_cut(&j->file, false, err));", ""),
]


class Tests:
    """Everything the mutants share: objects, a corpus, a directory."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="quern-mutants.")
        self.corpus = os.path.join(self.dir, "corpus")
        subprocess.run([sys.executable, "-B", "tests/make_corpus.py", self.corpus], check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        words = subprocess.run(["make", "-s", "--no-print-directory", "B=" + BUILD, "malformed-objects"], check=True, cwd=ROOT, capture_output=True, text=True)
        self.objects = [w for w in words.stdout.split() if w.endswith(".o")]
        self.libs = [w for w in words.stdout.split() if w.startswith("-")]

    def suite_fails(self, program, pattern):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        env = dict(os.environ, QUERN_CORPUS=self.corpus)
        words = ["timeout", "-k", "5", str(SECONDS), program, "-j1", "--filter", pattern]
        return subprocess.run(words, cwd=ROOT, env=env, preexec_fn=limit, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0

    def build(self, number, source, text):
        folder = os.path.join(self.dir, str(number))
        os.mkdir(folder)
        changed = os.path.join(folder, os.path.basename(source))
        with open(changed, "w") as f:
            f.write(text)
        own = changed[:-2] + ".o"
        replaced = os.path.join(BUILD, source[:-2] + ".o")
        cc = os.environ.get("CC", "cc").split()
        subprocess.run([*cc, *FLAGS.split(), "-iquote", os.path.dirname(source), "-c", changed, "-o", own], check=True, cwd=ROOT)
        program = os.path.join(folder, "tests")
        others = [o for o in self.objects if o != replaced]
        assert len(others) + 1 == len(self.objects), replaced
        subprocess.run([*cc, own, *others, "-o", program, *self.libs], check=True, cwd=ROOT)
        return program

    def verdict(self, number, mutant):
        """Which tests notice; None when none does."""
        rule, source, old, new = mutant
        with open(os.path.join(ROOT, source)) as f:
            text = f.read()
        if text.count(old) != 1:
            return "not found: the text occurs %d times" % text.count(old)
        program = self.build(number, source, text.replace(old, new))
        suites = ["corpus/every*", "recipe_verdicts/*", "core/*", "json/*", "imatrix/*", "mutations/*", "journal/*"]
        suites.sort(key=lambda s: s[0] != FIRST.get(rule[0], "c"))
        found = next((s for s in suites if self.suite_fails(program, s)), None)
        shutil.rmtree(os.path.dirname(program))
        return found and found.split("/")[0]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rule")
    args.add_argument("--list", action="store_true")
    args = args.parse_args()
    chosen = [m for m in MUTANTS if not args.rule or m[0].startswith(args.rule)]
    if args.list:
        for rule, source, old, _ in chosen:
            print("%-18s %-24s %s" % (rule, source, " ".join(old.split())))
        return
    tests = Tests()
    counts = {}
    try:
        # A test that fails without a mutant would notice nothing.
        assert not tests.suite_fails(os.path.join(ROOT, BUILD, "malformed-tests"), "corpus/every*"), "the tests fail as it is"
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for mutant, found in zip(chosen, pool.map(tests.verdict, range(len(chosen)), chosen)):
                found = found or "SURVIVES"
                counts[found] = counts.get(found, 0) + 1
                print("%-18s %-24s %s" % (mutant[0], mutant[1], found), flush=True)
    finally:
        shutil.rmtree(tests.dir, ignore_errors=True)
    bad = sum(n for found, n in counts.items() if found == "SURVIVES" or found.startswith("not found"))
    print("%d mutants: %s" % (len(chosen), ", ".join("%d %s" % (n, f) for f, n in sorted(counts.items()))))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
