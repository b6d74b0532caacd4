/* cmd_lora.c - quern lora: show adapters, take them out of tuned models. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "convert/unpack.h"
#include "formats/adapter.h"
#include "making.h"
#include "merge/extract.h"
#include "pipeline/compare.h"
#include "pipeline/nonfinite.h"

/* ---- info -------------------------------------------------------------------------------------
 */

static const char *form_of(const struct adapter *a)
{
    if (a->model->format == MODEL_GGUF)
        return "GGUF LoRA";
    return a->config.ninvocation ? "PEFT activated LoRA"
           : a->config.dora      ? "PEFT DoRA"
           : a->config.rslora    ? "PEFT rsLoRA"
                                 : "PEFT LoRA";
}

/* Rows and columns of the matrix that a product is for; of one, where they are stacked. */
static void shape_of(const struct adapter *a, const struct adapter_part *p, uint64_t *rows,
                     uint64_t *cols)
{
    uint64_t nmats = 1;
    for (unsigned i = 0; a->model->format == MODEL_GGUF && i + 2 < p->a->ndims; i++)
        nmats *= p->a->dims[i];
    const uint64_t of_b = p->b->nelems / p->rank / nmats, of_a = p->a->nelems / p->rank / nmats;
    *rows = p->embedding ? of_a : of_b;
    *cols = p->embedding ? of_b : of_a;
}

/* Products that look alike: of modules with the same last name. */
struct group {
    struct str name;
    uint64_t rank, rows, cols;
    double scale;
    uint32_t count;
};

#define MAX_GROUPS 64

static struct str last_name(struct str target)
{
    if (str_ends(target, ".weight"))
        target.n -= strlen(".weight");
    for (size_t i = target.n; i-- > 0;)
        if (target.p[i] == '.')
            return (struct str){target.p + i + 1, target.n - i - 1};
    return target;
}

/* Fills groups in the order of their first parts; the number there are, which may be more. */
static size_t group_parts(const struct adapter *a, struct group groups[MAX_GROUPS])
{
    size_t n = 0;
    for (uint32_t i = 0; i < a->nparts; i++) {
        const struct adapter_part *p = &a->parts[i];
        if (p->kind != ADAPTER_PRODUCT)
            continue;
        struct group g = {
            .name = last_name(p->target), .rank = p->rank, .scale = p->scale, .count = 1};
        shape_of(a, p, &g.rows, &g.cols);
        size_t k = 0;
        while (k < n && k < MAX_GROUPS &&
               (!str_eq(groups[k].name, g.name) || groups[k].rank != g.rank ||
                groups[k].rows != g.rows || groups[k].cols != g.cols || groups[k].scale != g.scale))
            k++;
        if (k < n && k < MAX_GROUPS)
            groups[k].count++;
        else if (n++ < MAX_GROUPS)
            groups[n - 1] = g;
    }
    return n;
}

static uint64_t weights_of(const struct adapter *a, uint64_t *nbytes)
{
    uint64_t total = 0;
    *nbytes = 0;
    for (uint32_t i = 0; i < a->model->ntensors; i++) {
        total += a->model->tensors[i].nelems;
        *nbytes += a->model->tensors[i].nbytes;
    }
    return total;
}

static uint32_t count_kind(const struct adapter *a, enum adapter_part_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->nparts; i++)
        n += a->parts[i].kind == kind;
    return n;
}

static void print_names(const char *title, const struct str *names, uint32_t n)
{
    if (n == 0)
        return;
    printf("%-12s", title);
    for (uint32_t i = 0; i < n; i++)
        printf("%s%s", i ? ", " : "", quoted(names[i]).text);
    putchar('\n');
}

static void print_whole(const struct adapter *a)
{
    for (uint32_t i = 0; i < a->nparts; i++) {
        const struct adapter_part *p = &a->parts[i];
        char shape[64];
        shape_text(p->a->dims, p->a->ndims, shape, sizeof shape);
        if (p->kind == ADAPTER_WHOLE)
            printf("%-12s%s %s %s\n", "whole", quoted(p->target).text,
                   dtype_traits[p->a->dtype].name, shape);
    }
}

