/* test_pack.c - packs give back every byte, or an error that says where: also when they are
 * damaged, cut, made to mislead, or read against another base. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>

#include "core/frame.h"
#include "core/io.h"
#include "core/sha256.h"
#include "core/xxh64.h"
#include "formats/model.h"
#include "formats/pack.h"
#include "leaks.h"
#include "pipeline/pack_plan.h"
#include "scratch.h"

TestSuite(pack, .init = scratch_begin, .fini = scratch_end);

/* ---- files ---------------------------------------------------------------------------------- */

static uint64_t seed;

static uint32_t noise(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33);
}

/* Floats of this width with few exponents, as weights have; moved by `steps` of the last place. */
static void fill_floats(uint8_t *to, unsigned width, size_t n, unsigned steps)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = (uint64_t)noise() << 32 | noise();
        v &= (UINT64_C(1) << (8 * width - 5)) - 1;
        v |= UINT64_C(3) << (8 * width - 4) | (uint64_t)(noise() & 1) << (8 * width - 1);
        v += steps;
        memcpy(to + i * width, &v, width);
    }
}

struct made_tensor {
    const char *name, *dtype;
    unsigned width;
    size_t nelems;
};

static const struct made_tensor tensors[] = {
    {"a.weight",   "BF16",    2, 700001},
    {"b.weight",   "F16",     2, 513   },
    {"c.weight",   "F32",     4, 270000},
    {"d.weight",   "F64",     8, 1000  },
    {"e.weight",   "F8_E4M3", 1, 999   },
    {"f.ids",      "I64",     8, 10    },
    {"g.tied",     "BF16",    2, 700001},
    {"norm.scale", "F32",     4, 3     },
};
#define NTENSORS (sizeof tensors / sizeof *tensors)

/* The same numbers for the same seed; g.tied are those of a.weight. */
static const char *make_safetensors(const char *path, unsigned steps)
{
    char head[2048];
    size_t used = 0, at = 0;
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f, "%s", path);
    for (size_t i = 0; i < NTENSORS; i++) {
        const size_t n = tensors[i].nelems * tensors[i].width;
        used += (size_t)snprintf(
            head + used, sizeof head - used,
            "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
            i ? "," : "{\"__metadata__\":{\"format\":\"pt\"},", tensors[i].name, tensors[i].dtype,
            tensors[i].nelems, at, at + n);
        at += n;
    }
    used += (size_t)snprintf(head + used, sizeof head - used, "}");
    const uint64_t n8 = used;
    fwrite(&n8, 8, 1, f);
    fwrite(head, 1, used, f);
    uint8_t *bytes = malloc(at);
    for (size_t i = 0, to = 0; i < NTENSORS; i++) {
        const unsigned moved = i % 3 == 2 ? 0 : steps;
        seed = i == 6 ? 0 : i;
        fill_floats(bytes + to, tensors[i].width, tensors[i].nelems, i == 6 ? steps : moved);
        to += tensors[i].nelems * tensors[i].width;
    }
    fwrite(bytes, 1, at, f);
    fclose(f);
    free(bytes);
    return path;
}

/* A model's directory with everything that directories have. */
static const char *make_model(const char *name, unsigned steps)
{
    static char path[4][600];
    static unsigned turn;
    char inside[200];
    char *dir = path[turn++ % 4];
    snprintf(dir, sizeof path[0], "%s", scratch_folder(name));
    snprintf(inside, sizeof inside, "%s/model.safetensors", name);
    make_safetensors(scratch(inside), steps);
    snprintf(inside, sizeof inside, "%s/config.json", name);
    scratch_file(inside, STR("{\"model_type\": \"llama\"}\n"));
    snprintf(inside, sizeof inside, "%s/empty.txt", name);
    scratch_file(inside, STR(""));
    snprintf(inside, sizeof inside, "%s/.gitattributes", name);
    scratch_file(inside, STR("*.safetensors filter=lfs\n"));
    snprintf(inside, sizeof inside, "%s/additional_chat_templates", name);
    scratch_folder(inside);
    snprintf(inside, sizeof inside, "%s/additional_chat_templates/tool.jinja", name);
    scratch_file(inside, STR("{{ messages }}"));
    return dir;
}

