/* error_table.c - error statistics of a plan's tensors, for people and for scripts. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "pipeline/error_totals.h"

#define NAME_WIDTH 44

/* ---- scripts -------------------------------------------------------------------------------- */

static void figures_json(struct json_writer *w, const struct error_sums *sums)
{
    struct error_figures f;
    error_figures(sums, &f);
    field_f64(w, "rmse", f.rmse);
    field_f64(w, "relative_rmse", f.relative);
    field_f64(w, "sqnr_db", f.sqnr_db);
    field_f64(w, "cosine", f.cosine);
    field_f64(w, "max_error", sums->max_error);
    field_f64(w, "worst_block_rmse", f.worst_rmse);
    if (sums->sum[SUM_WEIGHT] > 0.0) {
        field_f64(w, "weighted_rmse", f.weighted_rmse);
        field_f64(w, "weighted_relative_rmse", f.weighted_relative);
    }
}

static void bad_json(struct json_writer *w, const char *side, const struct error_sums *s,
                     unsigned k)
{
    if (s->nbad[k] == 0)
        return;
    json_key(w, side);
    json_open(w, '{');
    field_u64(w, "count", s->nbad[k]);
    field_u64(w, "first", s->first_bad[k]);
    json_close(w, '}');
}

static void tensor_json(struct json_writer *w, const struct step *s, const struct error_sums *sums)
{
    json_open(w, '{');
    json_key(w, "tensor");
    json_put_str(w, s->name);
    field_text(w, "from", dtype_traits[s->sources[0].tensor->dtype].name);
    field_text(w, "to", dtype_traits[s->dtype].name);
    field_u64(w, "weights", s->nelems);
    figures_json(w, sums);
    field_u64(w, "max_error_at", sums->max_at);
    field_u64(w, "worst_block", sums->worst_at);
    field_u64(w, "block_weights", error_block(s->dtype));
    bad_json(w, "nonfinite_from", sums, 0);
    bad_json(w, "nonfinite_to", sums, 1);
    json_close(w, '}');
}

static void total_json(struct json_writer *w, const struct error_total *t, const char *type)
{
    json_open(w, '{');
    if (type)
        field_text(w, "to", type);
    field_u64(w, "tensors", t->ntensors);
    field_u64(w, "weights", t->sums.npairs);
    figures_json(w, &t->sums);
    json_close(w, '}');
}

void errors_json(struct json_writer *w, const struct plan *p)
{
    struct error_totals t;
    w->failed |= !error_totals(p, &t);
    json_open(w, '{');
    json_key(w, "tensors");
    json_open(w, '[');
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (step_has_errors(&p->steps[i]))
            tensor_json(w, &p->steps[i], &p->errors[i]);
    json_close(w, ']');
    json_key(w, "types");
    json_open(w, '[');
    for (size_t d = 0; d < DTYPE_COUNT; d++)
        if (t.type[d].ntensors)
            total_json(w, &t.type[d], dtype_traits[d].name);
    json_close(w, ']');
    json_key(w, "all");
    total_json(w, &t.all, NULL);
    json_close(w, '}');
}

/* ---- people --------------------------------------------------------------------------------- */

/* A tensor of the table; order is its place in the file. */
struct row {
    double relative;
    uint32_t step;
};

static int by_error(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->relative != y->relative)
        return x->relative < y->relative ? 1 : -1;
    return x->step < y->step ? -1 : 1;
}

static void print_heading(FILE *f, int width, const char *what, bool weighted)
{
    fprintf(f, "  %s%-*s %-15s %9s %9s %6s %9s %9s %10s %9s %8s%s%s\n", dim(f), width, what, "type",
            "rmse", "relative", "dB", "cosine", "largest", "at", "worst", "block",
            weighted ? "  weighted" : "", plain(f));
}