static void info_text(const struct adapter *a)
{
    struct group groups[MAX_GROUPS];
    char count[16], bytes[16];
    uint64_t nbytes;
    const uint64_t weights = weights_of(a, &nbytes);
    const size_t n = group_parts(a, groups);
    printf("%-12s%s\n", "kind", form_of(a));
    if (a->config.base_model.n)
        printf("%-12s%s\n", "base", quoted(a->config.base_model).text);
    if (a->architecture.n)
        printf("%-12s%s\n", "for", quoted(a->architecture).text);
    print_names("targets", a->config.targets, a->config.ntargets);
    print_names("saved", a->config.saved, a->config.nsaved);
    printf("%-12s%" PRIu32 " products, %" PRIu32 " biases, %" PRIu32 " whole tensors\n", "changes",
           count_kind(a, ADAPTER_PRODUCT), count_kind(a, ADAPTER_BIAS),
           count_kind(a, ADAPTER_WHOLE));
    printf("%-12s%s in %" PRIu32 " tensors, %s\n", "weights", human_count(weights, count),
           a->model->ntensors, human_bytes(nbytes, bytes));
    if (n > 0)
        printf("\n%-24s %6s %6s %10s  %s\n", "module", "count", "rank", "scale", "matrix");
    for (size_t i = 0; i < n && i < MAX_GROUPS; i++)
        printf("%-24s %6" PRIu32 " %6" PRIu64 " %10.6g  %" PRIu64 "x%" PRIu64 "\n",
               quoted(groups[i].name).text, groups[i].count, groups[i].rank, groups[i].scale,
               groups[i].rows, groups[i].cols);
    if (n > MAX_GROUPS)
        printf("... and %zu more kinds; --json lists all\n", n - MAX_GROUPS);
    print_whole(a);
}

static void json_names(struct json_writer *w, const char *key, const struct str *names, uint32_t n)
{
    json_key(w, key);
    json_open(w, '[');
    for (uint32_t i = 0; i < n; i++)
        json_put_str(w, names[i]);
    json_close(w, ']');
}

static void json_part(struct json_writer *w, const struct adapter *a, const struct adapter_part *p)
{
    static const char *const kinds[] = {
        [ADAPTER_PRODUCT] = "product", [ADAPTER_BIAS] = "bias", [ADAPTER_WHOLE] = "whole"};
    uint64_t rows, cols;
    json_open(w, '{');
    json_key(w, "target");
    json_put_str(w, p->target);
    field_text(w, "kind", kinds[p->kind]);
    field_text(w, "type", dtype_traits[p->a->dtype].name);
    if (p->kind == ADAPTER_PRODUCT) {
        shape_of(a, p, &rows, &cols);
        field_u64(w, "rows", rows);
        field_u64(w, "columns", cols);
        json_key(w, "magnitude");
        json_put_bool(w, p->magnitude != NULL);
    }
    if (p->kind != ADAPTER_WHOLE) {
        field_u64(w, "rank", p->rank);
        field_f64(w, "alpha", p->alpha);
        field_f64(w, "scale", p->scale);
    }
    json_close(w, '}');
}

static void info_json(const struct adapter *a)
{
    struct json_writer w = {0};
    uint64_t nbytes;
    const uint64_t weights = weights_of(a, &nbytes);
    json_open(&w, '{');
    field_text(&w, "path", a->path);
    field_text(&w, "kind", form_of(a));
    json_key(&w, "base_model");
    json_put_str(&w, a->config.base_model);
    json_key(&w, "architecture");
    json_put_str(&w, a->architecture);
    json_names(&w, "target_modules", a->config.targets, a->config.ntargets);
    json_names(&w, "modules_to_save", a->config.saved, a->config.nsaved);
    field_u64(&w, "tensors", a->model->ntensors);
    field_u64(&w, "weights", weights);
    field_u64(&w, "bytes", nbytes);
    json_key(&w, "changes");
    json_open(&w, '[');
    for (uint32_t i = 0; i < a->nparts; i++)
        json_part(&w, a, &a->parts[i]);
    json_close(&w, ']');
    json_close(&w, '}');
    print_json(&w);
}

