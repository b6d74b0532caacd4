/* model_open.c - find out which files a path stands for, and read their headers. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/gguf.h"
#include "formats/model.h"
#include "formats/pack.h"
#include "formats/safetensors.h"

#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE  "model.safetensors.index.json"

static bool name_ends(const char *path, const char *suffix)
{
    return str_ends(str_from(path), suffix);
}

/* The directory part of path, "." when there is none. */
static const char *dir_of(struct arena *arena, const char *path)
{
    const char *base = path_base(path);
    if (base == path)
        return ".";
    const size_t n = (size_t)(base - path);
    return arena_printf(arena, "%.*s", (int)(n > 1 ? n - 1 : n), path);
}

/* ---- one file ------------------------------------------------------------------------------- */

static enum quern_status not_a_model(const struct model_file *f, const char *kind,
                                     const char *sentence, struct quern_error *err)
{
    const bool pickle = strcmp(kind, "is-pickle") == 0;
    return in_file(err, f->path,
                   fail(err, pickle ? QUERN_EUNSUPPORTED : QUERN_EFORMAT, kind,
                        "%s" WANT "expected %s", sentence,
                        name_ends(f->path, ".gguf")          ? "a GGUF file as its name says"
                        : name_ends(f->path, ".safetensors") ? "a safetensors file as its name says"
                                                             : "a safetensors or GGUF file"));
}

/* What a file is named after, or looks like: a MODEL_ value, or NEITHER. */
#define NEITHER (-1)

static int format_of_name(const char *path)
{
    return name_ends(path, ".gguf")          ? MODEL_GGUF
           : name_ends(path, ".safetensors") ? MODEL_SAFETENSORS
                                             : NEITHER;
}

static int format_of_kind(const char *kind)
{
    return !kind                                 ? NEITHER
           : strcmp(kind, "is-gguf") == 0        ? MODEL_GGUF
           : strcmp(kind, "is-safetensors") == 0 ? MODEL_SAFETENSORS
                                                 : NEITHER;
}

/* The content decides. A name that promises something else is refused all the same: somebody is
 * mistaken about this file. Where the content says nothing, the reader of the promised format can
 * tell best what is wrong. */
static enum quern_status read_file(struct model *m, uint32_t file, struct quern_error *err)
{
    const struct model_file *f = &m->files[file];
    uint8_t head[SNIFF_BYTES];
    const size_t n = f->id.nbytes < sizeof head ? (size_t)f->id.nbytes : sizeof head;
    TRY(model_pread(m, file, head, n, 0, err));
    const char *sentence;
    const char *kind = sniff(head, n, &sentence);

    const int named = format_of_name(f->path);
    const int format = kind || named == NEITHER ? format_of_kind(kind) : named;
    if (format == NEITHER || (named != NEITHER && format != named))
        return kind ? not_a_model(f, kind, sentence, err)
                    : not_a_model(f, "magic", "this is neither a safetensors nor a GGUF file", err);
    m->format = (enum model_format)format;
    return format == MODEL_GGUF ? gguf_read(m, file, err) : safetensors_read(m, file, err);
}

static enum quern_status open_gguf_set(const char *path, uint32_t count, struct model **out,
                                       struct quern_error *err);

static enum quern_status read_one(struct model *m, const char *path, struct quern_error *err)
{
    const char *own = arena_printf(&m->arena, "%s", path);
    if (!own)
        return fail_memory(err, strlen(path));
    TRY(model_add_file(m, own, path_base(own), err));
    return read_file(m, 0, err);
}

/* A file that is called a model must be one. */
static enum quern_status read_alone(struct model *m, const char *path, struct quern_error *err)
{
    const char *own = arena_printf(&m->arena, "%s", path), *sentence;
    uint8_t head[SNIFF_BYTES];
    if (!own)
        return fail_memory(err, strlen(path));
    TRY(model_add_file(m, own, path_base(own), err));
    const uint64_t nbytes = m->files[0].id.nbytes;
    const size_t n = nbytes < sizeof head ? (size_t)nbytes : sizeof head;
    TRY(model_pread(m, 0, head, n, 0, err));
    if (format_of_name(own) == NEITHER && format_of_kind(sniff(head, n, &sentence)) != MODEL_GGUF)
        return QUERN_OK;
    return read_file(m, 0, err);
}

