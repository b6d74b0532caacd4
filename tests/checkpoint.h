/* checkpoint.h - write the small Hugging Face checkpoints that tests/data/convert describes. */
#ifndef QUERN_TESTS_CHECKPOINT_H
#define QUERN_TESTS_CHECKPOINT_H

#include <dirent.h>
#include <inttypes.h>

#include "convert/convert.h"
#include "core/io.h"
#include "core/json.h"
#include "core/sha256.h"
#include "formats/safetensors.h"
#include "tests/leaks.h"
#include "tests/scratch.h"

#define CONVERT_DATA "tests/data/convert/"

/* ---- SHAKE-128 (FIPS 202) ------------------------------------------------------------------- */

static inline uint64_t rotate(uint64_t x, unsigned n)
{
    return n ? x << n | x >> (64 - n) : x;
}

static inline void keccak(uint64_t a[25])
{
    uint8_t lfsr = 1;
    for (unsigned round = 0; round < 24; round++) {
        uint64_t c[5], b[25];
        for (unsigned x = 0; x < 5; x++)
            c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
        for (unsigned i = 0; i < 25; i++)
            a[i] ^= c[(i + 4) % 5] ^ rotate(c[(i + 1) % 5], 1);
        b[0] = a[0];
        for (unsigned t = 0, x = 1, y = 0; t < 24; t++) {
            const unsigned next = (2 * x + 3 * y) % 5;
            b[next * 5 + y] = rotate(a[y * 5 + x], (t + 1) * (t + 2) / 2 % 64);
            x = y;
            y = next;
        }
        for (unsigned i = 0; i < 25; i++)
            a[i] = b[i] ^ (~b[i / 5 * 5 + (i + 1) % 5] & b[i / 5 * 5 + (i + 2) % 5]);
        for (unsigned j = 0; j < 7; j++) {
            if (lfsr & 1)
                a[0] ^= UINT64_C(1) << ((1u << j) - 1);
            lfsr = (uint8_t)(lfsr << 1 ^ (lfsr & 0x80 ? 0x71 : 0));
        }
    }
}

/* text is shorter than a block. */
static inline void shake128(const char *text, uint8_t *out, size_t n)
{
    uint8_t block[168] = {0};
    uint64_t a[25] = {0};
    const size_t length = strlen(text);
    cr_assert(length < sizeof block);
    memcpy(block, text, length);
    block[length] ^= 0x1f;
    block[sizeof block - 1] ^= 0x80;
    for (unsigned i = 0; i < sizeof block; i++)
        a[i / 8] |= (uint64_t)block[i] << (8 * (i % 8));
    for (size_t done = 0; done < n; done += sizeof block) {
        keccak(a);
        for (size_t i = 0; i < sizeof block && done + i < n; i++)
            out[done + i] = (uint8_t)(a[i / 8] >> (8 * (i % 8)));
    }
}

/* ---- tensors -------------------------------------------------------------------------------- */

static inline uint32_t word_bits(const char *distribution, enum dtype d, bool fixed)
{
    const bool norm = strcmp(distribution, "norm1") == 0;
    switch (d) {
    case DTYPE_BF16:
        return norm ? (fixed ? 0x3f80 : 0x007f) : (fixed ? 0x3c00 : 0x83ff);
    case DTYPE_F16:
        return norm ? (fixed ? 0x3b80 : 0x00ff) : (fixed ? 0x2000 : 0x9fff);
    case DTYPE_F8_E4M3:
        return norm ? (fixed ? 0x30 : 0x0f) : (fixed ? 0 : 0xbf);
    case DTYPE_F32:
        return norm ? (fixed ? 0x3f800000 : 0x007fffff) : (fixed ? 0x3c000000 : 0x83ffffff);
    default:
        return strcmp(distribution, "e8m0") == 0 ? (fixed ? 0x78 : 0x07) : (fixed ? 0 : 0xff);
    }
}

static inline uint8_t *make_weights(const char *seed, const char *name, enum dtype d,
                                    const char *distribution, uint64_t nelems)
{
    char text[168];
    const size_t width = dtype_traits[d].block_bytes;
    uint8_t *p = malloc(nelems * width + 1);
    cr_assert(p && snprintf(text, sizeof text, "quern-hf|%s|%s", seed, name) < 168);
    shake128(text, p, nelems * width);
    const uint32_t keep = word_bits(distribution, d, false), set = word_bits(distribution, d, true);
    for (uint64_t i = 0; i < nelems; i++)
        for (size_t b = 0; b < width; b++) {
            uint8_t *byte = &p[i * width + b];
            *byte = (uint8_t)((*byte & keep >> (8 * b)) | set >> (8 * b));
        }
    return p;
}

