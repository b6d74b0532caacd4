/* extract.c - which tensors of a tuned model become products, which are kept whole; the files. */
#include "merge/extract.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/pattern.h"
#include "formats/adapter.h"
#include "merge/pairing.h"
#include "pipeline/compare.h"

#define PREFIX "base_model.model."

struct extractor {
    const struct extract_request *req;
    struct plan *plan;
    struct extract_report *report;
    struct pattern **includes, **excludes;
    uint64_t rank;
    enum dtype dtype;
    const float *start; /* random numbers for the widest matrix */
    uint64_t start_row, start_rows;
};

static enum quern_status free_patterns(struct pattern **list, size_t n, enum quern_status status)
{
    for (size_t i = 0; list && i < n; i++)
        pattern_free(list[i]);
    free(list);
    return status;
}

static enum quern_status read_patterns(const char *const *texts, size_t n, struct pattern ***out,
                                       struct quern_error *err)
{
    struct pattern **list = calloc(n + 1, sizeof *list);
    *out = list;
    if (!list)
        return fail_memory(err, n * sizeof *list);
    for (size_t i = 0; i < n; i++)
        TRY(pattern_new(str_from(texts[i]), &list[i], err));
    return QUERN_OK;
}

static enum quern_status matches_any(struct pattern *const *list, size_t n, struct str name,
                                     bool *found, struct quern_error *err)
{
    *found = false;
    for (size_t i = 0; i < n && !*found; i++)
        TRY(pattern_search(list[i], name, found, err));
    return QUERN_OK;
}

/* ---- the models --------------------------------------------------------------------------------
 */

static enum quern_status check_unmatched(const struct comparison *c, struct quern_error *err)
{
    if (c->nunmatched == 0)
        return QUERN_OK;
    const struct unmatched *u = &c->unmatched[0];
    const struct tensor *t = u->a ? u->a : u->b;
    assert(t);
    const char *what = !u->b            ? "it is not in the tuned model"
                       : !u->a          ? "it is not in the base"
                       : u->other_shape ? "its shapes differ"
                                        : "its types do not compare";
    return in_tensor(err, t->name,
                     fail(err, QUERN_EUSAGE, "missing-tensor",
                          "%s (%" PRIu32 " such tensor%s)" WANT
                          "expected a base and a model that was tuned from it",
                          what, c->nunmatched, c->nunmatched == 1 ? "" : "s"));
}

/* GPT-2 stores its matrices as [in, out]; an adapter must know. */
static enum quern_status check_kind(const struct model *base, struct arena *arena,
                                    struct quern_error *err)
{
    struct str text, kind = {NULL, 0};
    struct json *root;
    if (base->format == MODEL_GGUF)
        return fail(err, QUERN_EUNSUPPORTED, "format",
                    "the models are GGUF" WANT
                    "quern extracts adapters from safetensors models only; quern convert makes "
                    "them of GGUF");
    const char *path = base->dir ? path_join(arena, base->dir, "config.json") : NULL;
    if (!path || !path_exists(path))
        return QUERN_OK;
    TRY(read_small_file(path, JSON_MAX_BYTES, arena, &text, err));
    TRY(in_file(err, path, json_parse(text, &root, err)));
    const bool flipped = json_text(json_get(root, "model_type"), &kind) && str_is(kind, "gpt2");
    json_free(root);
    if (!flipped)
        return QUERN_OK;
    return in_file(err, path,
                   fail(err, QUERN_EUNSUPPORTED, "format",
                        "model_type is 'gpt2', which stores its matrices the other way round" WANT
                        "quern extracts adapters of linear layers only"));
}

/* A row per token: PEFT has other adapters for these. */
static bool is_vocabulary(struct str name)
{
    static const char *const parts[] = {"embed_tokens.", "lm_head.", "wte.",      "wpe.",
                                        "embeddings.",   "embed_in", "embed_out", "embedding."};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (str_has(name, parts[i]))
            return true;
    return false;
}

static bool is_matrix(const struct tensor *t)
{
    return t->ndims == 2 && t->dims[0] > 1 && t->dims[1] > 1 && str_ends(t->name, ".weight") &&
           !is_vocabulary(t->name);
}