static const char *const model_files[] = {"model.safetensors", "config.json", "empty.txt",
                                          ".gitattributes", "additional_chat_templates/tool.jinja"};

static struct str slurp(struct arena *arena, const char *path)
{
    struct quern_error e;
    struct str text;
    cr_assert_eq(read_small_file(path, 64 << 20, arena, &text, &e), QUERN_OK, "%s", e.text);
    return text;
}

static void same_file(const char *a, const char *b)
{
    struct arena arena = {0};
    cr_assert(str_eq(slurp(&arena, a), slurp(&arena, b)), "%s and %s differ", a, b);
    arena_free(&arena);
}

static void same_models(const char *a, const char *b)
{
    char x[800], y[800];
    for (size_t i = 0; i < sizeof model_files / sizeof *model_files; i++) {
        snprintf(x, sizeof x, "%s/%s", a, model_files[i]);
        snprintf(y, sizeof y, "%s/%s", b, model_files[i]);
        same_file(x, y);
    }
}

/* ---- runs ----------------------------------------------------------------------------------- */

static enum quern_status run_pack(const char *input, const char *output, const char *base,
                                  const struct quern_run_options *options, struct quern_error *e)
{
    struct plan *p;
    const struct pack_request r = {
        .inputs = &input, .ninputs = 1, .output = output, .base = base, .level = 1, .force = true};
    TRY(plan_pack(&r, &p, e));
    const enum quern_status s = plan_run(p, options, NULL, e);
    plan_free(p);
    return s;
}

static const char *packed(const char *input, const char *name, const char *base)
{
    static char paths[8][600];
    static unsigned turn;
    struct quern_error e;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s", scratch(name));
    cr_assert_eq(run_pack(input, path, base, NULL, &e), QUERN_OK, "%s", e.text);
    return path;
}

static enum quern_status unpack(const char *pack, const char *output, struct quern_error *e)
{
    struct plan *p;
    TRY(plan_unpack(pack, output, true, &p, e));
    const enum quern_status s = plan_run(p, NULL, NULL, e);
    plan_free(p);
    return s;
}

static void unpacks_to(const char *pack, const char *name, const char *original)
{
    struct quern_error e;
    const char *out = scratch(name);
    cr_assert_eq(unpack(pack, out, &e), QUERN_OK, "%s", e.text);
    same_models(out, original);
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0, "%s", path);
    return (uint64_t)st.st_size;
}

/* ---- numbers -------------------------------------------------------------------------------- */

Test(pack, checksums_are_those_of_xxh64)
{
    uint8_t bytes[256];
    struct xxh64 x;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    cr_assert_eq(xxh64("", 0), UINT64_C(0xEF46DB3751D8E999));
    cr_assert_eq(xxh64("abc", 3), UINT64_C(0x44BC2CF5AD770999));
    cr_assert_eq(xxh64(bytes, 39), UINT64_C(0x00A396EF1679A859));
    cr_assert_eq(xxh64(bytes, 101), UINT64_C(0xE99038495F85381E));
    cr_assert_eq(xxh64(bytes, 256), UINT64_C(0x1FACBE8406CD904B));
    /* In pieces. */
    xxh64_start(&x);
    xxh64_add(&x, bytes, 64);
    xxh64_add(&x, bytes + 64, 32);
    cr_assert_eq(xxh64_end(&x, bytes + 96, 5), UINT64_C(0xE99038495F85381E));
}