/* ---- files ---------------------------------------------------------------------------------- */

static inline void put_file(const char *dir, const char *name, struct str bytes)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(bytes.p, 1, bytes.n, f) == bytes.n && fclose(f) == 0, "%s", path);
}

static inline void copy_tokenizer(const char *from, const char *dir)
{
    struct arena arena = {0};
    DIR *d = opendir(from);
    cr_assert(d != NULL, "%s", from);
    for (struct dirent *e; (e = readdir(d));) {
        struct str text;
        if (e->d_name[0] == '.' || strcmp(e->d_name, "config.json") == 0 ||
            strcmp(e->d_name, "expected.txt") == 0)
            continue;
        cr_assert(read_small_file(path_join(&arena, from, e->d_name), 64u << 20, &arena, &text,
                                  NULL) == QUERN_OK);
        put_file(dir, e->d_name, text);
    }
    closedir(d);
    arena_free(&arena);
}

/* A JSON value as text again. */
static inline void write_value(struct json_writer *w, const struct json *v)
{
    struct str s;
    double number;
    bool truth;
    if (json_is_object(v) || json_is_array(v)) {
        json_open(w, json_is_object(v) ? '{' : '[');
        for (const struct json *item = json_first(v); item; item = json_next(item)) {
            if (json_is_object(v))
                json_key_str(w, json_key_of(item));
            write_value(w, item);
        }
        json_close(w, json_is_object(v) ? '}' : ']');
    } else if (json_text(v, &s)) {
        json_put_str(w, s);
    } else if (json_bool(v, &truth)) {
        json_put_bool(w, truth);
    } else if (json_f64(v, &number)) {
        json_put_f64(w, number);
    } else {
        json_put_null(w);
    }
}

static inline const char *text_of(const struct json *v, const char *key)
{
    struct str s;
    cr_assert(json_text(json_get(v, key), &s), "%s", key);
    return s.p;
}

/* ---- safetensors ---------------------------------------------------------------------------- */

struct blob {
    struct st_tensor t;
    uint8_t *data;
};

static inline void write_blobs(const char *path, struct blob *blobs, uint32_t n)
{
    struct arena arena = {0};
    struct st_tensor *t = ARENA_NEW(&arena, struct st_tensor, n + 1);
    const struct meta format = {.key = STR("format"), .value = STR("pt"), .type = META_STRING};
    struct str header;
    uint64_t nbytes;
    struct quern_error err;
    for (uint32_t i = 0; i < n; i++)
        t[i] = blobs[i].t;
    cr_assert(safetensors_layout(&arena, &format, 1, t, n, &header, &nbytes, &err) == QUERN_OK,
              "%s", err.text);
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(header.p, 1, header.n, f) == header.n);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert(fseek(f, (long)t[i].offset, SEEK_SET) == 0);
        cr_assert(fwrite(blobs[i].data, 1, t[i].nbytes, f) == t[i].nbytes);
    }
    cr_assert(fclose(f) == 0);
    arena_free(&arena);
}

/* [name, type, distribution, dimensions...]: dims is the caller's. */
static inline struct blob make_blob(const struct json *row, const char *seed, uint64_t *dims)
{
    struct str name, type, distribution;
    const struct json *item = json_first(row);
    struct blob b = {0};
    enum dtype d;
    cr_assert(json_text(item, &name) && json_text(item = json_next(item), &type) &&
              json_text(item = json_next(item), &distribution));
    cr_assert(dtype_from_safetensors(type, &d));
    uint64_t nelems = 1;
    uint32_t ndims = 0;
    while ((item = json_next(item))) {
        cr_assert(json_u64(item, &dims[ndims]));
        nelems *= dims[ndims++];
    }
    b.t = (struct st_tensor){.name = name, .dims = dims, .ndims = ndims, .dtype = d};
    cr_assert(dtype_bytes(d, nelems, &b.t.nbytes));
    b.data = make_weights(seed, name.p, d, distribution.p, nelems);
    return b;
}

static inline void write_index(const char *dir, struct blob *const *parts, const uint32_t *counts,
                               char names[][64], uint32_t nshards)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    json_key(&w, "weight_map");
    json_open(&w, '{');
    for (uint32_t s = 0; s < nshards; s++)
        for (uint32_t i = 0; i < counts[s]; i++) {
            json_key_str(&w, parts[s][i].t.name);
            json_put_text(&w, names[s]);
        }
    json_close(&w, '}');
    json_close(&w, '}');
    put_file(dir, "model.safetensors.index.json", json_written(&w));
    json_writer_free(&w);
}