/* ---- random numbers -----------------------------------------------------------------------------
 */

/* splitmix64: a function of the counter. */
static uint64_t random_at(uint64_t i)
{
    uint64_t z = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The sum of four uniform numbers: as good as normal ones for finding directions, and exact. */
static float bell(uint64_t bits)
{
    const int32_t sum = (int32_t)(bits & 0xFFFF) + (int32_t)(bits >> 16 & 0xFFFF) +
                        (int32_t)(bits >> 32 & 0xFFFF) + (int32_t)(bits >> 48);
    return (float)(sum - 2 * 0xFFFF) / 65536.0f;
}

static uint64_t width_for(uint64_t rank)
{
    return rank + rank / SPARE_SHARE + SPARE_DIRECTIONS;
}

static enum quern_status make_start(struct extractor *x, struct quern_error *err)
{
    x->start_row = width_for(x->rank);
    for (uint32_t i = 0; i < x->req->survey->nsteps; i++) {
        const struct tensor *t = x->req->survey->steps[i].sources[1].tensor;
        if (is_matrix(t) && t->dims[1] > x->start_rows)
            x->start_rows = t->dims[1];
    }
    float *start = ARENA_NEW(&x->plan->arena, float, x->start_rows * x->start_row + 1);
    if (!start)
        return fail_memory(err, x->start_rows * x->start_row * sizeof *start);
    for (uint64_t i = 0; i < x->start_rows * x->start_row; i++)
        start[i] = bell(random_at(i));
    x->start = start;
    return QUERN_OK;
}

/* ---- steps
 * --------------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct str module_of(struct str name)
{
    for (size_t i = name.n; i-- > 0;)
        if (name.p[i] == '.')
            return (struct str){name.p, i};
    return name;
}

/* A is [rank, cols], B is [rows, rank]; together they are the output of one step. */
static enum quern_status name_parts(struct extractor *x, struct step *s, const struct extraction *e,
                                    struct str module, struct quern_error *err)
{
    struct arena *arena = &x->plan->arena;
    struct step_part *parts = ARENA_NEW(arena, struct step_part, 2);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 5);
    const char *a = arena_printf(arena, PREFIX "%.*s.lora_A.weight", STR_ARG(module));
    const char *b = arena_printf(arena, PREFIX "%.*s.lora_B.weight", STR_ARG(module));
    if (!parts || !dims || !a || !b)
        return fail_memory(err, module.n);
    dims[0] = dims[3] = e->rank;
    dims[1] = e->cols;
    dims[2] = e->rows;
    dims[4] = e->rank * (e->rows + e->cols);
    parts[0] = (struct step_part){.name = str_from(a), .dims = dims, .ndims = 2};
    parts[1] = (struct step_part){.name = str_from(b), .dims = dims + 2, .ndims = 2};
    s->parts = parts;
    s->nparts = 2;
    s->dims = dims + 4;
    s->ndims = 1;
    return QUERN_OK;
}

static enum quern_status add_product(struct extractor *x, const struct step *pair,
                                     struct quern_error *err)
{
    struct arena *arena = &x->plan->arena;
    const struct tensor *t = pair->sources[1].tensor;
    struct extraction *e = ARENA_NEW(arena, struct extraction, 1);
    struct source *sources = ARENA_NEW(arena, struct source, 2);
    if (!e || !sources)
        return fail_memory(err, sizeof *e);
    sources[0] = pair->sources[1];
    sources[1] = pair->sources[0];
    const uint64_t smaller = least(t->dims[0], t->dims[1]);
    *e = (struct extraction){.rows = t->dims[0],
                             .cols = t->dims[1],
                             .rank = least(x->rank, smaller),
                             .width = least(width_for(x->rank), smaller),
                             .start = x->start,
                             .start_row = x->start_row,
                             .result = &x->report->steps[x->plan->nsteps]};
    struct step *s = &x->plan->steps[x->plan->nsteps++];
    *s = (struct step){.name = t->name,
                       .dtype = (uint8_t)x->dtype,
                       .round_dtype = DTYPE_COUNT,
                       .sources = sources,
                       .nsources = 2,
                       .npasses = EXTRACT_PASSES,
                       .op = &op_extract,
                       .params = e,
                       .measured = t->nelems};
    x->report->nproducts++;
    return name_parts(x, s, e, module_of(t->name), err);
}

