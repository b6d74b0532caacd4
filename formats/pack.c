/* pack.c - open packs: the table of frames, the directory, and that both agree. */
#include "formats/pack_inside.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/load.h"
#include "core/sha256.h"

#define TABLE_HEAD_BYTES 8u
#define MAX_DIRECTORY    (UINT64_C(128) << 20) /* of text */
#define SPARE_FRAMES     2u                    /* of a table, that hold no chunks */

/* Text that a directory may have however small it is, and for each byte that it and the table
 * take: real ones shrink to a thirtieth. */
#define FREE_TEXT     (UINT64_C(64) << 10)
#define TEXT_PER_BYTE 256u

/* ---- forms of chunks ------------------------------------------------------------------------ */

unsigned chunk_width(enum dtype d)
{
    switch (d) {
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
        return 1;
    case DTYPE_F16:
    case DTYPE_BF16:
        return 2;
    case DTYPE_F32:
        return 4;
    case DTYPE_F64:
        return 8;
    default:
        return 0;
    }
}

unsigned chunk_frames(enum chunk_form form, unsigned width)
{
    if (form == CHUNK_FLOAT || form == CHUNK_DELTA)
        return width;
    return form == CHUNK_SAME ? 0 : 1;
}

size_t chunk_content(enum chunk_form form, unsigned width, size_t n, unsigned frame)
{
    switch (form) {
    case CHUNK_FLOAT:
        return n / width;
    case CHUNK_DELTA:
        return n / width + (frame == 0 ? PACK_SUM_BYTES : 0);
    case CHUNK_BASE:
        return PACK_SUM_BYTES;
    default:
        return n;
    }
}

size_t chunk_bound(void)
{
    return 8 * frame_bound(PACK_CHUNK / 8 + PACK_SUM_BYTES);
}

/* ---- the table ------------------------------------------------------------------------------ */

static enum quern_status bad(const struct pack *p, const char *what, struct quern_error *err)
{
    return in_file(err, p->archive.path,
                   fail(err, QUERN_EFORMAT, "pack",
                        "%s" WANT "expected a complete pack (unfinished download?)", what));
}

static enum quern_status read_at(const struct pack *p, void *to, size_t n, uint64_t at,
                                 struct quern_error *err)
{
    return pread_full(p->fd, to, n, at, p->archive.path, err);
}

static enum quern_status check_head(const struct pack *p, struct quern_error *err)
{
    uint8_t head[PACK_HEAD_BYTES];
    if (p->archive.id.nbytes < sizeof head + TABLE_HEAD_BYTES + PACK_FOOTER_BYTES)
        return bad(p, "it is too short", err);
    TRY(read_at(p, head, sizeof head, 0, err));
    if (memcmp(head, PACK_HEAD, sizeof head) == 0)
        return QUERN_OK;
    return in_file(err, p->archive.path,
                   fail(err, QUERN_EFORMAT, "not-a-pack",
                        "this is no pack" WANT "expected a file that quern pack has made"));
}

/* Number of frames, and where the table begins: both follow from the last bytes of the file, which
 * is long enough for them. */
static enum quern_status find_table(struct pack *p, uint64_t *table_at, struct quern_error *err)
{
    uint8_t foot[PACK_FOOTER_BYTES], head[TABLE_HEAD_BYTES];
    const uint64_t all = p->archive.id.nbytes;
    TRY(read_at(p, foot, sizeof foot, all - sizeof foot, err));
    const uint64_t n = load_u32(foot), body = n * PACK_ENTRY_BYTES + PACK_FOOTER_BYTES;
    if (load_u32(foot + 5) != PACK_TABLE_END || foot[4] != 0)
        return bad(p, "it does not end in a table of frames", err);
    if (n < SPARE_FRAMES || n > UINT32_MAX / 2 || body > all - TABLE_HEAD_BYTES)
        return bad(p, "its table of frames is longer than the file", err);
    *table_at = all - body - TABLE_HEAD_BYTES;
    TRY(read_at(p, head, sizeof head, *table_at, err));
    if (load_u32(head) != PACK_TABLE || load_u32(head + 4) != body)
        return bad(p, "its table of frames does not begin where it must", err);
    p->nframes = (uint32_t)n;
    return QUERN_OK;
}

