/* shard_index.c - read model.safetensors.index.json: which tensor lies in which shard. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/pull.h"
#include "formats/safetensors.h"

#define MAX_COMPONENT 255u

struct reader {
    struct pull json;
    struct shard_index *out;
    uint32_t capacity;
    struct name_table names;
    bool map_seen;
};

static struct str entry_name(const void *owner, uint32_t i)
{
    return ((const struct shard_index *)owner)->entries[i].tensor;
}

static enum quern_status wrong_type(struct reader *r, enum pull_token token, const char *found,
                                    const char *expected, struct quern_error *err)
{
    const size_t at = r->json.token_at;
    if (!pull_skip(&r->json, token))
        return pull_fail(&r->json, 0, err);
    return at_offset(err, at,
                     fail(err, QUERN_EFORMAT, "index", "%s" WANT "expected %s", found, expected));
}

/* A shard lies beside its index and nowhere else. */
static enum quern_status check_shard_name(struct str name, struct quern_error *err)
{
    const char *what = NULL;
    if (memchr(name.p, '\0', name.n))
        what = "holds U+0000";
    else if (memchr(name.p, '/', name.n) || memchr(name.p, '\\', name.n))
        what = "is a path";
    else if (name.n > MAX_COMPONENT)
        what = "is longer than 255 bytes";
    else if (str_ends(name, ".bin"))
        return fail(err, QUERN_EUNSUPPORTED, "is-pickle",
                    "shard '%s' is a PyTorch pickle, which quern never reads" WANT
                    "convert the model to safetensors first",
                    quoted(name).text);
    else if (!str_ends(name, ".safetensors"))
        what = "does not end in .safetensors";
    if (!what)
        return QUERN_OK;
    return fail(err, QUERN_EFORMAT, "shard-path",
                "shard name '%s' %s" WANT
                "expected the name of a .safetensors file beside the index",
                quoted(name).text, what);
}

static enum quern_status add_entry(struct reader *r, struct str tensor, struct str file,
                                   struct quern_error *err)
{
    struct shard_index *x = r->out;
    if (x->count == MAX_TENSORS)
        return fail(err, QUERN_EFORMAT, "count",
                    "there are too many tensors" WANT "expected at most %u", MAX_TENSORS);
    if (x->count == r->capacity) {
        const uint32_t capacity = r->capacity ? r->capacity * 2 : 64;
        struct index_entry *entries = realloc(x->entries, capacity * sizeof *entries);
        if (!entries)
            return fail_memory(err, capacity * sizeof *entries);
        x->entries = entries;
        r->capacity = capacity;
    }
    x->entries[x->count] = (struct index_entry){tensor, file};
    bool fresh;
    if (!name_table_add(&r->names, tensor, x->count, entry_name, x, &fresh, NULL))
        return fail_memory(err, name_table_bytes(&r->names) * 2);
    x->count += fresh;
    return fresh ? QUERN_OK
                 : fail(err, QUERN_EFORMAT, "duplicate",
                        "weight_map names it twice" WANT "expected one shard for each tensor");
}

static enum quern_status read_weight_map(struct reader *r, struct quern_error *err)
{
    enum pull_token token = pull_next(&r->json);
    if (r->map_seen)
        return fail(err, QUERN_EFORMAT, "duplicate",
                    "weight_map is there twice" WANT "expected it once");
    r->map_seen = true;
    if (token != PULL_OBJECT)
        return wrong_type(r, token, "weight_map is not an object", "tensor names to file names",
                          err);
    while ((token = pull_next(&r->json)) == PULL_KEY) {
        const struct str tensor = r->json.str;
        const uint64_t at = r->json.token_at;
        token = pull_next(&r->json);
        if (token != PULL_STRING)
            return in_tensor(err, tensor,
                             wrong_type(r, token, "its shard is not a string", "a file name", err));
        enum quern_status s = check_shard_name(r->json.str, err);
        if (s == QUERN_OK)
            s = add_entry(r, tensor, r->json.str, err);
        TRY(at_offset(err, at, in_tensor(err, tensor, s)));
    }
    return token == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->json, 0, err);
}

/* Nobody relies on the metadata: only total_size is looked at, and only for a note. */
static enum quern_status read_index_metadata(struct reader *r, struct quern_error *err)
{
    enum pull_token token = pull_next(&r->json);
    if (token != PULL_OBJECT)
        return pull_skip(&r->json, token) ? QUERN_OK : pull_fail(&r->json, 0, err);
    while ((token = pull_next(&r->json)) == PULL_KEY) {
        const bool total = str_is(r->json.str, "total_size");
        token = pull_next(&r->json);
        if (total && token == PULL_NUMBER)
            r->out->has_total_size = pull_u64(&r->json, &r->out->total_size);
        if (!pull_skip(&r->json, token))
            return pull_fail(&r->json, 0, err);
    }
    return token == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->json, 0, err);
}

static enum quern_status read_text(struct reader *r, struct quern_error *err)
{
    enum pull_token token = pull_next(&r->json);
    if (token == PULL_ERROR)
        return pull_fail(&r->json, 0, err);
    if (token != PULL_OBJECT)
        return wrong_type(r, token, "the index is not an object", "a JSON object", err);
    while ((token = pull_next(&r->json)) == PULL_KEY) {
        if (str_is(r->json.str, "weight_map")) {
            TRY(read_weight_map(r, err));
        } else if (str_is(r->json.str, "metadata")) {
            TRY(read_index_metadata(r, err));
        } else {
            token = pull_next(&r->json);
            if (!pull_skip(&r->json, token))
                return pull_fail(&r->json, 0, err);
        }
    }
    if (token == PULL_ERROR || pull_next(&r->json) != PULL_END)
        return pull_fail(&r->json, 0, err);
    if (!r->map_seen)
        return fail(err, QUERN_EFORMAT, "index",
                    "there is no weight_map" WANT
                    "expected the index of a sharded safetensors model");
    return QUERN_OK;
}

static enum quern_status read_index(struct reader *r, struct str text, struct quern_error *err)
{
    const char *sentence;
    const char *kind = sniff((const uint8_t *)text.p, text.n, &sentence);
    if (kind && strcmp(kind, "lfs-pointer") == 0)
        return fail(err, QUERN_EFORMAT, "lfs-pointer", "%s", sentence);
    pull_start(&r->json, (char *)text.p, text.n);
    return read_text(r, err);
}

enum quern_status safetensors_read_index(const char *path, struct arena *arena,
                                         struct shard_index *out, struct quern_error *err)
{
    struct str text;
    TRY(read_small_file(path, ST_MAX_INDEX, arena, &text, err));
    *out = (struct shard_index){0};
    struct reader r = {.out = out};
    enum quern_status s = in_file(err, path, read_index(&r, text, err));
    name_table_free(&r.names);
    /* Grown with realloc, handed out in the arena. */
    struct index_entry *entries = NULL;
    if (s == QUERN_OK && !(entries = ARENA_NEW(arena, struct index_entry, out->count)))
        s = fail_memory(err, out->count * sizeof *entries);
    if (s == QUERN_OK && out->count)
        memcpy(entries, out->entries, out->count * sizeof *entries);
    free(out->entries);
    out->entries = entries;
    return s;
}