/* A bias beside a matrix that is adapted lies a level deeper in PEFT. */
static bool beside_product(const struct extractor *x, struct str module)
{
    for (uint32_t i = 0; i < x->plan->nsteps; i++) {
        const struct step *s = &x->plan->steps[i];
        if (s->parts && str_eq(module_of(s->name), module))
            return true;
    }
    return false;
}

static enum quern_status add_whole(struct extractor *x, const struct step *pair,
                                   struct quern_error *err)
{
    const struct tensor *t = pair->sources[1].tensor;
    const struct str module = module_of(t->name);
    const struct str last = {t->name.p + module.n, t->name.n - module.n};
    const bool deeper = str_is(last, ".bias") && beside_product(x, module);
    const char *name = arena_printf(&x->plan->arena, PREFIX "%.*s%s%.*s", STR_ARG(module),
                                    deeper ? ".base_layer" : "", STR_ARG(last));
    if (!name)
        return fail_memory(err, t->name.n);
    x->plan->steps[x->plan->nsteps++] = (struct step){.name = str_from(name),
                                                      .dims = t->dims,
                                                      .ndims = t->ndims,
                                                      .dtype = t->dtype,
                                                      .round_dtype = DTYPE_COUNT,
                                                      .sources = &pair->sources[1],
                                                      .nsources = 1,
                                                      .op = &op_copy};
    x->report->nwhole++;
    return QUERN_OK;
}

static enum quern_status is_wanted(const struct extractor *x, struct str name, bool *wanted,
                                   struct quern_error *err)
{
    bool excluded;
    *wanted = true;
    if (x->req->nincludes)
        TRY(matches_any(x->includes, x->req->nincludes, name, wanted, err));
    TRY(matches_any(x->excludes, x->req->nexcludes, name, &excluded, err));
    *wanted &= !excluded;
    return QUERN_OK;
}

/* Products first (matrices), then what is kept whole. */
static enum quern_status add_step(struct extractor *x, uint32_t i, bool matrices,
                                  struct quern_error *err)
{
    const struct step *pair = &x->req->survey->steps[i];
    const struct tensor *t = pair->sources[1].tensor;
    bool wanted;
    if (is_matrix(t) != matrices || error_free(&x->req->survey->errors[i]))
        return QUERN_OK;
    TRY(is_wanted(x, t->name, &wanted, err));
    if (!wanted)
        return plan_drop(x->plan, t->name, "differs, left out by --include or --exclude", err);
    if (step_compares_bytes(pair))
        return in_tensor(err, pair->name,
                         fail(err, QUERN_EUNSUPPORTED, "type",
                              "it differs and holds no weights" WANT
                              "leave it out with --exclude, or expect equal ones"));
    if (matrices)
        return add_product(x, pair, err);
    if (x->req->no_save_modules)
        return plan_drop(x->plan, t->name, "differs, left out by --no-save-modules", err);
    return add_whole(x, pair, err);
}

static enum quern_status add_steps(struct extractor *x, struct quern_error *err)
{
    struct plan *p = x->plan;
    const uint32_t n = x->req->survey->nsteps;
    p->steps = ARENA_NEW(&p->arena, struct step, n + 1u);
    x->report->steps = ARENA_NEW(&p->arena, struct extracted, n + 1u);
    if (!p->steps || !x->report->steps)
        return fail_memory(err, n * sizeof *p->steps);
    TRY(make_start(x, err));
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < n; i++)
            TRY(add_step(x, i, pass == 0, err));
    if (p->nsteps > 0 && p->ndropped == 0)
        return QUERN_OK;
    if (p->nsteps > 0)
        return plan_note(p, err, "%" PRIu32 " tensor%s that differ%s left out by request",
                         p->ndropped, p->ndropped == 1 ? "" : "s",
                         p->ndropped == 1 ? "s is" : " are");
    return fail(err, QUERN_EUSAGE, "nothing",
                p->ndropped ? "everything that differs was left out"
                            : "the models are equal" WANT "expected a base and a model tuned from "
                              "it");
}

