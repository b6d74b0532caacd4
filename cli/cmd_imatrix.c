/* cmd_imatrix.c - quern imatrix: show, check, combine and convert importance matrices. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli.h"
#include "pipeline/combine.h"
#include "pipeline/imatrix_lint.h"

/* ---- combine, convert ----------------------------------------------------------------------- */

/* By --output-format, else by the name. */
static int read_format(const struct cli *c, struct combine_request *r)
{
    const struct str output = str_from(r->output);
    if (c->output_format && strcmp(c->output_format, "gguf") != 0 &&
        strcmp(c->output_format, "dat") != 0)
        return usage_error(c, "--output-format '%s': expected gguf or dat",
                           quoted(str_from(c->output_format)).text);
    if (!c->output_format && !str_ends(output, ".gguf") && !str_ends(output, ".dat"))
        return usage_error(c, "'%s' ends neither in .gguf nor in .dat: add --output-format",
                           quoted(output).text);
    r->legacy = c->output_format ? strcmp(c->output_format, "dat") == 0 : str_ends(output, ".dat");
    return 0;
}

static int combine_open(struct cli *c, struct combine_request *r)
{
    struct quern_error err;
    struct plan *p;
    if (combine_plan(r, &p, &err) != QUERN_OK)
        return report_error(c, &err);
    const int code = run_plan(c, p);
    plan_free(p);
    return code;
}

static int combine(struct cli *c, const char *const *names, size_t n, const char *output)
{
    struct imatrix *inputs[MAX_ARGS];
    struct quern_error err;
    struct combine_request r = {
        .inputs = inputs, .output = output, .chunk_size = c->chunk_size, .force = c->force};
    int code = read_format(c, &r);
    for (; code == 0 && r.ninputs < n; r.ninputs++)
        if (imatrix_open(names[r.ninputs], &inputs[r.ninputs], &err) != QUERN_OK) {
            code = report_error(c, &err);
            break;
        }
    if (code == 0)
        code = combine_open(c, &r);
    while (r.ninputs > 0)
        imatrix_close(inputs[--r.ninputs]);
    return code;
}

static int cmd_combine(struct cli *c, const struct values *a)
{
    if (!c->output)
        return usage_error(c, "combine needs -o OUTPUT");
    if (a->count < 2)
        return usage_error(c, "combine needs two inputs or more; 'convert' takes one");
    return combine(c, a->items, a->count, c->output);
}

static int convert_matrix(struct cli *c, const struct values *a)
{
    const size_t nwords = c->output ? 1 : 2;
    if (a->count != nwords)
        return usage_error(c, "convert takes INPUT OUTPUT, or INPUT -o OUTPUT");
    c->output_at = c->output ? 0 : 3; /* convert INPUT OUTPUT */
    return combine(c, a->items, 1, c->output ? c->output : a->items[1]);
}

/* ---- show ----------------------------------------------------------------------------------- */

/* The least and the largest count of an entry. */
static enum quern_status count_range(const struct imatrix *im, const struct imatrix_entry *e,
                                     double *least, double *most, struct quern_error *err)
{
    float counts[IMATRIX_BATCH];
    *least = *most = (double)e->ncalls;
    for (uint64_t at = 0, n; e->counts && at < e->nmats; at += n) {
        n = e->nmats - at < IMATRIX_BATCH ? e->nmats - at : IMATRIX_BATCH;
        TRY(imatrix_counts(im, e, at, (size_t)n, counts, err));
        if (at == 0)
            *least = *most = (double)counts[0];
        for (uint64_t i = 0; i < n; i++) {
            *least = fmin(*least, (double)counts[i]);
            *most = fmax(*most, (double)counts[i]);
        }
    }
    return QUERN_OK;
}