Test(pack, only_plain_frames_are_read)
{
    uint8_t content[5000], frame[6000], back[5000];
    struct frame_writer *w = frame_writer_new();
    struct frame_reader *r = frame_reader_new();
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i % 7 * i);
    const size_t n = frame_write(w, 1, content, sizeof content, frame);
    cr_assert(n > 0 && n <= frame_bound(sizeof content));
    cr_assert_null(frame_read(r, frame, n, back, sizeof back));
    cr_assert_arr_eq(back, content, sizeof back);
    cr_assert_not_null(frame_read(r, frame, n, back, sizeof back - 1));
    cr_assert_not_null(frame_read(r, frame, n - 1, back, sizeof back));
    for (unsigned bit = 0; bit < 8; bit++) {
        frame[4] ^= (uint8_t)(1u << bit);
        cr_assert_not_null(frame_read(r, frame, n, back, sizeof back), "descriptor bit %u", bit);
        frame[4] ^= (uint8_t)(1u << bit);
    }
    frame_writer_free(w);
    frame_reader_free(r);
    CHECK_LEAKS();
}

/* ---- there and back ------------------------------------------------------------------------- */

Test(pack, every_file_comes_back)
{
    const char *model = make_model("model", 0);
    const char *pack = packed(model, "model.qpk", NULL);
    unpacks_to(pack, "out", model);
    cr_assert(size_of(pack) < 4 * (size_of(scratch("model/model.safetensors")) / 5),
              "planes and the tied tensor save more than a fifth");
    CHECK_LEAKS();
}

Test(pack, a_single_file_comes_back_as_one)
{
    struct quern_error e;
    const char *model = make_model("model", 0);
    char file[700];
    snprintf(file, sizeof file, "%s/model.safetensors", model);
    const char *pack = packed(file, "file.qpk", NULL);
    cr_assert_eq(unpack(pack, scratch("again.safetensors"), &e), QUERN_OK, "%s", e.text);
    same_file(file, scratch("again.safetensors"));
    CHECK_LEAKS();
}

Test(pack, a_difference_comes_back_with_its_base)
{
    const char *base = make_model("base", 0), *tuned = make_model("tuned", 3);
    const char *alone = packed(tuned, "alone.qpk", NULL);
    const char *plain = packed(tuned, "plain.qpk", base);
    const char *base_pack = packed(base, "base.qpk", NULL);
    const char *chained = packed(tuned, "chained.qpk", base_pack);
    unpacks_to(plain, "out1", tuned);
    unpacks_to(chained, "out2", tuned);
    cr_assert(size_of(plain) < size_of(alone) / 10);
    CHECK_LEAKS();
}

Test(pack, what_equals_the_base_takes_nothing)
{
    const char *base = make_model("base", 0), *copy = make_model("copy", 0);
    const char *pack = packed(copy, "copy.qpk", base);
    cr_assert(size_of(pack) < 4096, "%" PRIu64 " bytes", size_of(pack));
    unpacks_to(pack, "out", copy);
    CHECK_LEAKS();
}

/* Bytes do not depend on threads, memory, or an interruption. */
static void stop_after_some(const struct quern_progress *p, void *cancel)
{
    if (p->done_bytes > p->total_bytes / 3)
        __atomic_store_n((volatile int *)cancel, 1, __ATOMIC_RELAXED);
}

Test(pack, the_same_bytes_however_it_is_run)
{
    struct quern_error e;
    const char *base = make_model("base", 0), *tuned = make_model("tuned", 5);
    const char *want = packed(tuned, "want.qpk", base);
    for (unsigned threads = 1; threads <= 4; threads++) {
        const struct quern_run_options options = {.threads = threads,
                                                  .mem_bytes = threads == 3 ? 24u << 20 : 0};
        cr_assert_eq(run_pack(tuned, scratch("again.qpk"), base, &options, &e), QUERN_OK, "%s",
                     e.text);
        same_file(want, scratch("again.qpk"));
    }
    volatile int cancel = 0;
    struct quern_run_options options = {.threads = 1,
                                        .progress = stop_after_some,
                                        .user = (void *)&cancel,
                                        .cancel = &cancel,
                                        .sync_seconds = 0.001,
                                        .keep_unfinished = true};
    unlink(scratch("again.qpk"));
    const enum quern_status s = run_pack(tuned, scratch("again.qpk"), base, &options, &e);
    cr_assert(s == QUERN_OK || s == QUERN_ECANCELLED, "%s", e.text);
    options = (struct quern_run_options){.resume = true, .threads = 2};
    cr_assert_eq(run_pack(tuned, scratch("again.qpk"), base, &options, &e), QUERN_OK, "%s", e.text);
    same_file(want, scratch("again.qpk"));
    CHECK_LEAKS();
}