enum quern_status model_open_alone(const char *path, struct model **out, struct quern_error *err)
{
    struct model *m;
    TRY(model_new(path, 1, &m, err));
    const enum quern_status s = read_alone(m, path, err);
    if (s == QUERN_OK)
        *out = m;
    else
        model_close(m);
    return s;
}

static enum quern_status open_file(const char *path, struct model **out, struct quern_error *err)
{
    struct model *m;
    TRY(model_new(path, 1, &m, err));
    const enum quern_status s = read_one(m, path, err);
    const uint32_t count = s == QUERN_OK ? m->files[0].split_count : 0;
    if (s != QUERN_OK || count > 1)
        model_close(m);
    else
        *out = m;
    if (count > 1)
        return open_gguf_set(path, count, out, err);
    return s;
}

/* ---- a set of GGUF files -------------------------------------------------------------------- */

/* A file of a set that is not there is worth its own words. */
static enum quern_status add_member(struct model *m, const char *path, struct quern_error *err)
{
    if (!path)
        return fail_memory(err, 0);
    if (!path_exists(path) && errno == ENOENT)
        return in_file(err, path,
                       fail(err, QUERN_EFORMAT, "missing-shard",
                            "this file of the model is missing" WANT
                            "expected all of them in one directory (unfinished download?)"));
    return model_add_file(m, path, path_base(path), err);
}

static enum quern_status check_member(const struct model *m, uint32_t no, uint32_t count,
                                      struct quern_error *err)
{
    const struct model_file *f = &m->files[no];
    if (f->split_no == no && f->split_count == count)
        return QUERN_OK;
    return in_file(err, f->path,
                   fail(err, QUERN_EFORMAT, "split",
                        "it says it is number %u of %u, counted from 0" WANT
                        "expected %u of %u as its name says",
                        f->split_no, f->split_count, no, count));
}

static enum quern_status read_gguf_set(struct model *m, const char *dir, struct str prefix,
                                       uint32_t count, struct quern_error *err)
{
    m->format = MODEL_GGUF;
    for (uint32_t i = 0; i < count; i++) {
        const char *name =
            arena_printf(&m->arena, "%.*s-%05u-of-%05u.gguf", STR_ARG(prefix), i + 1, count);
        TRY(add_member(m, name ? path_join(&m->arena, dir, name) : NULL, err));
        TRY(gguf_read(m, i, err));
        TRY(check_member(m, i, count, err));
    }
    const uint64_t total = m->files[0].split_ntensors;
    if (total != 0 && total != m->ntensors)
        return in_file(err, m->files[0].path,
                       fail(err, QUERN_EFORMAT, "split",
                            "split.tensors.count is %" PRIu64 WANT
                            "expected %u, the tensors of all %u files",
                            total, m->ntensors, count));
    return QUERN_OK;
}

static enum quern_status open_gguf_set(const char *path, uint32_t count, struct model **out,
                                       struct quern_error *err)
{
    struct str prefix;
    uint32_t no, named;
    if (!gguf_split_name_parse(str_from(path_base(path)), &prefix, &no, &named) || named != count)
        return in_file(err, path,
                       fail(err, QUERN_EFORMAT, "split",
                            "this is one of %u files, and its name does not tell the others" WANT
                            "expected a name like model-00001-of-%05u.gguf",
                            count, count));
    struct model *m;
    TRY(model_new(path, count, &m, err));
    const char *dir = dir_of(&m->arena, path);
    enum quern_status s = dir ? QUERN_OK : fail_memory(err, strlen(path));
    if (s == QUERN_OK)
        s = read_gguf_set(m, path_base(path) == path ? NULL : dir, prefix, count, err);
    if (s == QUERN_OK)
        *out = m;
    else
        model_close(m);
    return s;
}

/* ---- safetensors shards --------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static struct str text_of(const void *owner, uint32_t i)
{
    return str_from(((const char *const *)owner)[i]);
}

/* The different file names of an index, sorted. */
static enum quern_status shard_names(struct arena *arena, const struct shard_index *x,
                                     const char ***out, uint32_t *nshards, struct quern_error *err)
{
    const char **names = ARENA_NEW(arena, const char *, x->count + 1);
    struct name_table seen = {0};
    enum quern_status s = names ? QUERN_OK : fail_memory(err, x->count * sizeof *names);
    uint32_t n = 0;
    for (uint32_t i = 0; s == QUERN_OK && i < x->count; i++) {
        bool fresh = true;
        names[n] = x->entries[i].file.p; /* NUL-terminated, and without other NULs: checked */
        if (!name_table_add(&seen, x->entries[i].file, n, text_of, names, &fresh, NULL))
            s = fail_memory(err, name_table_bytes(&seen) * 2);
        n += fresh;
        if (s == QUERN_OK && n > MAX_SHARDS)
            s = fail(err, QUERN_EFORMAT, "count",
                     "there are too many shards" WANT "expected at most %u", MAX_SHARDS);
    }
    name_table_free(&seen);
    if (s != QUERN_OK)
        return s;
    qsort(names, n, sizeof *names, by_text);
    *out = names;
    *nshards = n;
    return QUERN_OK;
}