static enum quern_status show_json(const struct imatrix *im, struct json_writer *w,
                                   struct quern_error *err)
{
    double least, most;
    json_open(w, '{');
    json_key(w, "path");
    json_put_str(w, str_from(im->model->path));
    field_text(w, "format", im->legacy ? "dat" : "gguf");
    field_u64(w, "chunk_count", im->chunk_count);
    if (im->chunk_size)
        field_u64(w, "chunk_size", im->chunk_size);
    json_key(w, "datasets");
    json_open(w, '[');
    for (uint32_t i = 0; i < im->ndatasets; i++)
        json_put_str(w, im->datasets[i]);
    json_close(w, ']');
    json_key(w, "entries");
    json_open(w, '[');
    for (uint32_t i = 0; i < im->nentries; i++) {
        const struct imatrix_entry *e = &im->entries[i];
        TRY(count_range(im, e, &least, &most, err));
        json_open(w, '{');
        json_key(w, "name");
        json_put_str(w, e->name);
        field_u64(w, "columns", e->ncols);
        field_u64(w, "matrices", e->nmats);
        field_f64(w, "min_count", least);
        field_f64(w, "max_count", most);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
    return QUERN_OK;
}

static enum quern_status show_text(const struct imatrix *im, struct quern_error *err)
{
    double least, most;
    printf("%s%s%s\n", bold(stdout), quoted(str_from(im->model->path)).text, plain(stdout));
    printf("  importance matrix, %s, %" PRIu32 " entries, %" PRIu32 " chunks",
           im->legacy ? ".dat" : "GGUF", im->nentries, im->chunk_count);
    if (im->chunk_size)
        printf(" of %" PRIu32 " tokens", im->chunk_size);
    printf("\n");
    for (uint32_t i = 0; i < im->ndatasets; i++)
        printf("  data set  %s\n", quoted(im->datasets[i]).text);
    printf("\n%s%-44s %8s %8s  %s%s\n", dim(stdout), "weight", "columns", "matrices",
           im->legacy ? "calls" : "count", plain(stdout));
    for (uint32_t i = 0; i < im->nentries; i++) {
        const struct imatrix_entry *e = &im->entries[i];
        TRY(count_range(im, e, &least, &most, err));
        printf("%-44s %8" PRIu64 " %8" PRIu64 "  %.0f", quoted(e->name).text, e->ncols, e->nmats,
               least);
        if (most > least)
            printf(" to %.0f", most);
        printf("\n");
    }
    return QUERN_OK;
}

static int show(struct cli *c, struct imatrix *im)
{
    struct quern_error err;
    struct json_writer w = {0};
    const enum quern_status s = c->json ? show_json(im, &w, &err) : show_text(im, &err);
    if (s != QUERN_OK) {
        json_writer_free(&w);
        return report_error(c, &err);
    }
    if (c->json)
        print_json(&w);
    return 0;
}

/* ---- lint ----------------------------------------------------------------------------------- */

static const char *const lint_names[] = {
    [LINT_VALUE] = "bad-values",    [LINT_COUNT] = "bad-counts",  [LINT_NO_DATA] = "no-data",
    [LINT_UNSEEN] = "unseen",       [LINT_ALL_ZERO] = "all-zero", [LINT_STRAY] = "stray-tensor",
    [LINT_NO_WEIGHT] = "no-weight", [LINT_SIZE] = "row-length",   [LINT_NO_ENTRY] = "no-entry",
};

static void finding_text(const struct lint_finding *f)
{
    const char *is = f->count == 1 ? "is" : "are";
    switch (f->kind) {
    case LINT_VALUE:
    case LINT_COUNT:
        printf("%" PRIu64 " of %" PRIu64
               " %s %s NaN, Inf or negative, the first is number %" PRIu64,
               f->count, f->of, f->kind == LINT_VALUE ? "values" : "counts", is, f->first);
        break;
    case LINT_NO_DATA:
        printf("nothing was counted: its columns will count alike");
        break;
    case LINT_UNSEEN:
        printf("%" PRIu64 " of %" PRIu64 " experts were never used, the first is number %" PRIu64
               ": their columns will count alike",
               f->count, f->of, f->first);
        break;
    case LINT_ALL_ZERO:
        printf("all of its values are 0");
        break;
    case LINT_STRAY:
        printf("this tensor is no part of an entry and is ignored");
        break;
    case LINT_NO_WEIGHT:
        printf("the model has no tensor of this name");
        break;
    case LINT_SIZE:
        printf("it has %" PRIu64 " values, the model's tensor needs %" PRIu64, f->count, f->of);
        break;
    case LINT_NO_ENTRY:
        printf("the model has this weight, and there is no entry for it");
        break;
    }
}

static void report_text(const struct cli *c, const struct imatrix *im, const struct lint_report *r,
                        bool with_model)
{
    const struct quoted path = quoted(str_from(im->model->path));
    for (uint32_t i = 0; i < im->model->nnotes; i++)
        say("note: %s: %s", path.text, im->model->notes[i]);
    for (uint32_t i = 0; i < r->nfindings; i++) {
        printf("%s: '%s': ", path.text, quoted(r->findings[i].name).text);
        finding_text(&r->findings[i]);
        printf("\n");
    }
    if (c->quiet)
        return;
    printf("%s: ", path.text);
    if (r->nfindings)
        printf("%" PRIu32 " finding%s", r->nfindings, r->nfindings == 1 ? "" : "s");
    else
        printf("clean");
    printf(", %" PRIu32 " entr%s", im->nentries, im->nentries == 1 ? "y" : "ies");
    if (with_model)
        printf(", %" PRIu32 " of %" PRIu32 " weights of the model's layers covered", r->ncovered,
               r->nweights);
    printf("\n");
}

static void report_json(const struct imatrix *im, const struct lint_report *r, bool with_model)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    json_key(&w, "path");
    json_put_str(&w, str_from(im->model->path));
    json_key(&w, "clean");
    json_put_bool(&w, r->nfindings == 0);
    field_u64(&w, "entries", im->nentries);
    if (with_model) {
        field_u64(&w, "weights", r->nweights);
        field_u64(&w, "covered_weights", r->ncovered);
    }
    json_key(&w, "findings");
    json_open(&w, '[');
    for (uint32_t i = 0; i < r->nfindings; i++) {
        const struct lint_finding *f = &r->findings[i];
        json_open(&w, '{');
        field_text(&w, "kind", lint_names[f->kind]);
        json_key(&w, "name");
        json_put_str(&w, f->name);
        if (f->of) {
            field_u64(&w, "count", f->count);
            field_u64(&w, "of", f->of);
        }
        if (f->of && f->kind != LINT_SIZE && f->kind != LINT_NO_DATA)
            field_u64(&w, "first", f->first);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    print_json(&w);
}

static enum quern_status lint_with(const struct cli *c, struct imatrix *im,
                                   const struct model *model, bool *clean, struct quern_error *err)
{
    struct plan *p;
    struct lint_report r;
    const struct quern_run_options options = {.threads = c->threads, .mem_bytes = c->mem};
    TRY(imatrix_lint_plan(im, &p, err));
    enum quern_status s = plan_run(p, &options, NULL, err);
    if (s == QUERN_OK)
        s = imatrix_lint_report(p, im, model, &r, err);
    if (s == QUERN_OK) {
        *clean = r.nfindings == 0;
        if (c->json)
            report_json(im, &r, model != NULL);
        else
            report_text(c, im, &r, model != NULL);
    }
    plan_free(p);
    return s;
}

static enum quern_status open_model(const struct cli *c, struct model **m, struct quern_error *err)
{
    if (!c->model)
        return QUERN_OK;
    TRY(model_open(c->model, m, err));
    if ((*m)->format == MODEL_GGUF)
        return QUERN_OK;
    return in_file(err, c->model,
                   fail(err, QUERN_EUNSUPPORTED, "format",
                        "this is a safetensors model" WANT
                        "expected the GGUF that the matrix was made with: it has other names"));
}

static int lint(struct cli *c, struct imatrix *im)
{
    struct quern_error err;
    struct model *m = NULL;
    bool clean = false;
    enum quern_status s = open_model(c, &m, &err);
    if (s == QUERN_OK)
        s = lint_with(c, im, m, &clean, &err);
    model_close(m);
    return s != QUERN_OK ? report_error(c, &err) : clean ? 0 : 1;
}

/* ---- words ---------------------------------------------------------------------------------- */

static int with_one(struct cli *c, const struct values *a,
                    int (*run)(struct cli *, struct imatrix *))
{
    struct quern_error err;
    struct imatrix *im;
    if (a->count != 1)
        return usage_error(c, "expected one importance matrix, got %zu", a->count);
    if (c->output)
        return usage_error(c, "-o has no meaning here: nothing is written");
    if (imatrix_open(a->items[0], &im, &err) != QUERN_OK)
        return report_error(c, &err);
    const int code = run(c, im);
    imatrix_close(im);
    return code;
}

int cmd_imatrix(struct cli *c)
{
    static const char *const words[] = {"combine", "convert", "lint", "show"};
    const char *word = c->args.count ? c->args.items[0] : "";
    struct values rest = {.count = 0};
    for (size_t i = 1; i < c->args.count; i++)
        rest.items[rest.count++] = c->args.items[i];
    const bool lints = strcmp(word, "lint") == 0;
    if (c->model && !lints)
        return usage_error(c, "--model is for lint");
    if (strcmp(word, "combine") == 0)
        return cmd_combine(c, &rest);
    if (strcmp(word, "convert") == 0)
        return convert_matrix(c, &rest);
    if (lints)
        return with_one(c, &rest, lint);
    if (strcmp(word, "show") == 0)
        return with_one(c, &rest, show);
    const char *near = *word ? closest(str_from(word), words, 4) : NULL;
    return usage_error(c, "%s%s%sexpected combine, convert, lint or show%s%s%s", *word ? "'" : "",
                       *word ? quoted(str_from(word)).text : "", *word ? "': " : "",
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}