/* ---- files
 * --------------------------------------------------------------------------------------- */

static void line(struct json_writer *w, const char *key)
{
    json_raw(w, w->comma ? STR(",\n  ") : STR("\n  "));
    w->comma = false;
    json_key(w, key);
    json_raw(w, STR(" "));
}

/* The modules of the steps that are products, or of those that are whole and no bias. */
static void write_modules(struct json_writer *w, const struct plan *p, bool products)
{
    json_open(w, '[');
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct step *s = &p->steps[i];
        struct str module = module_of(s->name);
        if ((s->parts != NULL) != products || (!products && str_ends(s->name, ".bias")))
            continue;
        if (!products)
            module = (struct str){module.p + strlen(PREFIX), module.n - strlen(PREFIX)};
        json_put_str(w, module);
    }
    json_close(w, ']');
}

/* Matrices smaller than the rank: rank and alpha alike, so that the factor stays 1. */
static void write_smaller(struct json_writer *w, const struct plan *p, uint64_t rank)
{
    json_open(w, '{');
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct extraction *e = p->steps[i].params;
        if (!p->steps[i].parts || e->rank == rank)
            continue;
        json_key_str(w, module_of(p->steps[i].name));
        json_put_u64(w, e->rank);
    }
    json_close(w, '}');
}

static bool has_bias(const struct plan *p)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (!p->steps[i].parts && str_ends(p->steps[i].name, ".bias"))
            return true;
    return false;
}

static void write_config(struct json_writer *w, const struct extractor *x)
{
    const struct plan *p = x->plan;
    json_open(w, '{');
    line(w, "alpha_pattern");
    write_smaller(w, p, x->rank);
    line(w, "base_model_name_or_path");
    json_put_text(w, x->req->base_name            ? x->req->base_name
                     : x->req->comparison->a->dir ? x->req->comparison->a->dir
                                                  : x->req->comparison->a->path);
    line(w, "bias");
    json_put_text(w, has_bias(p) ? "all" : "none");
    line(w, "fan_in_fan_out");
    json_put_bool(w, false);
    line(w, "inference_mode");
    json_put_bool(w, true);
    line(w, "lora_alpha");
    json_put_u64(w, x->rank);
    line(w, "lora_dropout");
    json_put_u64(w, 0);
    line(w, "modules_to_save");
    write_modules(w, p, false);
    line(w, "peft_type");
    json_put_text(w, "LORA");
    line(w, "r");
    json_put_u64(w, x->rank);
    line(w, "rank_pattern");
    write_smaller(w, p, x->rank);
    line(w, "target_modules");
    write_modules(w, p, true);
    line(w, "task_type");
    json_put_null(w);
    line(w, "use_dora");
    json_put_bool(w, false);
    line(w, "use_rslora");
    json_put_bool(w, false);
    json_raw(w, STR("\n"));
    json_close(w, '}');
    json_raw(w, STR("\n"));
}

static enum quern_status add_config(struct extractor *x, struct quern_error *err)
{
    struct json_writer w = {0};
    write_config(&w, x);
    const struct str text = json_written(&w);
    const enum quern_status status =
        text.p ? plan_add_side_text(x->plan, "adapter_config.json", text, err)
               : fail_memory(err, 4096);
    json_writer_free(&w);
    return status;
}

static enum quern_status add_card(struct extractor *x, struct quern_error *err)
{
    const struct comparison *c = x->req->comparison;
    const char *text = arena_printf(
        &x->plan->arena,
        "---\nlibrary_name: peft\ntags:\n- lora\n- quern\n---\n# LoRA extracted from a model\n\n"
        "This adapter holds what `%s` is away from `%s`, as products of rank %" PRIu64
        " at most: %" PRIu32 " matrices%s. It was extracted with quern.\n",
        quoted(str_from(path_base(c->b->path))).text, quoted(str_from(path_base(c->a->path))).text,
        x->rank, x->report->nproducts, x->report->nwhole ? ", and other tensors whole" : "");
    if (!text)
        return fail_memory(err, 1024);
    return plan_add_side_text(x->plan, "README.md", str_from(text), err);
}