static inline void write_weights(const struct json *model, const char *dir)
{
    const uint32_t n = (uint32_t)json_count(json_get(model, "tensors"));
    struct blob *blobs = calloc(n + 1, sizeof *blobs), *parts[4];
    uint64_t(*dims)[8] = calloc(n + 1, sizeof *dims), nshards = 1;
    uint32_t counts[4], i = 0;
    char names[4][64], path[1000];
    cr_assert(blobs && dims && json_u64(json_get(model, "shards"), &nshards) && nshards <= 4);
    for (const struct json *t = json_first(json_get(model, "tensors")); t; t = json_next(t), i++)
        blobs[i] = make_blob(t, text_of(model, "seed"), dims[i]);
    const uint32_t per = (n + (uint32_t)nshards - 1) / (uint32_t)nshards;
    for (uint32_t s = 0; s < nshards; s++) {
        parts[s] = blobs + s * per;
        counts[s] = n - s * per < per ? n - s * per : per;
        snprintf(names[s], sizeof names[s], "model-%05u-of-%05u.safetensors", s + 1,
                 (unsigned)nshards);
        snprintf(path, sizeof path, "%s/%s", dir, nshards == 1 ? "model.safetensors" : names[s]);
        write_blobs(path, parts[s], counts[s]);
    }
    if (nshards > 1)
        write_index(dir, parts, counts, names, (uint32_t)nshards);
    for (i = 0; i < n; i++)
        free(blobs[i].data);
    free(blobs);
    free(dims);
}

/* Writes everything but the weights. The path stays until the next one is made. */
static inline const char *write_directory(const struct json *model)
{
    static char dir[512];
    char from[256], folder[1000];
    struct json_writer w = {0};
    snprintf(dir, sizeof dir, "%s", scratch_folder(text_of(model, "dir")));
    snprintf(from, sizeof from, CONVERT_DATA "tok/%s", text_of(model, "tok"));
    copy_tokenizer(from, dir);
    write_value(&w, json_get(model, "config"));
    put_file(dir, "config.json", json_written(&w));
    json_writer_free(&w);
    for (const struct json *f = json_first(json_get(model, "files")); f; f = json_next(f)) {
        struct str text, name = json_key_of(f);
        const char *slash = strchr(name.p, '/');
        cr_assert(json_text(f, &text));
        if (slash) {
            snprintf(folder, sizeof folder, "%s/%.*s", dir, (int)(slash - name.p), name.p);
            mkdir(folder, 0700);
        }
        put_file(dir, name.p, text);
    }
    return dir;
}

static inline const char *write_checkpoint(const struct json *model)
{
    const char *dir = write_directory(model);
    write_weights(model, dir);
    return dir;
}

static inline struct json *read_models(const char *name)
{
    struct arena arena = {0};
    struct str text;
    struct json *root;
    struct quern_error err;
    cr_assert(read_small_file(path_join(&arena, CONVERT_DATA, name), JSON_MAX_BYTES, &arena, &text,
                              &err) == QUERN_OK,
              "%s", err.text);
    cr_assert(json_parse(text, &root, &err) == QUERN_OK, "%s", err.text);
    arena_free(&arena);
    return root;
}

static inline const struct json *model_named(const struct json *root, const char *name)
{
    for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m))
        if (strcmp(text_of(m, "name"), name) == 0)
            return m;
    cr_assert(0, "no model %s", name);
    return NULL;
}

/* ---- converting ----------------------------------------------------------------------------- */

static inline enum quern_status convert_with(const char *dir, const struct convert_request *r,
                                             const struct quern_run_options *options,
                                             struct quern_error *err)
{
    struct model *m;
    struct plan *p;
    enum quern_status s = model_open(dir, &m, err);
    if (s != QUERN_OK)
        return s;
    s = convert_plan(m, r, &p, err);
    if (s == QUERN_OK) {
        s = plan_run(p, options, NULL, err);
        plan_free(p);
    }
    model_close(m);
    return s;
}

static inline enum quern_status convert_to(const char *dir, const char *output, const char *type,
                                           struct quern_error *err)
{
    const struct convert_request r = {.output = output, .type = type, .force = true};
    return convert_with(dir, &r, NULL, err);
}

#endif