static int info(struct cli *c, const struct values *a)
{
    struct arena arena = {0};
    struct adapter adapter;
    struct quern_error err;
    if (a->count != 1)
        return usage_error(c, "expected one adapter, got %zu", a->count);
    if (c->output)
        return usage_error(c, "-o has no meaning here: nothing is written");
    int code = 0;
    if (adapter_open(a->items[0], &arena, &adapter, &err) != QUERN_OK) {
        code = report_error(c, &err);
    } else {
        if (c->json)
            info_json(&adapter);
        else
            info_text(&adapter);
        model_close(adapter.model);
    }
    arena_free(&arena);
    return code;
}

/* ---- extract ----------------------------------------------------------------------------------
 */

#define WORST_SHOWN 10

struct extraction_of_models {
    struct model *base, *tuned;
    struct arena arena; /* of the views */
    struct view views[2];
    struct plan *survey, *plan;
    struct comparison *comparison;
    struct extract_report *report;
};

static double relative(struct extracted e)
{
    return e.norm > 0 ? e.error / e.norm : 0;
}

/* The worst step that was not shown yet, or nsteps. */
static uint32_t next_worst(const struct plan *p, const struct extract_report *r, const bool *shown)
{
    uint32_t best = p->nsteps;
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (p->steps[i].parts && !shown[i] &&
            (best == p->nsteps || relative(r->steps[i]) > relative(r->steps[best])))
            best = i;
    return best;
}

static void print_extracted(const struct cli *c, const struct plan *p,
                            const struct extract_report *r)
{
    const struct extracted total = extract_total(p, r);
    const uint32_t limit = c->verbose || r->nproducts < WORST_SHOWN ? r->nproducts : WORST_SHOWN;
    bool *shown = calloc(p->nsteps + 1u, sizeof *shown);
    if (!shown || c->quiet) {
        free(shown);
        return;
    }
    if (limit > 0)
        say("  %-44s %5s %12s  %s", limit < r->nproducts ? "tensor (worst)" : "tensor", "rank",
            "difference", "lost");
    for (uint32_t k = 0; k < limit; k++) {
        const uint32_t i = next_worst(p, r, shown);
        const struct extraction *e = p->steps[i].params;
        shown[i] = true;
        say("  %-44s %5" PRIu64 " %12.4g  %.3f %%", quoted(p->steps[i].name).text, e->rank,
            r->steps[i].norm, 100 * relative(r->steps[i]));
    }
    say("  %" PRIu32 " products lose %.3f %% of the differences; %" PRIu32 " tensors whole",
        r->nproducts, 100 * relative(total), r->nwhole);
    free(shown);
}

static void extracted_json(const struct plan *p, const struct extract_report *r)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    field_text(&w, "command", "lora extract");
    field_text(&w, "output", p->dir);
    field_u64(&w, "bytes", p->files[0].nbytes);
    field_f64(&w, "relative_error", relative(extract_total(p, r)));
    json_key(&w, "products");
    json_open(&w, '[');
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct extraction *e = p->steps[i].params;
        if (!p->steps[i].parts)
            continue;
        json_open(&w, '{');
        json_key(&w, "tensor");
        json_put_str(&w, p->steps[i].name);
        field_u64(&w, "rank", e->rank);
        field_f64(&w, "norm", r->steps[i].norm);
        field_f64(&w, "error", r->steps[i].error);
        field_f64(&w, "relative_error", relative(r->steps[i]));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_key(&w, "whole");
    json_open(&w, '[');
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (!p->steps[i].parts)
            json_put_str(&w, p->steps[i].name);
    json_close(&w, ']');
    if (p->nonfinite == NONFINITE_ZERO)
        zeroed_json(&w, p);
    json_close(&w, '}');
    print_json(&w);
}