/* The frames lie one after the other and fill the file up to the table. */
static enum quern_status place_frames(struct pack *p, const uint8_t *table, uint64_t table_at,
                                      struct quern_error *err)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < p->nframes; i++) {
        p->frame_at[i] = at;
        at += load_u32(table + (size_t)i * PACK_ENTRY_BYTES);
    }
    p->frame_at[p->nframes] = at;
    if (at != table_at)
        return bad(p, "its frames do not fill the file", err);
    if (p->frame_at[1] != PACK_HEAD_BYTES)
        return bad(p, "its first frame has another length", err);
    return QUERN_OK;
}

/* ---- the directory -------------------------------------------------------------------------- */

static enum quern_status decode_directory(struct pack *p, const uint8_t *stored, size_t n,
                                          struct quern_error *err)
{
    uint64_t content;
    if (n < TABLE_HEAD_BYTES || load_u32(stored) != PACK_DIRECTORY ||
        load_u32(stored + 4) != n - TABLE_HEAD_BYTES)
        return bad(p, "its directory does not begin where it must", err);
    stored += TABLE_HEAD_BYTES;
    n -= TABLE_HEAD_BYTES;
    const uint64_t tail = p->archive.id.nbytes - p->frame_at[p->nframes - 1];
    if (!frame_content_bytes(stored, n, &content) || content > MAX_DIRECTORY ||
        content > FREE_TEXT + tail * TEXT_PER_BYTE)
        return bad(p, "its directory is no zstd frame, or too large", err);
    struct frame_reader *r = frame_reader_new();
    p->text_bytes = (size_t)content;
    p->text = malloc(p->text_bytes + 1);
    const char *wrong = NULL;
    if (r && p->text)
        wrong = frame_read(r, stored, n, p->text, p->text_bytes);
    frame_reader_free(r);
    if (!r || !p->text)
        return fail_memory(err, p->text_bytes);
    if (wrong)
        return bad(p, "its directory is damaged", err);
    p->text[p->text_bytes] = '\0';
    return pack_read_directory(p, err);
}

static enum quern_status read_directory(struct pack *p, uint64_t table_at, struct quern_error *err)
{
    const uint64_t at = p->frame_at[p->nframes - 1], n = table_at - at;
    uint8_t *stored = malloc((size_t)n + 1);
    if (!stored)
        return fail_memory(err, n);
    enum quern_status s = read_at(p, stored, (size_t)n, at, err);
    if (s == QUERN_OK)
        s = decode_directory(p, stored, (size_t)n, err);
    free(stored);
    p->directory_at = at;
    return s;
}

/* Frames of a chunk are as the directory says: their number, and the size of what each holds. */
static enum quern_status check_chunk(const struct pack *p, const struct pack_run *run,
                                     uint32_t chunk, const uint8_t *table, uint32_t *frame,
                                     struct quern_error *err)
{
    const enum chunk_form form = (enum chunk_form)run->chunks[chunk];
    const unsigned width = chunk_width(run->dtype), nframes = chunk_frames(form, width);
    if (nframes > p->nframes - 1 - *frame)
        return bad(p, "its table has fewer frames than the directory needs", err);
    for (unsigned k = 0; k < nframes; k++, ++*frame) {
        const uint8_t *entry = table + (size_t)*frame * PACK_ENTRY_BYTES;
        const size_t content = chunk_content(form, width, chunk_bytes(run, chunk), k);
        if (load_u32(entry + 4) != content || load_u32(entry) > frame_bound(content))
            return in_run(p, run, bad(p, "a frame has another size than its chunk needs", err),
                          err);
    }
    return QUERN_OK;
}

static enum quern_status check_frames(struct pack *p, const uint8_t *table, struct quern_error *err)
{
    uint32_t frame = 1;
    p->chunk_frame = malloc((p->nchunks + 1u) * sizeof *p->chunk_frame);
    if (!p->chunk_frame)
        return fail_memory(err, p->nchunks * sizeof *p->chunk_frame);
    for (uint32_t i = 0; i < p->nruns; i++) {
        const struct pack_run *run = &p->runs[i];
        for (uint32_t k = 0; k < run->nchunks; k++) {
            p->chunk_frame[run->first_chunk + k] = frame;
            TRY(check_chunk(p, run, k, table, &frame, err));
        }
    }
    p->chunk_frame[p->nchunks] = frame;
    const uint8_t *last = table + (size_t)frame * PACK_ENTRY_BYTES;
    if (frame != p->nframes - 1 || load_u32(table + 4) != 0 || load_u32(last + 4) != 0)
        return bad(p, "its table has more frames than the directory needs", err);
    return QUERN_OK;
}

/* ---- life ----------------------------------------------------------------------------------- */