static enum quern_status lay_out(struct extractor *x, struct quern_error *err)
{
    static const struct meta format = {
        .key = {"format", 6},
          .value = {"pt",     2},
          .type = META_STRING
    };
    struct plan *p = x->plan;
    p->dir = arena_printf(&p->arena, "%s", x->req->output);
    if (!p->dir)
        return fail_memory(err, strlen(x->req->output));
    TRY(add_config(x, err));
    TRY(add_card(x, err));
    return layout_safetensors(p, "adapter_model.safetensors", &format, 1, err);
}

/* ---- all together
 * -------------------------------------------------------------------------------- */

static enum quern_status read_request(struct extractor *x, struct quern_error *err)
{
    const struct extract_request *req = x->req;
    const struct str output = str_from(req->output ? req->output : "");
    x->rank = req->rank ? req->rank : EXTRACT_DEFAULT_RANK;
    x->dtype = DTYPE_F32;
    if (output.n == 0 || str_ends(output, ".gguf") || str_ends(output, ".safetensors"))
        return fail(err, QUERN_EUSAGE, "usage",
                    "the output is '%s'" WANT "expected the name of a directory",
                    quoted(output).text);
    if (x->rank > MAX_RANK)
        return fail(err, QUERN_EUSAGE, "usage", "rank %" PRIu64 WANT "expected at most %u", x->rank,
                    MAX_RANK);
    if (req->dtype && (!dtype_from_name(str_from(req->dtype), &x->dtype) ||
                       (x->dtype != DTYPE_F32 && x->dtype != DTYPE_F16 && x->dtype != DTYPE_BF16)))
        return fail(err, QUERN_EUSAGE, "usage", "type '%s'" WANT "expected f32, f16 or bf16",
                    quoted(str_from(req->dtype)).text);
    TRY(read_patterns(req->includes, req->nincludes, &x->includes, err));
    return read_patterns(req->excludes, req->nexcludes, &x->excludes, err);
}

static enum quern_status build(struct extractor *x, struct quern_error *err)
{
    struct plan *p = x->plan;
    p->force = x->req->force;
    p->nonfinite = NONFINITE_ERROR;
    x->report = ARENA_NEW(&p->arena, struct extract_report, 1);
    if (!x->report)
        return fail_memory(err, sizeof *x->report);
    TRY(read_request(x, err));
    for (uint32_t i = 0; i < x->req->survey->nmodels; i++)
        TRY(plan_add_model(p, x->req->survey->models[i], err));
    TRY(check_kind(x->req->comparison->a, &p->arena, err));
    TRY(check_unmatched(x->req->comparison, err));
    TRY(add_steps(x, err));
    return lay_out(x, err);
}

enum quern_status extract_plan(const struct extract_request *req, struct plan **out,
                               struct extract_report **report, struct quern_error *err)
{
    struct extractor x = {.req = req, .plan = plan_new("extract", err)};
    if (!x.plan)
        return QUERN_EMEMORY;
    enum quern_status status = build(&x, err);
    status = free_patterns(x.includes, req->nincludes, status);
    status = free_patterns(x.excludes, req->nexcludes, status);
    if (status != QUERN_OK) {
        plan_free(x.plan);
        return status;
    }
    *out = x.plan;
    *report = x.report;
    return QUERN_OK;
}

struct extracted extract_total(const struct plan *p, const struct extract_report *report)
{
    struct extracted total = {0};
    for (uint32_t i = 0; i < p->nsteps; i++) {
        total.norm += report->steps[i].norm * report->steps[i].norm;
        total.error += report->steps[i].error * report->steps[i].error;
    }
    return (struct extracted){sqrt(total.norm), sqrt(total.error)};
}