static int run_extraction(struct cli *c, const struct extraction_of_models *x)
{
    const bool own_json = c->json && !c->dry_run;
    int code = own_json ? record_plan(c, x->plan) : 0;
    if (own_json)
        print_notes(c, x->plan);
    if (code == 0)
        code = own_json ? run_quietly(c, x->plan) : run_plan(c, x->plan);
    if (code != 0 || c->dry_run)
        return code;
    if (own_json)
        extracted_json(x->plan, x->report);
    else
        print_extracted(c, x->plan, x->report);
    return 0;
}

/* What is made again tells of a base where it lay then. */
static const char *base_name(const struct cli *c, struct extraction_of_models *x)
{
    const char *path = x->base->dir ? x->base->dir : x->base->path;
    return c->making ? place_then(c, path, &x->arena) : NULL;
}

/* First what differs at all, then the extraction: the files are laid out before it begins. */
static int extract_from(struct cli *c, struct extraction_of_models *x, const char *output)
{
    struct quern_error err;
    struct unpacked u;
    if (unpack_model(x->base, &x->arena, &x->views[0], &u, &err) != QUERN_OK ||
        unpack_model(x->tuned, &x->arena, &x->views[1], &u, &err) != QUERN_OK ||
        plan_compare_views(&x->views[0], &x->views[1], NULL, &x->survey, &x->comparison, &err) !=
            QUERN_OK ||
        plan_set_nonfinite(x->survey, c->nonfinite, &err) != QUERN_OK)
        return report_error(c, &err);
    if (x->survey->nonfinite != NONFINITE_ZERO)
        x->survey->nonfinite = NONFINITE_MOVED; /* what differs is looked at later */
    const int code = run_quietly(c, x->survey);
    if (code != 0)
        return code;
    const struct extract_request request = {.survey = x->survey,
                                            .comparison = x->comparison,
                                            .output = output,
                                            .rank = c->rank,
                                            .includes = c->includes.items,
                                            .nincludes = c->includes.count,
                                            .excludes = c->excludes.items,
                                            .nexcludes = c->excludes.count,
                                            .no_save_modules = c->no_save_modules,
                                            .dtype = c->out_dtype,
                                            .base_name = base_name(c, x),
                                            .force = c->force};
    if (extract_plan(&request, &x->plan, &x->report, &err) != QUERN_OK ||
        plan_set_nonfinite(x->plan, c->nonfinite, &err) != QUERN_OK)
        return report_error(c, &err);
    return run_extraction(c, x);
}

static int extract(struct cli *c, const struct values *a)
{
    struct quern_error err;
    struct extraction_of_models x = {0};
    const size_t nwords = c->output ? 2 : 3;
    c->output_at = c->output ? 0 : 4; /* extract BASE TUNED OUTPUT */
    if (a->count != nwords)
        return usage_error(c, "extract takes BASE TUNED OUTPUT, got %zu word%s", a->count,
                           a->count == 1 ? "" : "s");
    int code = 0;
    if (model_open(a->items[0], &x.base, &err) != QUERN_OK ||
        model_open(a->items[1], &x.tuned, &err) != QUERN_OK)
        code = report_error(c, &err);
    else
        code = extract_from(c, &x, c->output ? c->output : a->items[2]);
    if (x.plan)
        plan_free(x.plan);
    if (x.survey)
        plan_free(x.survey);
    view_free(&x.views[0]);
    view_free(&x.views[1]);
    arena_free(&x.arena);
    model_close(x.tuned);
    model_close(x.base);
    return code;
}

/* ---- words ------------------------------------------------------------------------------------
 */

int cmd_lora(struct cli *c)
{
    static const char *const words[] = {"extract", "info"};
    const char *word = c->args.count ? c->args.items[0] : "";
    struct values rest = {.count = 0};
    for (size_t i = 1; i < c->args.count; i++)
        rest.items[rest.count++] = c->args.items[i];
    if (strcmp(word, "info") == 0)
        return info(c, &rest);
    if (strcmp(word, "extract") == 0)
        return extract(c, &rest);
    const char *near = *word ? closest(str_from(word), words, sizeof words / sizeof *words) : NULL;
    return usage_error(c, "%s%s%sexpected extract or info%s%s%s", *word ? "'" : "",
                       *word ? quoted(str_from(word)).text : "", *word ? "': " : "",
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}