/* Directory and table as they lie in the file: an edit in place may leave its time as it was. */
static enum quern_status sum_tail(const struct pack *p, uint8_t sum[32], struct quern_error *err)
{
    enum { PIECE_BYTES = 1 << 16 };
    uint8_t *piece = malloc(PIECE_BYTES);
    struct sha256 s;
    enum quern_status status = piece ? QUERN_OK : fail_memory(err, PIECE_BYTES);
    sha256_start(&s);
    for (uint64_t at = p->directory_at; status == QUERN_OK && at < p->archive.id.nbytes;) {
        const uint64_t left = p->archive.id.nbytes - at;
        const size_t n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        status = read_at(p, piece, n, at, err);
        if (status == QUERN_OK)
            sha256_add(&s, piece, n);
        at += n;
    }
    sha256_end(&s, sum);
    free(piece);
    return status;
}

static enum quern_status open_table(struct pack *p, struct quern_error *err)
{
    uint64_t table_at = 0;
    TRY(check_head(p, err));
    TRY(find_table(p, &table_at, err));
    const size_t n = (size_t)p->nframes * PACK_ENTRY_BYTES;
    uint8_t *table = malloc(n);
    p->frame_at = malloc((p->nframes + 1u) * sizeof *p->frame_at);
    enum quern_status s = table && p->frame_at ? QUERN_OK : fail_memory(err, 2 * n);
    if (s == QUERN_OK)
        s = read_at(p, table, n, table_at + TABLE_HEAD_BYTES, err);
    if (s == QUERN_OK)
        s = place_frames(p, table, table_at, err);
    if (s == QUERN_OK)
        s = read_directory(p, table_at, err);
    if (s == QUERN_OK)
        s = check_frames(p, table, err);
    free(table);
    return s;
}

static const char *file_name(const struct archive *a, uint32_t i, uint64_t *nbytes)
{
    const struct pack *p = (const struct pack *)a;
    if (i >= p->nfiles)
        return NULL;
    *nbytes = p->files[i].nbytes;
    return p->files[i].name;
}

static enum quern_status unchanged(struct archive *a, struct quern_error *err)
{
    struct pack *p = (struct pack *)a;
    struct file_id now;
    uint8_t sum[32];
    int fd = -1;
    TRY(input_open(a->path, &fd, &now, err));
    close(fd);
    TRY(sum_tail(p, sum, err));
    if (now.dev != a->id.dev || now.ino != a->id.ino || now.nbytes != a->id.nbytes ||
        now.mtime_ns != a->id.mtime_ns || memcmp(sum, p->tail_sum, sizeof sum) != 0)
        return in_file(err, a->path,
                       fail(err, QUERN_EIO, "changed",
                            "the pack is not what it was when its directory was read" WANT
                            "expected inputs to stay untouched during a run"));
    return p->base ? model_unchanged(p->base, err) : QUERN_OK;
}

static uint64_t held_bytes(const struct archive *a)
{
    const struct pack *p = (const struct pack *)a;
    return sizeof *p + p->arena.nbytes + p->text_bytes + p->file_capacity * sizeof *p->files +
           p->run_capacity * sizeof *p->runs + p->nchunks * sizeof *p->chunk_frame +
           p->nframes * sizeof *p->frame_at + (uint64_t)PACK_SPARE_SLOTS * PACK_PLANES_MAX +
           pack_decoder_bytes() + (p->base ? model_bytes(p->base) : 0);
}

static void pack_close(struct archive *a)
{
    struct pack *p = (struct pack *)a;
    pack_pool_close(p);
    model_close(p->base);
    if (p->fd >= 0)
        close(p->fd);
    free(p->text);
    free(p->files);
    free(p->runs);
    free(p->chunk_frame);
    free(p->frame_at);
    arena_free(&p->arena);
    free(p);
}

static const struct archive_kind pack_kind = {.name = file_name,
                                              .read = pack_read,
                                              .unchanged = unchanged,
                                              .held_bytes = held_bytes,
                                              .worker_bytes = pack_worker_bytes,
                                              .set_workers = pack_set_workers,
                                              .close = pack_close};

struct pack *pack_of(struct archive *a)
{
    return a->kind == &pack_kind ? (struct pack *)a : NULL;
}

const struct model *pack_base(struct archive *a)
{
    return a && pack_of(a) ? pack_of(a)->base : NULL;
}

bool pack_is_one(const char *path)
{
    uint8_t head[PACK_HEAD_BYTES];
    struct file_id id;
    int fd;
    if (input_open(path, &fd, &id, NULL) != QUERN_OK)
        return false;
    const bool is = pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
                    memcmp(head, PACK_HEAD, sizeof head) == 0;
    close(fd);
    return is;
}

