/* fuzz_pack.c - any directory with any frames as a pack: refused, or its files can be read. */
#include <string.h>

#include "check_model.h"
#include "core/xxh64.h"
#include "formats/pack.h"
#include "pipeline/pack_plan.h"

/* What a pack is put together from. Sums and tables fit, so that most of what is changed gets past
 * them; the last two change what was made. */
enum { DIRECTORY, CONTENT, ZEROS, FRAME, CHANGE, FILE_BYTES, NPARTS };

#define MAX_FRAMES 64u
#define MAX_PIECE  (1u << 17) /* of a frame's blocks */

struct maker {
    uint8_t bytes[1u << 16];
    size_t n;
    uint32_t entries[MAX_FRAMES + 2][2];
    uint32_t nentries;
};

static void put(struct maker *m, const void *bytes, size_t n)
{
    FUZZ_CHECK(n <= sizeof m->bytes - m->n);
    if (n)
        memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

static void put_le(struct maker *m, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        put(m, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

/* ---- frames --------------------------------------------------------------------------------- */

static void frame_head(struct maker *m, size_t n)
{
    put(m, "\x28\xB5\x2F\xFD\xA4", 5);
    put_le(m, n, 4);
}

static void put_frame(struct maker *m, struct str content)
{
    frame_head(m, content.n);
    put_le(m, content.n << 3 | 1, 3);
    put(m, content.p, content.n);
    put_le(m, xxh64(content.p, content.n), 4);
}

/* Of n zeros, which no input has room for. */
static void put_zeros(struct maker *m, size_t n)
{
    static const uint8_t zeros[PACK_CHUNK + PACK_SUM_BYTES];
    frame_head(m, n);
    for (size_t at = 0; at < n || at == 0; at += MAX_PIECE) {
        const size_t piece = n - at < MAX_PIECE ? n - at : MAX_PIECE;
        put_le(m, piece << 3 | 2 | (at + piece == n), 3);
        put_le(m, 0, 1);
    }
    put_le(m, xxh64(zeros, n), 4);
}

static void close_entry(struct maker *m, size_t start, size_t content)
{
    m->entries[m->nentries][0] = (uint32_t)(m->n - start);
    m->entries[m->nentries++][1] = (uint32_t)content;
}

static void add_frame(struct maker *m, const struct fuzz_part *part)
{
    const size_t start = m->n;
    size_t content = part->text.n;
    struct fuzz_bytes b = {part->text.p, part->text.n};
    if (m->nentries > MAX_FRAMES || m->n > sizeof m->bytes / 2)
        return;
    switch (part->which % NPARTS) {
    case CONTENT:
        put_frame(m, part->text);
        break;
    case ZEROS:
        content = take_u32(&b) % (PACK_CHUNK + PACK_SUM_BYTES + 1);
        put_zeros(m, content);
        break;
    default: /* a content size, and any bytes for the frame */
        content = take_u32(&b);
        put(m, b.p, b.n);
    }
    close_entry(m, start, content);
}

static void put_tail(struct maker *m, struct str directory)
{
    const size_t start = m->n;
    put_le(m, PACK_DIRECTORY, 4);
    put_le(m, directory.n + 16, 4);
    put_frame(m, directory);
    close_entry(m, start, 0);
    put_le(m, PACK_TABLE, 4);
    put_le(m, m->nentries * PACK_ENTRY_BYTES + PACK_FOOTER_BYTES, 4);
    for (uint32_t i = 0; i < m->nentries; i++) {
        put_le(m, m->entries[i][0], 4);
        put_le(m, m->entries[i][1], 4);
    }
    put_le(m, m->nentries, 4);
    put_le(m, 0, 1);
    put_le(m, PACK_TABLE_END, 4);
}

/* ---- the file ------------------------------------------------------------------------------- */

/* A place, from the end, and what comes there. */
static void change(struct maker *m, struct str text)
{
    struct fuzz_bytes b = {text.p, text.n};
    const size_t back = take_u32(&b) % (m->n + 1), n = b.n < back ? b.n : back;
    if (n)
        memcpy(m->bytes + m->n - back, b.p, n);
}

static void make(struct maker *m, char *text, size_t n, struct str directory)
{
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    m->n = 0;
    m->nentries = 0;
    put(m, PACK_HEAD, PACK_HEAD_BYTES);
    close_entry(m, 0, 0);
    while (take_file(&b, &part))
        if (part.which % NPARTS >= CONTENT && part.which % NPARTS <= FRAME)
            add_frame(m, &part);
    put_tail(m, directory);
    b = (struct fuzz_bytes){text, n};
    while (take_file(&b, &part)) {
        if (part.which % NPARTS == CHANGE)
            change(m, part.text);
        if (part.which % NPARTS != FILE_BYTES)
            continue;
        m->n = 0;
        put(m, part.text.p, part.text.n);
    }
}

static struct str directory_of(char *text, size_t n)
{
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    while (take_file(&b, &part))
        if (part.which % NPARTS == DIRECTORY)
            return part.text;
    return (struct str){"{}", 2};
}

/* ---- the base ------------------------------------------------------------------------------- */

/* The one of tests/corpus_packs.py: 40 numbers and 5. */
static void make_base(void)
{
    static const char head[] =
        "{\"w\":{\"dtype\":\"BF16\",\"shape\":[8,5],\"data_offsets\":[0,80]},"
        "\"v\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[80,100]}}";
    static const float v[] = {0.5f, -1.25f, 3.0f, 0.0f, -0.0f};
    uint8_t bytes[8 + sizeof head - 1 + 80 + sizeof v] = {sizeof head - 1};
    uint8_t *to = bytes + 8;
    memcpy(to, head, sizeof head - 1);
    to += sizeof head - 1;
    for (unsigned i = 0; i < 40; i++) {
        const unsigned w = 0x3C00 + (4 + 7 * i) % 400 + (i % 3 == 0 ? 0x8000 : 0);
        *to++ = (uint8_t)w;
        *to++ = (uint8_t)(w >> 8);
    }
    memcpy(to, v, sizeof v);
    fuzz_file("base.safetensors", bytes, sizeof bytes);
}

/* The probe that the directory would have, were it made with this base. It cannot be guessed. */
static bool right_probe(const char *path, uint8_t digest[32])
{
    struct archive *a;
    struct model *base;
    const struct pack_run *runs;
    const struct tensor *tensors[256];
    uint32_t n = 0;
    if (pack_open(path, PACK_FILES, &a, NULL) != QUERN_OK)
        return false;
    const uint32_t nruns = pack_runs(pack_of(a), &runs);
    char where[FUZZ_PATH];
    bool ok = model_open(fuzz_path("base.safetensors", where), &base, NULL) == QUERN_OK;
    for (uint32_t i = 0; ok && i < nruns; i++)
        if (runs[i].base.n) {
            ok = n < 256 && (tensors[n] = model_find(base, runs[i].base));
            n += ok;
        }
    ok = ok && pack_probe(base, tensors, n, digest, NULL) == QUERN_OK;
    model_close(base);
    archive_leave(a);
    return ok;
}

/* Puts it into the text; false when there is no place for it. */
static bool mend_probe(struct str directory, const uint8_t digest[32])
{
    static const char key[] = "\"probe\": \"";
    const size_t n = sizeof key - 1;
    char *at = directory.n ? memmem(directory.p, directory.n, key, n) : NULL;
    if (!at || (size_t)(directory.p + directory.n - at) < n + 65)
        return false;
    for (size_t i = 0; i < 64; i++)
        at[n + i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    return true;
}

/* ---- what holds ----------------------------------------------------------------------------- */

static void check_runs(const struct pack *p)
{
    const struct pack_file *files;
    const struct pack_run *runs;
    const uint32_t nfiles = pack_files(p, &files), nruns = pack_runs(p, &runs);
    uint32_t run = 0;
    for (uint32_t i = 0; i < nfiles; i++) {
        uint64_t at = 0;
        FUZZ_CHECK(files[i].name[0] != '\0' && files[i].name[0] != '/' &&
                   files[i].first_run == run);
        FUZZ_CHECK(i == 0 || strcmp(files[i - 1].name, files[i].name) < 0);
        for (uint32_t k = 0; k < files[i].nruns; k++, run++) {
            FUZZ_CHECK(runs[run].file == i && runs[run].first == at && runs[run].nbytes > 0);
            FUZZ_CHECK(runs[run].same <= run);
            at += runs[run].nbytes;
        }
        FUZZ_CHECK(at == files[i].nbytes);
    }
    FUZZ_CHECK(run == nruns);
}

/* A chunk is read in one go and by pieces: the same bytes, or the same error. */
static void read_run(struct archive *a, const struct pack_run *r, uint32_t chunk)
{
    static uint8_t all[PACK_CHUNK], some[100];
    struct quern_error err;
    const uint64_t at = (uint64_t)chunk * PACK_CHUNK;
    const size_t n = r->nbytes - at < PACK_CHUNK ? (size_t)(r->nbytes - at) : PACK_CHUNK;
    const size_t skip = n / 3, piece = n - skip < sizeof some ? n - skip : sizeof some;
    const bool bad = fuzz_failed(a->kind->read(a, r->file, all, n, r->first + at, &err), &err);
    FUZZ_CHECK(!bad || err.file[0]);
    const bool bad_piece =
        fuzz_failed(a->kind->read(a, r->file, some, piece, r->first + at + skip, &err), &err);
    FUZZ_CHECK(bad == bad_piece && (bad || memcmp(all + skip, some, piece) == 0));
}

static void read_some(struct archive *a)
{
    enum { MOST = 12 };
    const struct pack_run *runs;
    const uint32_t nruns = pack_runs(pack_of(a), &runs);
    for (uint32_t i = 0; i < nruns && i < MOST; i++) {
        read_run(a, &runs[i], 0);
        if (runs[i].nchunks > 1)
            read_run(a, &runs[i], runs[i].nchunks - 1);
    }
}

static void check(const char *path)
{
    struct quern_error err;
    struct archive *a;
    struct model *m;
    struct plan *p;
    char out[FUZZ_PATH];
    if (fuzz_failed(pack_open(path, PACK_DATA, &a, &err), &err))
        return;
    check_runs(pack_of(a));
    read_some(a);
    if (!fuzz_failed(model_open(path, &m, &err), &err)) {
        check_model(m);
        model_close(m);
    }
    if (!fuzz_failed(plan_unpack(path, fuzz_path("out", out), false, &p, &err), &err))
        plan_free(p);
    archive_leave(a);
}

static void run(char *text, size_t n)
{
    static struct maker m;
    uint8_t digest[32];
    const struct str directory = directory_of(text, n);
    make_base();
    make(&m, text, n, directory);
    const char *path = fuzz_file("x.qpk", m.bytes, m.n);
    if (right_probe(path, digest) && mend_probe(directory, digest)) {
        make(&m, text, n, directory);
        fuzz_file("x.qpk", m.bytes, m.n);
    }
    check(path);
}

static void mutate(struct mutation *m)
{
    static mutate_fn *const mutators[NPARTS] = {mutate_json};
    mutate_files(m, mutators, NPARTS);
}

static const char *const words[] = {"\"same\": ",
                                    "\"chunks\": \"",
                                    "\"base\": \"",
                                    "\"dtype\": ",
                                    "\"tensor\": ",
                                    "\"shape\": [",
                                    "\"BF16\"",
                                    "\"F64\"",
                                    "1048577",
                                    "\"F8_E4M3\"",
                                    NULL};

/* A few megabytes are what decoding takes, of a pack and of packs that are its base. */
const struct fuzz_target fuzz_pack = {
    .name = "pack",
    .max_len = 4096,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 4096,
    .bytes_besides = 16u << 20,
    .words = words,
};
