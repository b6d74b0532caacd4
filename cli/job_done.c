/* job_done.c - records of the parts that are done. */
#include <string.h>
#include <sys/stat.h>

#include "core/io.h"
#include "core/sha256.h"
#include "formats/byte_files.h"
#include "job_file.h"

#define MAX_DONE (1u << 20)

const char *done_path(const struct job *j, uint32_t part, struct arena *arena)
{
    return arena_printf(arena, "%s/part-%05u.done", j->work, part + 1);
}

enum quern_status done_write(const struct job *j, const struct division *d, uint32_t part,
                             const char (*hex)[65], struct quern_error *err)
{
    struct arena arena = {0};
    struct json_writer w = {0};
    const struct portion *q = &d->portions[part];
    json_open(&w, '{');
    field_u64(&w, "quern_part", part + 1);
    field_text(&w, "digest", j->digest);
    json_key(&w, "slices");
    json_open(&w, '[');
    for (uint32_t i = 0; i < q->nslices; i++) {
        json_open(&w, '{');
        field_u64(&w, "slice", q->first_slice + i + 1);
        field_u64(&w, "bytes", d->slices[q->first_slice + i].nbytes);
        field_text(&w, "sha256", hex[i]);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    const char *path = done_path(j, part, &arena);
    enum quern_status s = path ? QUERN_OK : fail_memory(err, strlen(j->work));
    if (s == QUERN_OK)
        s = job_write_text(path, &w, true, err);
    else
        json_writer_free(&w);
    arena_free(&arena);
    return s;
}

/* The record is about these slices. */
static bool fits(const struct job *j, const struct division *d, uint32_t part,
                 const struct json *root, char (*hex)[65])
{
    const struct portion *q = &d->portions[part];
    const struct json *slice = json_first(json_get(root, "slices"));
    struct str text;
    uint64_t n;
    if (!json_text(json_get(root, "digest"), &text) || !str_is(text, j->digest) ||
        !json_u64(json_get(root, "quern_part"), &n) || n != part + 1u)
        return false;
    for (uint32_t i = 0; i < q->nslices; i++, slice = json_next(slice)) {
        if (!json_u64(json_get(slice, "slice"), &n) || n != q->first_slice + i + 1u ||
            !json_u64(json_get(slice, "bytes"), &n) || n != d->slices[q->first_slice + i].nbytes ||
            !json_text(json_get(slice, "sha256"), &text) || !is_digest_hex(text))
            return false;
        if (hex)
            memcpy(hex[i], text.p, 65);
    }
    return slice == NULL;
}

static enum quern_status look_for_slices(const struct job *j, const struct division *d,
                                         uint32_t part, struct arena *arena, bool *there,
                                         struct quern_error *err)
{
    const struct portion *q = &d->portions[part];
    *there = true;
    for (uint32_t i = 0; *there && i < q->nslices; i++) {
        const struct byte_range r = slice_place(d, j->made_in, q->first_slice + i, arena);
        const struct stretch *s = &d->slices[q->first_slice + i];
        if (!r.path)
            return fail_memory(err, strlen(j->made_in));
        *there = byte_file_has_size(r.path, d->shared ? s->file_bytes : s->nbytes);
    }
    return QUERN_OK;
}

enum quern_status done_read(const struct job *j, const struct division *d, uint32_t part,
                            enum done *done, char (*hex)[65], struct quern_error *err)
{
    struct arena arena = {0};
    struct json *root = NULL;
    struct str text = {NULL, 0};
    struct stat st;
    bool there = false;
    enum quern_status s = QUERN_OK;
    const char *path = done_path(j, part, &arena);
    *done = DONE_NOT;
    if (!path)
        s = fail_memory(err, strlen(j->work));
    else if (stat(path, &st) == 0)
        s = read_small_file(path, MAX_DONE, &arena, &text, err);
    else
        path = NULL;
    if (s == QUERN_OK && path)
        s = json_parse(text, &root, err);
    /* One that is torn or of another plan is as good as none. */
    if (s == QUERN_EFORMAT)
        s = QUERN_OK;
    if (s == QUERN_OK && root && fits(j, d, part, root, hex)) {
        s = look_for_slices(j, d, part, &arena, &there, err);
        *done = there ? DONE : DONE_GONE;
    }
    json_free(root);
    arena_free(&arena);
    return s;
}