static enum quern_status open_new(const char *path, struct archive **out, struct quern_error *err)
{
    struct pack *p = calloc(1, sizeof *p);
    if (!p)
        return fail_memory(err, sizeof *p);
    p->fd = -1;
    p->archive.kind = &pack_kind;
    p->archive.path = arena_printf(&p->arena, "%s", path);
    enum quern_status s = pack_pool_open(p, PACK_SPARE_SLOTS, err);
    if (s == QUERN_OK && !p->archive.path)
        s = fail_memory(err, strlen(path));
    if (s == QUERN_OK)
        s = input_open(path, &p->fd, &p->archive.id, err);
    if (s == QUERN_OK)
        s = open_table(p, err);
    if (s == QUERN_OK)
        s = sum_tail(p, p->tail_sum, err);
    if (s != QUERN_OK) {
        pack_close(&p->archive);
        return s;
    }
    if (p->base_path.p)
        pack_find_base(p);
    *out = archive_mount(&p->archive);
    return QUERN_OK;
}

enum quern_status pack_open(const char *path, enum pack_use use, struct archive **out,
                            struct quern_error *err)
{
    struct archive *a = archive_use(path);
    if (!a)
        TRY(open_new(path, &a, err));
    const struct pack *p = (const struct pack *)a;
    if (use == PACK_DATA && p->base_status != QUERN_OK) {
        const enum quern_status s = p->base_status;
        if (err)
            *err = p->base_error;
        archive_leave(a);
        return s;
    }
    *out = a;
    return QUERN_OK;
}

/* ---- paths that lead into packs ---------------------------------------------------------------
 */

static enum quern_status enter(const char *path, enum pack_use use, struct archive **held,
                               struct quern_error *err)
{
    struct arena scratch = {0};
    const size_t n = pack_part(path);
    *held = NULL;
    if (n == 0)
        return QUERN_OK;
    const char *pack = arena_printf(&scratch, "%.*s", (int)n, path);
    const enum quern_status s = pack ? pack_open(pack, use, held, err) : fail_memory(err, n);
    arena_free(&scratch);
    return s;
}

enum quern_status pack_enter(const char *path, struct archive **held, struct quern_error *err)
{
    return enter(path, PACK_DATA, held, err);
}

bool named_path_exists(const char *path)
{
    struct archive *held;
    if (access(path, F_OK) == 0)
        return true;
    if (enter(path, PACK_FILES, &held, NULL) != QUERN_OK)
        return false;
    const bool is = held && path_exists(path);
    archive_leave(held);
    return is;
}

enum quern_status read_named_file(const char *path, uint64_t max, struct arena *arena,
                                  struct str *out, struct quern_error *err)
{
    struct archive *held;
    TRY(pack_enter(path, &held, err));
    const enum quern_status s = read_small_file(path, max, arena, out, err);
    archive_leave(held);
    return s;
}

/* ---- for whoever unpacks -------------------------------------------------------------------- */

uint32_t pack_files(const struct pack *p, const struct pack_file **files)
{
    *files = p->files;
    return p->nfiles;
}

uint32_t pack_runs(const struct pack *p, const struct pack_run **runs)
{
    *runs = p->runs;
    return p->nruns;
}

bool pack_is_directory(const struct pack *p)
{
    return p->directory;
}

const char *pack_base_path(const struct pack *p)
{
    return p->base ? p->base->path : p->base_path.p;
}

enum quern_status pack_base_status(const struct pack *p, const struct quern_error **why)
{
    *why = &p->base_error;
    return p->base_status;
}

bool pack_base_is_absent(const struct pack *p)
{
    return p->base_is_absent;
}

uint64_t pack_run_stored(const struct pack *p, const struct pack_run *run)
{
    const uint32_t first = p->chunk_frame[run->first_chunk];
    return p->frame_at[p->chunk_frame[run->first_chunk + run->nchunks]] - p->frame_at[first];
}

size_t pack_part(const char *path)
{
    char part[PATH_MAX];
    struct stat st;
    for (const char *at = path; *at;) {
        at += strcspn(at + 1, "/") + 1;
        const size_t n = (size_t)(at - path);
        if (n >= sizeof part)
            return 0;
        memcpy(part, path, n);
        part[n] = '\0';
        if (stat(part, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            return 0;
        if (S_ISREG(st.st_mode))
            return pack_is_one(part) ? n : 0;
    }
    return 0;
}