/* ---- as a model ----------------------------------------------------------------------------- */

static void same_tensors(struct model *a, struct model *b)
{
    uint8_t x[5001], y[5001];
    cr_assert_eq(a->ntensors, b->ntensors);
    for (uint32_t i = 0; i < a->ntensors; i++) {
        const struct tensor *t = &a->tensors[i], *u = model_find(b, t->name);
        cr_assert(u && u->nbytes == t->nbytes && u->dtype == t->dtype);
        /* Odd sizes, so that reads begin and end anywhere in chunks. */
        for (uint64_t at = 0; at < t->nbytes; at += sizeof x) {
            const uint64_t left = t->nbytes - at;
            const size_t n = left < sizeof x ? (size_t)left : sizeof x;
            cr_assert_eq(model_pread(a, t->file, x, n, t->offset + at, NULL), QUERN_OK);
            cr_assert_eq(model_pread(b, u->file, y, n, u->offset + at, NULL), QUERN_OK);
            cr_assert_arr_eq(x, y, n);
        }
    }
}

Test(pack, any_range_of_numbers_can_be_read)
{
    struct quern_error e;
    struct model *a, *b;
    const char *model = make_model("model", 0);
    cr_assert_eq(model_open(packed(model, "model.qpk", NULL), &a, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(model_open(model, &b, &e), QUERN_OK, "%s", e.text);
    same_tensors(a, b);
    model_close(a);
    model_close(b);
    CHECK_LEAKS();
}

Test(pack, opens_as_the_model_it_holds)
{
    struct quern_error e;
    struct model *a, *b;
    struct arena arena = {0};
    const char *base = make_model("base", 0), *tuned = make_model("tuned", 2);
    const char *pack = packed(tuned, "tuned.qpk", base);
    char config[700];
    snprintf(config, sizeof config, "%s/config.json", pack);
    cr_assert_not(path_is_file(config));
    cr_assert_eq(model_open(pack, &a, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(model_open(tuned, &b, &e), QUERN_OK, "%s", e.text);
    same_tensors(a, b);
    cr_assert_eq(model_unchanged(a, &e), QUERN_OK, "%s", e.text);
    cr_assert_str_eq(a->dir, pack);
    cr_assert(path_is_file(config));
    cr_assert(str_eq(slurp(&arena, config), STR("{\"model_type\": \"llama\"}\n")));
    model_close(a);
    cr_assert_not(path_is_file(config), "nobody holds it open");
    snprintf(config, sizeof config, "%s/model.safetensors", pack);
    cr_assert_eq(model_open(config, &a, &e), QUERN_OK, "%s", e.text);
    same_tensors(b, a);
    model_close(a);
    model_close(b);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(pack, a_changed_pack_or_base_is_noticed)
{
    struct quern_error e;
    struct model *m;
    const char *base = make_model("base", 0), *tuned = make_model("tuned", 2);
    const char *pack = packed(tuned, "tuned.qpk", base);
    char file[700];
    snprintf(file, sizeof file, "%s/model.safetensors", base);
    cr_assert_eq(model_open(pack, &m, &e), QUERN_OK, "%s", e.text);
    make_safetensors(file, 1);
    cr_assert_eq(model_unchanged(m, &e), QUERN_EIO, "the base");
    cr_assert_str_eq(e.kind, "changed");
    model_close(m);
    make_safetensors(file, 0);
    cr_assert_eq(model_open(pack, &m, &e), QUERN_OK, "%s", e.text);
    same_file(packed(base, "other.qpk", NULL), scratch("other.qpk"));
    cr_assert_eq(rename(scratch("other.qpk"), pack), 0);
    cr_assert_eq(model_unchanged(m, &e), QUERN_EIO, "the pack");
    model_close(m);
    CHECK_LEAKS();
}

/* ---- bases ---------------------------------------------------------------------------------- */

static void refuses_base(const char *pack, const char *why)
{
    struct quern_error e;
    struct model *m;
    cr_assert_eq(model_open(pack, &m, &e), QUERN_EUSAGE, "%s", why);
    cr_assert_str_eq(e.kind, "base", "%s", e.text);
    cr_assert_eq(model_open_headers(pack, &m, &e), QUERN_OK, "%s: %s", why, e.text);
    model_close(m);
}

Test(pack, another_base_is_refused)
{
    struct quern_error e;
    struct model *m;
    char file[700], away[600];
    const char *base = make_model("base", 0), *tuned = make_model("tuned", 2);
    const char *pack = packed(tuned, "tuned.qpk", base);
    snprintf(file, sizeof file, "%s/model.safetensors", base);
    snprintf(away, sizeof away, "%s", scratch("away"));
    make_safetensors(file, 9);
    refuses_base(pack, "other values");
    cr_assert_eq(rename(base, away), 0);
    refuses_base(pack, "no base");
    /* Only one value far behind what the probe looks at: the chunk tells. */
    snprintf(file, sizeof file, "%s/model.safetensors", away);
    make_safetensors(file, 0);
    const int fd = open(file, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, "\x11", 1, 1000000), 1);
    close(fd);
    cr_assert_eq(pack_add_base(away, &e), QUERN_OK);
    cr_assert_eq(model_open(pack, &m, &e), QUERN_OK, "%s", e.text);
    model_close(m);
    cr_assert_eq(unpack(pack, scratch("out"), &e), QUERN_EUSAGE);
    cr_assert_str_eq(e.kind, "base");
    cr_assert_str_eq(e.tensor, "a.weight");
    cr_assert_eq(access(scratch("out"), F_OK), -1, "nothing has its name");
    make_safetensors(file, 0);
    unpacks_to(pack, "out", tuned);
}

Test(pack, packs_that_are_each_others_base_end)
{
    struct quern_error e;
    struct model *m;
    const char *base = make_model("base", 0), *tuned = make_model("tuned", 2);
    const char *first = packed(base, "x.qpk", NULL);
    const char *second = packed(tuned, "y.qpk", first);
    /* Not by quern: an input has no new file put in its place. */
    cr_assert_eq(run_pack(base, first, second, NULL, &e), QUERN_EUSAGE);
    cr_assert_str_eq(e.kind, "output-is-input");
    cr_assert_eq(rename(packed(base, "z.qpk", second), first), 0);
    cr_assert_neq(model_open(first, &m, &e), QUERN_OK);
    CHECK_LEAKS();
}

/* Packs of one family are all named: none of them is the base of all, which is not there, or comes
 * last. Tried in every order that would take years. */
Test(pack, many_named_bases_are_each_tried_a_few_times)
{
    enum { NPACKS = 40 };
    struct quern_error e;
    struct model *m;
    char away[600], name[32], first[600];
    const char *base = make_model("base", 0);
    const char *tuned = make_model("tuned", 2);
    snprintf(first, sizeof first, "%s", packed(tuned, "0.qpk", base));
    for (int i = 1; i < NPACKS; i++) {
        snprintf(name, sizeof name, "%d.qpk", i);
        const char *link_to = scratch(name);
        cr_assert_eq(link(first, link_to), 0);
        cr_assert_eq(pack_add_base(link_to, &e), QUERN_OK);
    }
    snprintf(away, sizeof away, "%s", scratch("away"));
    cr_assert_eq(rename(base, away), 0);
    cr_assert_eq(model_open(first, &m, &e), QUERN_EUSAGE);
    cr_assert_str_eq(e.kind, "base");
    cr_assert_eq(pack_add_base(away, &e), QUERN_OK);
    cr_assert_eq(model_open(first, &m, &e), QUERN_OK, "%s", e.text);
    cr_assert_str_eq(pack_base(m->archive)->path, scratch("away/model.safetensors"));
    model_close(m);
}

/* ---- damage --------------------------------------------------------------------------------- */

static bool as_recorded(struct archive *a, uint32_t i, const uint8_t *bytes, size_t n)
{
    const struct pack_file *files;
    uint8_t digest[32];
    struct sha256 sha;
    pack_files(pack_of(a), &files);
    sha256_start(&sha);
    sha256_add(&sha, bytes, n);
    sha256_end(&sha, digest);
    return memcmp(digest, files[i].sha256, sizeof digest) == 0;
}

/* Opens it and reads every byte of every file. *right: all are those that were recorded. */
static enum quern_status read_all(const char *path, bool *right, struct quern_error *e)
{
    struct archive *a;
    const char *name;
    uint64_t nbytes;
    *right = true;
    TRY(pack_open(path, PACK_DATA, &a, e));
    enum quern_status s = QUERN_OK;
    for (uint32_t i = 0; s == QUERN_OK && (name = a->kind->name(a, i, &nbytes)); i++) {
        uint8_t *bytes = malloc((size_t)nbytes + 1);
        s = a->kind->read(a, i, bytes, (size_t)nbytes, 0, e);
        *right &= s != QUERN_OK || as_recorded(a, i, bytes, (size_t)nbytes);
        free(bytes);
    }
    archive_leave(a);
    return s;
}

/* A small model and its base, packed; the pack's bytes. */
static struct str small_pack(struct arena *arena)
{
    static const char head[] = "\x68\0\0\0\0\0\0\0"
                               "{\"w\":{\"dtype\":\"BF16\",\"shape\":[40],\"data_offsets\":[0,80]},"
                               "\"v\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[80,100]}}";
    uint8_t bytes[sizeof head - 1 + 100];
    memcpy(bytes, head, sizeof head - 1);
    bytes[0] = (uint8_t)(sizeof head - 1 - 8);
    scratch_folder("sb");
    scratch_folder("st");
    seed = 3;
    fill_floats(bytes + sizeof head - 1, 2, 40, 0);
    fill_floats(bytes + sizeof head - 1 + 80, 4, 5, 0);
    scratch_file("sb/model.safetensors", (struct str){(char *)bytes, sizeof bytes});
    bytes[sizeof head - 1 + 12] ^= 1;
    scratch_file("st/model.safetensors", (struct str){(char *)bytes, sizeof bytes});
    scratch_file("st/config.json", STR("{}"));
    return slurp(arena, packed(scratch("st"), "small.qpk", scratch("sb")));
}

Test(pack, a_flipped_byte_is_an_error_or_does_no_harm)
{
    struct quern_error e;
    struct arena arena = {0};
    const struct str pack = small_pack(&arena);
    unsigned harmless = 0;
    bool right;
    const char *path = scratch_file("bad.qpk", pack);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < pack.n; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            const char flipped = (char)(pack.p[i] ^ 1 << bit);
            cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)i), 1);
            const enum quern_status s = read_all(path, &right, &e);
            if (s == QUERN_OK && right) {
                harmless++; /* zstd has bits that mean nothing */
            } else if (s != QUERN_OK) {
                cr_assert(s == QUERN_EFORMAT || s == QUERN_EUSAGE || s == QUERN_EUNSUPPORTED,
                          "byte %zu: %s", i, e.text);
                cr_assert(e.file[0] != '\0', "byte %zu: %s", i, e.text);
            }
        }
        cr_assert_eq(pwrite(fd, pack.p + i, 1, (off_t)i), 1);
    }
    cr_assert(harmless < pack.n * 8 / 100, "%u of %zu bits do not matter", harmless, pack.n * 8);
    close(fd);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(pack, a_cut_or_longer_pack_is_refused)
{
    struct quern_error e;
    struct arena arena = {0};
    const struct str pack = small_pack(&arena);
    bool right;
    const char *path = scratch_file("cut.qpk", pack);
    for (size_t n = pack.n + 2; n-- > 0;) {
        cr_assert_eq(truncate(path, (off_t)n), 0);
        if (n == pack.n)
            cr_assert_eq(read_all(path, &right, &e), QUERN_OK, "%s", e.text);
        else
            cr_assert_eq(read_all(path, &right, &e), QUERN_EFORMAT, "%zu bytes", n);
    }
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- lies ----------------------------------------------------------------------------------- */

static uint8_t *put_u32(uint8_t *to, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        *to++ = (uint8_t)(v >> 8 * i);
    return to;
}

/* A pack with this directory and one frame for each text, up to a NULL. */
static const char *forge(const char *directory, const char *const *texts)
{
    static uint8_t bytes[1 << 19];
    uint32_t sizes[16][2] = {
        {PACK_HEAD_BYTES, 0}
    };
    uint32_t n = 1;
    uint8_t *at = bytes;
    struct frame_writer *w = frame_writer_new();
    memcpy(at, PACK_HEAD, PACK_HEAD_BYTES);
    at += PACK_HEAD_BYTES;
    for (; texts && texts[n - 1]; n++) {
        sizes[n][1] = (uint32_t)strlen(texts[n - 1]);
        sizes[n][0] = (uint32_t)frame_write(w, 1, texts[n - 1], sizes[n][1], at);
        at += sizes[n][0];
    }
    const size_t size = frame_write(w, 1, directory, strlen(directory), at + 8);
    put_u32(put_u32(at, PACK_DIRECTORY), (uint32_t)size);
    at += sizes[n++][0] = (uint32_t)size + 8;
    at = put_u32(put_u32(at, PACK_TABLE), n * PACK_ENTRY_BYTES + PACK_FOOTER_BYTES);
    for (uint32_t i = 0; i < n; i++)
        at = put_u32(put_u32(at, sizes[i][0]), sizes[i][1]);
    at = put_u32(at, n);
    *at++ = 0;
    at = put_u32(at, PACK_TABLE_END);
    frame_writer_free(w);
    return scratch_file("forged.qpk", (struct str){(char *)bytes, (size_t)(at - bytes)});
}

#define SHA_ABCD "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"
#define HEAD     "{\"quern_pack\":1,\"chunk\":1048576,\"directory\":true,\"files\":["
#define FILE_OF(name, bytes, runs) \
    "{\"name\":\"" name "\",\"bytes\":" bytes ",\"sha256\":\"" SHA_ABCD "\",\"runs\":[" runs "]}"
#define RUN "{\"bytes\":4,\"chunks\":\"r\"}"

/* Zeros and spaces take next to nothing in a file: they must not take memory either. */
Test(pack, directories_of_very_little_are_refused)
{
    static const struct {
        int spaces;
        enum quern_status want;
    } cases[] = {
        {60000,  QUERN_OK     },
        {200000, QUERN_EFORMAT},
        {400000, QUERN_EFORMAT}
    };
    static char text[1 << 19];
    static const char *const texts[] = {"abcd", NULL};
    struct quern_error e;
    bool right;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, HEAD "%*s" FILE_OF("a", "4", RUN) "]}", cases[i].spaces, "");
        cr_assert_eq(read_all(forge(text, texts), &right, &e), cases[i].want, "case %zu", i);
    }
}

Test(pack, a_file_that_comes_out_otherwise_gets_no_name)
{
    static const char *const other[] = {"abce", NULL};
    struct quern_error e;
    const char *path = forge(HEAD FILE_OF("a", "4", RUN) "]}", other);
    cr_assert_eq(unpack(path, scratch("out"), &e), QUERN_EFORMAT);
    cr_assert_str_eq(e.kind, "sha256");
    cr_assert_eq(access(scratch("out"), F_OK), -1);
    CHECK_LEAKS();
}
