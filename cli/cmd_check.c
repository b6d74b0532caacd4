/* cmd_check.c - quern check: is everything in these models sound? */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "core/sha256.h"
#include "formats/gguf.h"
#include "pipeline/scan.h"

struct verdict {
    const struct model *m;
    const struct scan_result *results;
    uint32_t nresults;
    uint64_t nbad_tensors;
    char (*sha256)[65]; /* per file, or NULL */
};

static void verdict_json(struct json_writer *w, const struct verdict *v)
{
    json_open(w, '{');
    json_key(w, "path");
    json_put_str(w, str_from(v->m->path));
    json_key(w, "sound");
    json_put_bool(w, v->nbad_tensors == 0);
    field_u64(w, "tensors", v->m->ntensors);
    field_u64(w, "checked_tensors", v->nresults);
    json_key(w, "bad");
    json_open(w, '[');
    for (uint32_t i = 0; i < v->nresults; i++) {
        if (v->results[i].nbad == 0)
            continue;
        json_open(w, '{');
        json_key(w, "tensor");
        json_put_str(w, v->results[i].tensor->name);
        field_u64(w, "count", v->results[i].nbad);
        field_u64(w, "first", v->results[i].first);
        json_close(w, '}');
    }
    json_close(w, ']');
    if (v->sha256) {
        json_key(w, "sha256");
        json_open(w, '{');
        for (uint32_t i = 0; i < v->m->nfiles; i++)
            field_text(w, v->m->files[i].name, v->sha256[i]);
        json_close(w, '}');
    }
    json_close(w, '}');
}

static void verdict_text(const struct cli *c, const struct verdict *v)
{
    const char *path = v->m->path;
    for (uint32_t i = 0; i < v->nresults; i++) {
        const struct scan_result *r = &v->results[i];
        if (r->nbad)
            say("%s: tensor '%s': %" PRIu64 " value%s NaN or Inf, first at element %" PRIu64,
                quoted(str_from(path)).text, quoted(r->tensor->name).text, r->nbad,
                r->nbad == 1 ? " is" : "s are", r->first);
    }
    for (uint32_t i = 0; i < v->m->nnotes; i++)
        say("note: %s: %s", quoted(str_from(path)).text, v->m->notes[i]);
    if (v->nresults < v->m->ntensors)
        say("note: %s: the values of %" PRIu32 " tensors are of types quern cannot read",
            quoted(str_from(path)).text, v->m->ntensors - v->nresults);
    for (uint32_t i = 0; v->sha256 && i < v->m->nfiles; i++)
        printf("%s  %s\n", v->sha256[i], quoted(str_from(v->m->files[i].path)).text);
    if (c->quiet)
        return;
    if (v->nbad_tensors)
        printf("%s: %" PRIu64 " of %" PRIu32 " tensors have bad values\n",
               quoted(str_from(path)).text, v->nbad_tensors, v->m->ntensors);
    else
        printf("%s: sound, %" PRIu32 " tensor%s\n", quoted(str_from(path)).text, v->m->ntensors,
               v->m->ntensors == 1 ? "" : "s");
}

static enum quern_status hash_files(const struct model *m, struct arena *arena, struct verdict *v,
                                    struct quern_error *err)
{
    v->sha256 = arena_array(arena, m->nfiles, sizeof *v->sha256);
    if (!v->sha256)
        return fail_memory(err, m->nfiles * sizeof *v->sha256);
    for (uint32_t i = 0; i < m->nfiles; i++)
        TRY(sha256_file(m->files[i].path, v->sha256[i], err));
    return QUERN_OK;
}

static enum quern_status scan(const struct cli *c, struct model *m, struct json_writer *w,
                              bool *bad, struct quern_error *err)
{
    struct plan *p;
    struct scan_result *results;
    struct verdict v = {.m = m};
    if (m->format == MODEL_GGUF)
        TRY(gguf_check_model(m, err));
    TRY(plan_scan(m, &p, &results, &v.nresults, err));
    v.results = results;
    const struct quern_run_options options = {.threads = c->threads, .mem_bytes = c->mem};
    enum quern_status s = plan_run(p, &options, NULL, err);
    if (s == QUERN_OK && c->sha256)
        s = hash_files(m, &p->arena, &v, err);
    for (uint32_t i = 0; i < v.nresults; i++)
        v.nbad_tensors += results[i].nbad != 0;
    *bad = v.nbad_tensors != 0;
    if (s == QUERN_OK && c->json)
        verdict_json(w, &v);
    else if (s == QUERN_OK)
        verdict_text(c, &v);
    plan_free(p);
    return s;
}

static void json_failure(struct json_writer *w, const char *path, const struct quern_error *e)
{
    json_open(w, '{');
    json_key(w, "path");
    json_put_str(w, str_from(path));
    json_key(w, "sound");
    json_put_bool(w, false);
    error_fields(w, e);
    json_close(w, '}');
}

static int check_one(const struct cli *c, const char *path, struct json_writer *w)
{
    struct quern_error err;
    struct model *m;
    bool bad = false;
    enum quern_status s = model_open(path, &m, &err);
    if (s == QUERN_OK) {
        s = in_file(&err, path, scan(c, m, w, &bad, &err));
        model_close(m);
    }
    if (s == QUERN_OK)
        return bad ? 1 : 0;
    if (c->json)
        json_failure(w, path, &err);
    say("quern: %s", err.text);
    return (int)s;
}

/* All inputs are looked at; the worst finding is the exit code. */
int cmd_check(struct cli *c)
{
    struct json_writer w = {0};
    int worst = 0;
    if (c->args.count == 0)
        return usage_error(c, "expected at least one INPUT");
    json_open(&w, '[');
    for (size_t i = 0; i < c->args.count; i++) {
        const int code = check_one(c, c->args.items[i], &w);
        worst = code > worst ? code : worst;
    }
    json_close(&w, ']');
    if (c->json)
        print_json(&w);
    else
        json_writer_free(&w);
    return worst;
}
