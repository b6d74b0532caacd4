/* provenance.c - add what an output was made of to its plan, and complete it when that is known. */
#include "provenance.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "beside.h"
#include "core/archive.h"
#include "core/io.h"
#include "core/json.h"
#include "core/output.h"
#include "formats/byte_files.h"
#include "formats/rekey.h"
#include "hashing.h"

#define KEY_PREFIX "quern."

/* ---- inputs --------------------------------------------------------------------------------- */

/* Files of an archive share its identity; those have their paths. */
static bool is_file(const struct model *m, uint32_t file, const char *path, const struct stat *st)
{
    const struct file_id *id = &m->files[file].id;
    if (m->archive || !st)
        return strcmp(m->files[file].path, path) == 0;
    return id->ino == st->st_ino && id->dev == st->st_dev;
}

static bool is_input(const struct plan *p, const char *path)
{
    struct stat st;
    const bool on_disk = stat(path, &st) == 0;
    for (uint32_t i = 0; i < p->hashes->nmodels; i++) {
        const struct model *m = p->hashes->models[i].model;
        for (uint32_t k = 0; k < m->nfiles; k++)
            if (is_file(m, k, path, on_disk ? &st : NULL))
                return true;
    }
    return false;
}

static enum quern_status add_named(struct plan *p, const char *path, struct path_list *l,
                                   struct quern_error *err)
{
    if (path_is_dir(path)) {
        path = path_join(l->arena, path, "config.json");
        if (path && !path_is_file(path))
            return QUERN_OK;
    }
    if (path && is_input(p, path))
        return QUERN_OK;
    return path && path_list_add(l, path) ? QUERN_OK : fail_memory(err, 64);
}

static enum quern_status open_small(struct plan *p, const struct path_list *l,
                                    struct quern_error *err)
{
    struct provenance *v = p->provenance;
    v->beside = ARENA_NEW(&p->arena, struct model *, l->count + 1u);
    if (!v->beside)
        return fail_memory(err, l->count * sizeof *v->beside);
    for (uint32_t at = 0, taken; at < l->count; at += taken) {
        struct model **m = &v->beside[v->nbeside];
        TRY(byte_files_open(l->items + at, l->count - at, &taken, m, err));
        v->nbeside++;
        p->held_bytes += model_bytes(*m);
        TRY(plan_hash_model(p, *m, false, err));
    }
    return QUERN_OK;
}

/* Models are hashed tensor by tensor; then come the small files. */
static enum quern_status hash_inputs(struct plan *p, const struct provenance_request *r,
                                     struct quern_error *err)
{
    struct path_list small = {.arena = &p->arena};
    for (uint32_t i = 0; i < p->nmodels; i++)
        TRY(plan_hash_model(p, p->models[i], true, err));
    for (uint32_t i = 0; i < r->nmodels; i++)
        TRY(plan_hash_model(p, r->models[i], true, err));
    for (uint32_t i = 0; p->hashes && i < p->hashes->nmodels; i++)
        TRY(list_beside(p->hashes->models[i].model, &small, err));
    for (uint32_t i = 0; p->hashes && i < r->nfiles; i++)
        TRY(add_named(p, r->files[i], &small, err));
    return open_small(p, &small, err);
}

/* The directory and the name: enough to know it again, and nothing of where it lay. */
static const char *last_two(const char *path)
{
    const char *last = strrchr(path, '/');
    for (const char *at = last ? last : path; at > path; at--)
        if (at[-1] == '/')
            return at;
    return path;
}

static const char *recorded_path(struct plan *p, const char *path, const char *hub)
{
    const size_t n = hub ? strlen(hub) : 0;
    const bool cached = n && strncmp(path, hub, n) == 0 && path[n] == '/';
    return cached ? arena_printf(&p->arena, HUB_PATH "%s", path + n + 1)
                  : arena_printf(&p->arena, "%s", path);
}

/* Models are read in the recorded order: where names part, there is the file too many. */
static enum quern_status other_number(const struct hash_list *l, const struct provenance_request *r,
                                      uint32_t ninputs, struct quern_error *err)
{
    const char *extra = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; l && i < l->nmodels; i++)
        for (uint32_t k = 0; k < l->models[i].model->nfiles; k++, n++) {
            const char *path = l->models[i].model->files[k].path;
            if (!extra && (n >= r->npaths || strcmp(path_base(path), path_base(r->paths[n])) != 0))
                extra = path;
        }
    fail(err, QUERN_EIO, "changed",
         "%" PRIu32 " input files" WANT "expected %" PRIu32 ", as the record has", ninputs,
         r->npaths);
    return extra && ninputs > r->npaths ? in_file(err, extra, QUERN_EIO) : QUERN_EIO;
}

