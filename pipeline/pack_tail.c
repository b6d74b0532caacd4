/* pack_tail.c - the end of a pack: its directory and the table of its frames. */
#include <stdio.h>
#include <stdlib.h>

#include "core/checked.h"
#include "core/json.h"
#include "packing.h"

#define DIRECTORY_LEVEL 9
#define HEAD_BYTES      8u /* of a skippable frame */

static void put_hex(struct json_writer *w, const char *key, const uint8_t digest[32])
{
    char hex[65];
    digest_hex(digest, hex);
    json_key(w, key);
    json_put_text(w, hex);
}

static void put_u64(struct json_writer *w, const char *key, uint64_t v)
{
    json_key(w, key);
    json_put_u64(w, v);
}

static void put_tensor(struct json_writer *w, const struct tensor *t)
{
    json_key(w, "tensor");
    json_put_str(w, t->name);
    json_key(w, "dtype");
    json_put_text(w, dtype_traits[t->dtype].name);
    json_key(w, "shape");
    json_open(w, '[');
    for (unsigned d = 0; d < t->ndims; d++)
        json_put_u64(w, t->dims[d]);
    json_close(w, ']');
}

static void put_run(struct json_writer *w, const struct packing *k, uint32_t i)
{
    const struct packed_run *run = &k->runs[i];
    const uint64_t nbytes = k->plan->steps[i].nbytes;
    json_open(w, '{');
    if (run->tensor)
        put_tensor(w, run->tensor);
    put_u64(w, "bytes", nbytes);
    if (run->base) {
        json_key(w, "base");
        json_put_str(w, run->base->name);
    }
    if (run->same != i)
        put_u64(w, "same", run->same);
    json_key(w, "chunks");
    json_put_str(w, (struct str){k->letters + run->first_chunk,
                                 (size_t)((nbytes + PACK_CHUNK - 1) / PACK_CHUNK)});
    json_close(w, '}');
}

static void put_file(struct json_writer *w, const struct packing *k, const struct packed_file *f)
{
    json_open(w, '{');
    json_key(w, "name");
    json_put_text(w, f->name);
    put_u64(w, "bytes", f->nbytes);
    put_hex(w, "sha256", f->sha256);
    json_key(w, "runs");
    json_open(w, '[');
    for (uint32_t i = 0; i < f->nruns; i++)
        put_run(w, k, f->first_run + i);
    json_close(w, ']');
    json_close(w, '}');
}

static void put_directory(struct json_writer *w, const struct packing *k)
{
    json_open(w, '{');
    put_u64(w, "quern_pack", PACK_VERSION);
    put_u64(w, "chunk", PACK_CHUNK);
    json_key(w, "directory");
    json_put_bool(w, k->directory);
    if (k->base) {
        json_key(w, "base");
        json_open(w, '{');
        json_key(w, "path");
        json_put_text(w, k->base_path);
        put_hex(w, "probe", k->base_probe);
        json_close(w, '}');
    }
    json_key(w, "files");
    json_open(w, '[');
    for (uint32_t i = 0; i < k->nfiles; i++)
        put_file(w, k, &k->files[i]);
    json_close(w, ']');
    json_close(w, '}');
}

static void store_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* Sizes of frame i of the table and of what it holds. */
static void put_entry(uint8_t *table, uint32_t i, uint32_t nbytes, uint32_t content)
{
    uint8_t *p = table + HEAD_BYTES + (size_t)i * PACK_ENTRY_BYTES;
    store_u32(p, nbytes);
    store_u32(p + 4, content);
}

static void put_run_frames(uint8_t *table, const struct packing *k, uint32_t run, uint32_t *frame)
{
    const struct packed_run *r = &k->runs[run];
    const unsigned width = r->tensor ? chunk_width(r->tensor->dtype) : 0;
    uint64_t left = k->plan->steps[run].nbytes;
    for (uint32_t c = r->first_chunk; left > 0; c++) {
        const enum chunk_form form = (enum chunk_form)k->letters[c];
        const size_t n = left < PACK_CHUNK ? (size_t)left : PACK_CHUNK;
        for (unsigned i = 0; i < chunk_frames(form, width); i++, ++*frame)
            put_entry(table, 1 + *frame, k->frames[*frame],
                      (uint32_t)chunk_content(form, width, n, i));
        left -= n;
    }
}

/* The head, all frames of chunks, and the directory of so many bytes. */
static void put_table(uint8_t *table, const struct packing *k, size_t directory)
{
    const uint32_t nframes = k->nframes + 2;
    const size_t body = (size_t)nframes * PACK_ENTRY_BYTES;
    uint32_t frame = 0;
    store_u32(table, PACK_TABLE);
    store_u32(table + 4, (uint32_t)(body + PACK_FOOTER_BYTES));
    put_entry(table, 0, PACK_HEAD_BYTES, 0);
    for (uint32_t i = 0; i < k->nruns; i++)
        put_run_frames(table, k, i, &frame);
    put_entry(table, nframes - 1, (uint32_t)directory, 0);
    uint8_t *foot = table + HEAD_BYTES + body;
    store_u32(foot, nframes);
    foot[4] = 0;
    store_u32(foot + 5, PACK_TABLE_END);
}

static enum quern_status make_tail(const struct packing *k, struct frame_writer *f, struct str text,
                                   uint8_t **tail, size_t *nbytes, struct quern_error *err)
{
    const size_t table =
        HEAD_BYTES + ((size_t)k->nframes + 2) * PACK_ENTRY_BYTES + PACK_FOOTER_BYTES;
    const size_t room = HEAD_BYTES + frame_bound(text.n) + table;
    *tail = calloc(1, room);
    if (!*tail)
        return fail_memory(err, room);
    const size_t n = frame_write(f, DIRECTORY_LEVEL, text.p, text.n, *tail + HEAD_BYTES);
    if (n == 0)
        return fail_memory(err, frame_writer_bytes(DIRECTORY_LEVEL, text.n));
    store_u32(*tail, PACK_DIRECTORY);
    store_u32(*tail + 4, (uint32_t)n);
    put_table(*tail + HEAD_BYTES + n, k, HEAD_BYTES + n);
    *nbytes = HEAD_BYTES + n + table;
    return QUERN_OK;
}

enum quern_status packing_tail(const struct packing *k, uint8_t **tail, size_t *nbytes,
                               struct quern_error *err)
{
    struct json_writer w = {0};
    struct frame_writer *f = frame_writer_new();
    put_directory(&w, k);
    const struct str text = json_written(&w);
    const enum quern_status s =
        f && text.p ? make_tail(k, f, text, tail, nbytes, err) : fail_memory(err, text.n + 1);
    frame_writer_free(f);
    json_writer_free(&w);
    if (s != QUERN_OK) {
        free(*tail);
        *tail = NULL;
    }
    return s;
}