/* Every mapped tensor lies in its shard, and every tensor of a shard is mapped to it. */
static enum quern_status check_mapping(const struct model *m, const struct shard_index *x,
                                       uint8_t *mapped, struct quern_error *err)
{
    for (uint32_t i = 0; i < x->count; i++) {
        const struct index_entry *e = &x->entries[i];
        const struct tensor *t = model_find(m, e->tensor);
        if (!t || !str_is(e->file, m->files[t->file].name))
            return in_tensor(err, e->tensor,
                             fail(err, QUERN_EFORMAT, "index-mismatch",
                                  "the index says it lies in '%s', where it is not" WANT
                                  "expected index and shards to agree",
                                  quoted(e->file).text));
        mapped[t - m->tensors] = 1;
    }
    for (uint32_t i = 0; i < m->ntensors; i++)
        if (!mapped[i])
            return in_tensor(err, m->tensors[i].name,
                             fail(err, QUERN_EFORMAT, "index-mismatch",
                                  "it lies in '%s', but the index does not list it" WANT
                                  "expected index and shards to agree",
                                  quoted(str_from(m->files[m->tensors[i].file].name)).text));
    return QUERN_OK;
}

static enum quern_status note_total_size(struct model *m, const struct shard_index *x,
                                         struct quern_error *err)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->ntensors; i++)
        total += m->tensors[i].nbytes;
    if (!x->has_total_size || x->total_size == total)
        return QUERN_OK;
    return model_note(m,
                      arena_printf(&m->arena,
                                   "the index gives a total_size of %" PRIu64
                                   ", the tensors have %" PRIu64 " bytes",
                                   x->total_size, total),
                      err);
}

/* For bsearch(): the files of an indexed model are sorted by name. */
static int name_to_file(const void *name, const void *file)
{
    return strcmp(name, ((const struct model_file *)file)->name);
}

/* Shards that lie there but are not in the index: somebody may have expected them to count. */
static enum quern_status note_unlisted(struct model *m, struct quern_error *err)
{
    struct arena scratch = {0};
    const char **names;
    uint32_t n = 0;
    enum quern_status s = path_list(m->dir, &scratch, &names, &n, err);
    for (uint32_t i = 0; s == QUERN_OK && i < n; i++)
        if (name_ends(names[i], ".safetensors") &&
            !bsearch(names[i], m->files, m->nfiles, sizeof *m->files, name_to_file))
            s = model_note(m,
                           arena_printf(&m->arena, "%s is not in the index and is ignored",
                                        quoted(str_from(names[i])).text),
                           err);
    arena_free(&scratch);
    return s;
}

static enum quern_status read_shards(struct model *m, const char *index_path,
                                     const struct shard_index *x, const char *const *names,
                                     uint32_t nshards, struct quern_error *err)
{
    m->format = MODEL_SAFETENSORS;
    for (uint32_t i = 0; i < nshards; i++) {
        TRY(add_member(m, path_join(&m->arena, m->dir, names[i]), err));
        TRY(safetensors_read(m, i, err));
    }
    uint8_t *mapped = calloc(m->ntensors + 1, 1);
    if (!mapped)
        return fail_memory(err, m->ntensors);
    const enum quern_status s = check_mapping(m, x, mapped, err);
    free(mapped);
    TRY(in_file(err, index_path, s));
    TRY(note_total_size(m, x, err));
    return note_unlisted(m, err);
}

static enum quern_status open_index_in(struct arena *scratch, const char *index_path,
                                       const char *dir, struct model **out, struct quern_error *err)
{
    struct shard_index x;
    const char **names = NULL;
    uint32_t nshards = 0;
    TRY(safetensors_read_index(index_path, scratch, &x, err));
    TRY(in_file(err, index_path, shard_names(scratch, &x, &names, &nshards, err)));
    struct model *m;
    TRY(model_new(index_path, nshards, &m, err));
    m->dir = arena_printf(&m->arena, "%s", dir);
    enum quern_status s = m->dir ? QUERN_OK : fail_memory(err, strlen(dir));
    if (s == QUERN_OK)
        s = read_shards(m, index_path, &x, names, nshards, err);
    if (s == QUERN_OK)
        *out = m;
    else
        model_close(m);
    return s;
}

