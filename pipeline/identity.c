/* identity.c - digests of a plan and of its inputs. */
#include "identity.h"

#include <stdlib.h>
#include <sys/stat.h>

/* Everything goes in with its length, so that no two lists of values look the same. */
static void add_u64(struct sha256 *s, uint64_t v)
{
    sha256_add(s, &v, sizeof v);
}

static void add_str(struct sha256 *s, struct str text)
{
    add_u64(s, text.n);
    sha256_add(s, text.p, text.n);
}

static void add_text(struct sha256 *s, const char *text)
{
    add_str(s, str_from(text ? text : ""));
}

static void add_dims(struct sha256 *s, const uint64_t *dims, unsigned n)
{
    add_u64(s, n);
    sha256_add(s, dims, n * sizeof *dims);
}

static void add_source(struct sha256 *s, const struct source *source)
{
    const struct tensor *t = source->tensor;
    add_text(s, source->kind ? source->kind->name : "");
    add_str(s, t->name);
    add_dims(s, t->dims, t->ndims);
    add_u64(s, t->dtype);
    add_u64(s, t->nbytes);
    add_u64(s, source->kind ? 0 : t->offset);
    add_text(s, source->model && source->model->nfiles ? source->model->files[t->file].name : "");
}

static void add_step(struct sha256 *s, const struct step *step)
{
    const uint64_t numbers[] = {step->dtype,          step->round_dtype, step->wide,
                                step->reference_bugs, step->nsources,    step->npasses,
                                step->nelems,         step->nbytes,      step->measured,
                                step->file,           step->offset,      step->cut_first,
                                step->cut_bytes,      step->nparts,      step->importance != NULL,
                                step->known != NULL};
    add_str(s, step->name);
    add_dims(s, step->dims, step->ndims);
    add_text(s, step->op->name);
    sha256_add(s, numbers, sizeof numbers);
    for (unsigned k = 0; k < step->nsources; k++)
        add_source(s, &step->sources[k]);
    for (uint32_t i = 0; i < step->nparts; i++) {
        add_str(s, step->parts[i].name);
        add_dims(s, step->parts[i].dims, step->parts[i].ndims);
    }
    if (!step->importance)
        return;
    add_str(s, step->importance->name);
    add_u64(s, step->importance->ncols);
    add_u64(s, step->importance->nmats);
}

static void add_file(struct sha256 *s, const struct plan_file *f)
{
    add_text(s, f->path);
    add_text(s, f->shared);
    add_u64(s, f->nbytes);
    add_str(s, f->header);
    add_u64(s, f->ninsets);
    for (uint32_t i = 0; i < f->ninsets; i++) {
        add_u64(s, f->insets[i].offset);
        add_str(s, f->insets[i].text);
    }
}

void plan_identity(const struct plan *p, uint8_t digest[32])
{
    struct sha256 s, asked = p->asked;
    uint8_t of_request[32];
    sha256_end(&asked, of_request);
    sha256_start(&s);
    sha256_add(&s, of_request, sizeof of_request);
    add_text(&s, p->verb);
    add_u64(&s, p->nonfinite);
    add_text(&s, p->dir);
    add_u64(&s, p->nfiles);
    for (uint32_t i = 0; i < p->nfiles; i++)
        add_file(&s, &p->files[i]);
    add_u64(&s, p->nsides);
    for (uint32_t i = 0; i < p->nsides; i++) {
        add_text(&s, p->sides[i].name);
        add_str(&s, p->sides[i].text);
        add_text(&s, p->sides[i].copy_from);
    }
    add_u64(&s, p->nsteps);
    for (uint32_t i = 0; i < p->nsteps; i++)
        add_step(&s, &p->steps[i]);
    add_u64(&s, p->nhidden);
    for (uint32_t i = 0; i < p->nhidden; i++)
        add_step(&s, &p->hidden[i]->step);
    sha256_end(&s, digest);
}

/* ---- inputs --------------------------------------------------------------------------------- */

static void input_file(const struct model_file *f, struct input *in)
{
    struct sha256 s;
    sha256_start(&s);
    add_u64(&s, f->id.nbytes);
    add_u64(&s, f->id.ino);
    add_u64(&s, (uint64_t)f->id.mtime_ns);
    add_str(&s, (struct str){f->header, f->header ? f->header_bytes : 0});
    in->path = f->path;
    sha256_end(&s, in->digest);
}

/* Configuration, tokenizer and the like. Weights are inputs of their own, or none of ours. */
static bool is_small(const char *name)
{
    const struct str s = str_from(name);
    return name[0] != '.' && !str_ends(s, ".safetensors") && !str_ends(s, ".gguf");
}

static enum quern_status input_dir(const char *dir, struct input *in, struct quern_error *err)
{
    struct arena arena = {0};
    struct sha256 s;
    const char **names;
    uint32_t n = 0;
    const enum quern_status status = path_list(dir, &arena, &names, &n, err);
    sha256_start(&s);
    for (uint32_t i = 0; status == QUERN_OK && i < n; i++) {
        struct stat st;
        const char *path = is_small(names[i]) ? path_join(&arena, dir, names[i]) : NULL;
        if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            add_text(&s, names[i]);
            add_u64(&s, (uint64_t)st.st_size);
            add_u64(&s, (uint64_t)st.st_mtim.tv_sec);
            add_u64(&s, (uint64_t)st.st_mtim.tv_nsec);
        }
    }
    arena_free(&arena);
    in->path = dir;
    sha256_end(&s, in->digest);
    return status;
}

enum quern_status plan_inputs(const struct plan *p, struct input **inputs, uint32_t *n,
                              struct quern_error *err)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->nmodels; i++)
        count += p->models[i]->nfiles + (p->models[i]->dir != NULL);
    *n = 0;
    *inputs = calloc(count + 1, sizeof **inputs);
    if (!*inputs)
        return fail_memory(err, count * sizeof **inputs);
    for (uint32_t i = 0; i < p->nmodels; i++) {
        const struct model *m = p->models[i];
        for (uint32_t k = 0; k < m->nfiles; k++)
            input_file(&m->files[k], &(*inputs)[(*n)++]);
        if (m->dir)
            TRY(input_dir(m->dir, &(*inputs)[(*n)++], err));
    }
    return QUERN_OK;
}