static enum quern_status list_inputs(struct plan *p, const struct provenance_request *r,
                                     struct quern_error *err)
{
    struct provenance *v = p->provenance;
    const struct hash_list *l = p->hashes;
    for (uint32_t i = 0; l && i < l->nmodels; i++)
        v->ninputs += l->models[i].model->nfiles;
    v->inputs = ARENA_NEW(&p->arena, struct recorded_input, v->ninputs + 1u);
    if (!v->inputs)
        return fail_memory(err, v->ninputs * sizeof *v->inputs);
    if (r->paths && r->npaths != v->ninputs)
        return other_number(l, r, v->ninputs, err);
    uint32_t n = 0;
    for (uint32_t i = 0; l && i < l->nmodels; i++)
        for (uint32_t k = 0; k < l->models[i].model->nfiles; k++, n++) {
            struct recorded_input *in = &v->inputs[n];
            in->model = l->models[i].model;
            in->file = k;
            in->small = l->models[i].sums == NULL;
            in->path = recorded_path(p, r->paths ? r->paths[n] : in->model->files[k].path,
                                     r->paths ? NULL : r->hub_cache);
            if (!in->path)
                return fail_memory(err, 64);
            in->name = last_two(in->path);
        }
    return QUERN_OK;
}

/* ---- the request ---------------------------------------------------------------------------- */

static enum quern_status copy_request(struct plan *p, const struct provenance_request *r,
                                      struct quern_error *err)
{
    struct provenance *v = ARENA_NEW(&p->arena, struct provenance, 1);
    if (!v)
        return fail_memory(err, sizeof *v);
    p->provenance = v;
    v->about = (struct provenance_request){
        .version = arena_printf(&p->arena, "%s", r->version ? r->version : quern_version()),
        .job = arena_str(&p->arena, r->job),
        .recipe = r->recipe.p ? arena_str(&p->arena, r->recipe) : r->recipe,
        .made_by = r->made_by ? arena_printf(&p->arena, "%s", r->made_by) : NULL,
        .noutputs = r->noutputs};
    char(*outputs)[65] = arena_array(&p->arena, r->noutputs + 1u, sizeof *outputs);
    if (!v->about.version || !v->about.job.p || (r->recipe.p && !v->about.recipe.p) || !outputs)
        return fail_memory(err, r->job.n + r->recipe.n);
    if (r->noutputs)
        memcpy(outputs, r->outputs, r->noutputs * sizeof *outputs);
    v->about.outputs = r->paths ? outputs : NULL;
    return QUERN_OK;
}