static enum quern_status open_index(const char *index_path, struct model **out,
                                    struct quern_error *err)
{
    struct arena scratch = {0};
    const char *dir = dir_of(&scratch, index_path);
    const enum quern_status s = dir ? open_index_in(&scratch, index_path, dir, out, err)
                                    : fail_memory(err, strlen(index_path));
    arena_free(&scratch);
    return s;
}

/* ---- directories ---------------------------------------------------------------------------- */

/* What lies in a directory, as far as it matters here. */
struct listing {
    struct arena arena;
    const char *safetensors; /* the first of them by name */
    uint32_t nsafetensors;
    const char *gguf; /* likewise */
    uint32_t nggufs;
    struct str gguf_prefix; /* of the set that all of them belong to ... */
    bool gguf_set;          /* ... if they do */
    bool has_single, has_index, has_pickle;
    const char **names; /* all that there is */
    uint32_t nnames;
};

static bool list_first(struct listing *l, const char **first, uint32_t *count, const char *name)
{
    ++*count;
    if (*first && strcmp(*first, name) <= 0)
        return true;
    *first = arena_printf(&l->arena, "%s", name);
    return *first != NULL;
}

static bool list_gguf(struct listing *l, const char *name)
{
    struct str prefix;
    uint32_t no, count;
    const bool member = gguf_split_name_parse(str_from(name), &prefix, &no, &count);
    if (l->nggufs == 0) {
        l->gguf_prefix = arena_str(&l->arena, member ? prefix : STR(""));
        l->gguf_set = member;
    } else if (!member || !str_eq(prefix, l->gguf_prefix)) {
        l->gguf_set = false;
    }
    return l->gguf_prefix.p && list_first(l, &l->gguf, &l->nggufs, name);
}

static bool list_name(struct listing *l, const char *name)
{
    l->has_index |= strcmp(name, INDEX_FILE) == 0;
    l->has_single |= strcmp(name, SINGLE_FILE) == 0;
    l->has_pickle |= str_starts(str_from(name), "pytorch_model") || name_ends(name, ".pth");
    if (name_ends(name, ".safetensors"))
        return list_first(l, &l->safetensors, &l->nsafetensors, name);
    return name_ends(name, ".gguf") ? list_gguf(l, name) : true;
}

static enum quern_status list_directory(struct listing *l, const char *path,
                                        struct quern_error *err)
{
    TRY(path_list(path, &l->arena, &l->names, &l->nnames, err));
    for (uint32_t i = 0; i < l->nnames; i++)
        if (!list_name(l, l->names[i]))
            return fail_memory(err, strlen(l->names[i]));
    return QUERN_OK;
}

static bool has_model(const char *dir)
{
    struct listing l = {0};
    const bool has = list_directory(&l, dir, NULL) == QUERN_OK &&
                     (l.has_single || l.has_index || l.nsafetensors > 0 || l.nggufs > 0);
    arena_free(&l.arena);
    return has;
}

/* Models may lie in directories inside, as in a pack of several. Their names, and the first path;
 * *first is NULL when there are none. */
static void find_inside(struct listing *l, const char *path, char *names, size_t room,
                        const char **first)
{
    size_t used = 0;
    *first = NULL;
    for (uint32_t i = 0; i < l->nnames; i++) {
        const char *dir = path_join(&l->arena, path, l->names[i]);
        if (!dir || !path_is_dir(dir) || !has_model(dir))
            continue;
        const struct quoted name = quoted(str_from(l->names[i]));
        const bool fits = used + strlen(name.text) + sizeof "'', ..." <= room;
        used += (size_t)snprintf(names + used, room - used, fits ? "%s'%s'" : "%s...",
                                 *first ? ", " : "", name.text);
        *first = *first ? *first : dir;
        if (!fits)
            break;
    }
}