/* The figures, then where they are, which means nothing for a total. */
static void print_figures(FILE *f, const struct error_sums *sums, bool weighted, bool places)
{
    struct error_figures v;
    char db[16] = "-", max_at[24] = "-", worst_at[24] = "-";
    error_figures(sums, &v);
    if (!isnan(v.sqnr_db))
        snprintf(db, sizeof db, "%.2f", v.sqnr_db);
    if (places && sums->max_error > 0.0) {
        snprintf(max_at, sizeof max_at, "%" PRIu64, sums->max_at);
        snprintf(worst_at, sizeof worst_at, "%" PRIu64, sums->worst_at);
    }
    fprintf(f, " %9.4g %#7.4g %% %6s %9.7f %9.4g %10s %9.4g %8s", v.rmse, v.relative * 100.0, db,
            v.cosine, sums->max_error, max_at, v.worst_rmse, worst_at);
    if (weighted && isnan(v.weighted_relative))
        fprintf(f, " %9s", "-");
    else if (weighted)
        fprintf(f, " %#7.4g %%", v.weighted_relative * 100.0);
    fputc('\n', f);
}

static void print_tensor(FILE *f, int width, const struct step *s, const struct error_sums *sums,
                         bool weighted)
{
    char types[32];
    const enum dtype from = s->sources[0].tensor->dtype;
    snprintf(types, sizeof types, from == s->dtype ? "%s" : "%s -> %s", dtype_traits[from].name,
             dtype_traits[s->dtype].name);
    fprintf(f, "  %-*s %-15s", width, quoted(s->name).text, types);
    print_figures(f, sums, weighted, true);
}

static void print_total(FILE *f, int width, const struct error_total *t, const char *type,
                        bool weighted)
{
    char what[40];
    snprintf(what, sizeof what, "%" PRIu64 " tensor%s", t->ntensors, t->ntensors == 1 ? "" : "s");
    fprintf(f, "  %-*s %-15s", width, what, type);
    print_figures(f, &t->sums, weighted, false);
}

static int name_width(const struct plan *p, const struct row *rows, size_t n)
{
    int width = 12;
    for (size_t i = 0; i < n; i++) {
        const int w = (int)strlen(quoted(p->steps[rows[i].step].name).text);
        width = w > width ? w : width;
    }
    return width < NAME_WIDTH ? width : NAME_WIDTH;
}

/* The tensors of the table: all in their order, or those that lost something, the worst first. */
static size_t choose_rows(const struct plan *p, bool all, struct row *rows)
{
    size_t n = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct error_figures v;
        error_figures(&p->errors[i], &v);
        if (step_has_errors(&p->steps[i]) && (all || p->errors[i].max_error > 0.0))
            rows[n++] = (struct row){isnan(v.relative) ? (double)INFINITY : v.relative, i};
    }
    if (!all)
        qsort(rows, n, sizeof *rows, by_error);
    return n;
}

void print_errors(FILE *f, const struct plan *p, bool all, size_t worst)
{
    struct error_totals t;
    struct row *rows = calloc((size_t)p->nsteps + 1, sizeof *rows);
    if (!rows || !error_totals(p, &t)) {
        free(rows);
        return;
    }
    const bool weighted = t.all.sums.sum[SUM_WEIGHT] > 0.0;
    const size_t n = choose_rows(p, all, rows);
    const size_t shown = all || n < worst ? n : worst;
    const int width = name_width(p, rows, shown);
    print_heading(f, width, all || shown == n ? "tensor" : "worst tensors", weighted);
    for (size_t i = 0; i < shown; i++)
        print_tensor(f, width, &p->steps[rows[i].step], &p->errors[rows[i].step], weighted);
    if (shown < n)
        fprintf(f, "  ... and %zu more (-v lists all)\n", n - shown);
    for (size_t d = 0; d < DTYPE_COUNT; d++)
        if (t.type[d].ntensors)
            print_total(f, width, &t.type[d], dtype_traits[d].name, weighted);
    print_total(f, width, &t.all, "all", weighted);
    free(rows);
}