/* What was asked for as OUTPUT; without the slashes at the end of a directory. */
static enum quern_status set_target(struct plan *p, bool record, struct quern_error *err)
{
    struct provenance *v = p->provenance;
    struct str prefix = str_from(p->dir ? p->dir : p->files[0].path);
    uint32_t no, count;
    if (!p->dir && p->nfiles > 1)
        gguf_split_name_parse(prefix, &prefix, &no, &count);
    while (p->dir && prefix.n > 1 && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    v->target = arena_str(&p->arena, prefix).p;
    v->path = record && v->target ? arena_printf(&p->arena, "%s" RECORD_SUFFIX, v->target) : NULL;
    return v->target && (!record || v->path) ? QUERN_OK : fail_memory(err, prefix.n);
}

/* ---- the header ----------------------------------------------------------------------------- */

typedef enum quern_status rekey_fn(struct arena *, struct str, const char *, const struct meta *,
                                   uint32_t, struct str *, struct quern_error *);

static enum quern_status make_header(struct plan *p, bool filled, struct str *out,
                                     struct quern_error *err)
{
    const struct str bare = p->provenance->bare_header;
    const bool lines = str_ends(str_from(p->files[0].path), ".safetensors");
    rekey_fn *rekey = lines ? safetensors_rekey : gguf_rekey;
    struct arena scratch = {0};
    const struct meta_list keys = provenance_keys(p, &scratch, filled, lines);
    const enum quern_status s =
        keys.items ? rekey(&p->arena, bare, KEY_PREFIX, keys.items, keys.count, out, err)
                   : fail_memory(err, scratch.nbytes);
    arena_free(&scratch);
    return s;
}

static bool has_keys(const struct plan_file *f)
{
    return str_ends(str_from(f->path), ".safetensors") || str_starts(f->header, "GGUF");
}

/* All that lies in the file moves with the end of its header. */
static enum quern_status add_keys(struct plan *p, struct quern_error *err)
{
    struct plan_file *f = &p->files[0];
    if (!has_keys(f))
        return QUERN_OK;
    p->provenance->bare_header = f->header;
    struct str header;
    TRY(in_file(err, f->path, make_header(p, false, &header, err)));
    const uint64_t longer = header.n - f->header.n;
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (p->steps[i].file == 0)
            p->steps[i].offset += longer;
    f->nbytes += longer;
    f->header = header;
    return QUERN_OK;
}

enum quern_status plan_record(struct plan *p, const struct provenance_request *r,
                              struct quern_error *err)
{
    if (p->nfiles == 0 || p->provenance)
        return fail(err, QUERN_EUSAGE, "usage",
                    p->provenance ? "the plan has a record already"
                                  : "a plan that writes nothing has no record");
    TRY(copy_request(p, r, err));
    TRY(set_target(p, !r->paths, err));
    TRY(hash_inputs(p, r, err));
    TRY(list_inputs(p, r, err));
    return add_keys(p, err);
}

void provenance_free(struct provenance *v)
{
    if (!v)
        return;
    while (v->nbeside > 0)
        model_close(v->beside[--v->nbeside]);
    free(v->outputs);
    v->outputs = NULL;
}

/* ---- while it runs -------------------------------------------------------------------------- */

enum quern_status provenance_check_place(const struct plan *p, struct quern_error *err)
{
    if (!p->provenance || !p->provenance->path)
        return QUERN_OK;
    return output_check(p->provenance->path, false, p->force, err);
}

enum quern_status provenance_fill(struct plan *p, struct quern_error *err)
{
    struct str header;
    if (!p->provenance)
        return QUERN_OK;
    for (uint32_t i = 0; p->hashes && i < p->hashes->nmodels; i++)
        TRY(model_unchanged(p->hashes->models[i].model, err));
    if (!p->provenance->bare_header.p)
        return QUERN_OK;
    TRY(make_header(p, true, &header, err));
    if (header.n != p->files[0].header.n)
        return fail(err, QUERN_EINTERNAL, "internal", "the hashes have changed the header's size");
    p->provenance->filled = header;
    return QUERN_OK;
}

struct str provenance_header(const struct plan *p, uint32_t file)
{
    const struct provenance *v = p->provenance;
    return v && v->filled.p && file == 0 ? v->filled : p->files[file].header;
}

/* ---- outputs -------------------------------------------------------------------------------- */

static const char *output_name(const struct plan *p, uint32_t i)
{
    return i >= p->nfiles ? p->sides[i - p->nfiles].name
           : p->dir       ? p->files[i].path
                          : path_base(p->files[i].path);
}

/* What it had to come to, when it is made again. */
static enum quern_status check_output(const struct provenance *v, uint32_t i,
                                      struct quern_error *err)
{
    const struct recorded_output *o = &v->outputs[i];
    if (!v->about.outputs || strcmp(o->sha256, v->about.outputs[i]) == 0)
        return QUERN_OK;
    const bool same_version = !v->about.made_by || strcmp(v->about.made_by, quern_version()) == 0;
    return in_file(err, o->file,
                   fail(err, QUERN_EDIFF, "differs",
                        "made again it has the SHA-256 %s" WANT "expected %s, as recorded%s%s%s%s",
                        o->sha256, v->about.outputs[i], same_version ? "" : " by quern ",
                        same_version ? "" : quoted(str_from(v->about.made_by)).text,
                        same_version ? "" : "; this is ", same_version ? "" : quern_version()));
}

static enum quern_status list_outputs(const struct plan *p, const char *const *paths,
                                      char (*hex)[65], struct quern_error *err)
{
    struct provenance *v = p->provenance;
    for (uint32_t i = 0; i < v->noutputs; i++) {
        struct recorded_output *o = &v->outputs[i];
        struct stat st;
        if (stat(paths[i], &st) != 0)
            return fail_errno(err, paths[i], "look at the file");
        o->file = output_name(p, i);
        o->nbytes = (uint64_t)st.st_size;
        memcpy(o->sha256, hex[i], sizeof o->sha256);
    }
    if (v->about.outputs && v->about.noutputs != v->noutputs)
        return fail(err, QUERN_EDIFF, "differs",
                    "%" PRIu32 " output files" WANT "expected %" PRIu32 ", as recorded",
                    v->noutputs, v->about.noutputs);
    for (uint32_t i = 0; i < v->noutputs; i++)
        TRY(check_output(v, i, err));
    return QUERN_OK;
}

enum quern_status provenance_take_outputs(const struct plan *p, const char *const *paths,
                                          const struct quern_run_options *options,
                                          struct quern_error *err)
{
    struct provenance *v = p->provenance;
    if (!v)
        return QUERN_OK;
    free(v->outputs);
    v->noutputs = p->nfiles + (p->dir ? p->nsides : 0);
    v->outputs = calloc(v->noutputs + 1u, sizeof *v->outputs);
    char(*hex)[65] = calloc(v->noutputs + 1u, sizeof *hex);
    enum quern_status s =
        v->outputs && hex ? QUERN_OK : fail_memory(err, v->noutputs * sizeof *v->outputs);
    if (s == QUERN_OK)
        s = hash_files(paths, v->noutputs, options, hex, err);
    if (s == QUERN_OK)
        s = list_outputs(p, paths, hex, err);
    free(hex);
    return s;
}

enum quern_status provenance_write(const struct plan *p, bool replace, struct quern_error *err)
{
    struct json_writer w = {0};
    if (!p->provenance || !p->provenance->path)
        return QUERN_OK;
    provenance_text(p, &w);
    const struct str text = json_written(&w);
    const enum quern_status s =
        text.p ? output_write(p->provenance->path, text, 0, replace, err) : fail_memory(err, w.n);
    json_writer_free(&w);
    return s;
}