static enum quern_status nothing_to_open(struct listing *l, const char *path,
                                         struct quern_error *err)
{
    if (l->has_single && l->has_index)
        return fail(err, QUERN_EUSAGE, "ambiguous",
                    "there are both " SINGLE_FILE " and " INDEX_FILE WANT "name the one you mean");
    if (l->nsafetensors > 1)
        return fail(err, QUERN_EUSAGE, "ambiguous",
                    "there are %u .safetensors files and no " INDEX_FILE WANT
                    "name the one you mean",
                    l->nsafetensors);
    if (l->nggufs > 1)
        return fail(err, QUERN_EUSAGE, "ambiguous",
                    "there are %u .gguf files that are not one split set" WANT
                    "name the one you mean",
                    l->nggufs);
    if (l->has_pickle)
        return fail(err, QUERN_EUNSUPPORTED, "is-pickle",
                    "there are only PyTorch pickles, which quern never reads" WANT
                    "convert the model to safetensors first");
    char names[200];
    const char *inside;
    find_inside(l, path, names, sizeof names, &inside);
    if (inside)
        return fail(err, QUERN_EFORMAT, "no-model",
                    "the models in it are in directories of their own: %s" WANT
                    "name one of them: %s",
                    names, quoted(str_from(inside)).text);
    return fail(err, QUERN_EFORMAT, "no-model",
                "there is no model in this directory" WANT "looked for " SINGLE_FILE ", " INDEX_FILE
                ", a single .safetensors file and .gguf files");
}

static enum quern_status open_listed(struct listing *l, const char *path, struct model **out,
                                     struct quern_error *err)
{
    const char *name = NULL;
    if (l->has_single || l->has_index) {
        if (!(l->has_single && l->has_index))
            name = l->has_single ? SINGLE_FILE : INDEX_FILE;
    } else if (l->nsafetensors > 0) {
        name = l->nsafetensors == 1 ? l->safetensors : NULL;
    } else if (l->nggufs == 1 || (l->nggufs > 1 && l->gguf_set)) {
        name = l->gguf;
    }
    if (!name)
        return in_file(err, path, nothing_to_open(l, path, err));
    const char *file = path_join(&l->arena, path, name);
    if (!file)
        return fail_memory(err, strlen(path));
    if (name_ends(name, ".json"))
        return open_index(file, out, err);
    struct model *m = NULL;
    const enum quern_status s = open_file(file, &m, err);
    if (s != QUERN_OK || !m)
        return s;
    *out = m;
    if (m->format == MODEL_SAFETENSORS && !(m->dir = arena_printf(&m->arena, "%s", path))) {
        model_close(m);
        return fail_memory(err, strlen(path));
    }
    return QUERN_OK;
}

static enum quern_status open_directory(const char *path, struct model **out,
                                        struct quern_error *err)
{
    struct listing l = {0};
    enum quern_status s = list_directory(&l, path, err);
    if (s == QUERN_OK)
        s = open_listed(&l, path, out, err);
    arena_free(&l.arena);
    return s;
}

/* ---- packs ---------------------------------------------------------------------------------- */

static enum quern_status open_path(const char *path, struct model **out, struct quern_error *err)
{
    if (path_is_dir(path))
        return open_directory(path, out, err);
    return name_ends(path, ".index.json") ? open_index(path, out, err) : open_file(path, out, err);
}

/* The model holds the pack by then, or nobody does. */
static enum quern_status open_packed(const char *path, size_t n, enum pack_use use,
                                     struct model **out, struct quern_error *err)
{
    struct arena scratch = {0};
    struct archive *a = NULL;
    const char *pack = arena_printf(&scratch, "%.*s", (int)n, path);
    enum quern_status s = pack ? pack_open(pack, use, &a, err) : fail_memory(err, n);
    if (s == QUERN_OK)
        s = open_path(path, out, err);
    archive_leave(a);
    arena_free(&scratch);
    return s;
}

static enum quern_status open_any(const char *path, enum pack_use use, struct model **out,
                                  struct quern_error *err)
{
    struct model *m = NULL;
    struct stat st;
    const size_t n = pack_part(path);
    if (n > 0)
        TRY(open_packed(path, n, use, &m, err));
    else if (stat(path, &st) != 0)
        return fail_errno(err, path, "open");
    else
        TRY(open_path(path, &m, err));
    *out = m;
    return QUERN_OK;
}

enum quern_status model_open(const char *path, struct model **out, struct quern_error *err)
{
    return open_any(path, PACK_DATA, out, err);
}

enum quern_status model_open_headers(const char *path, struct model **out, struct quern_error *err)
{
    return open_any(path, PACK_FILES, out, err);
}
