/* verify_report.c - what quern verify has found, for people and for scripts. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "pipeline/differences.h"
#include "pipeline/error_totals.h"
#include "pipeline/verify.h"

#define WORST_SHOWN 20
#define NAME_WIDTH  44
#define VALUE_WIDTH 60

struct findings {
    const struct cli *cli;
    const struct plan *plan;
    const struct verification *v;
    uint32_t ndiffer;       /* tensors in which bytes differ ... */
    uint64_t nblocks;       /* ... and blocks in all of them */
    uint64_t nbytes;        /* that were compared */
    uint32_t nkeys, nsides; /* that count; the others only describe */
    uint32_t ndescribing;
    bool exact;
};

static void count(struct findings *f)
{
    const struct plan *p = f->plan;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        f->ndiffer += p->differences[i].nblocks > 0;
        f->nblocks += p->differences[i].nblocks;
        f->nbytes += p->steps[i].nbytes;
    }
    for (uint32_t i = 0; i < f->v->nkeys; i++)
        f->nkeys += !f->v->keys[i].describes;
    for (uint32_t i = 0; i < f->v->nsides; i++)
        f->nsides += !f->v->sides[i].describes;
    f->ndescribing = f->v->nkeys + f->v->nsides - f->nkeys - f->nsides;
    f->exact = plan_verified(p, f->cli->tensors_only);
}

/* ---- tensors -------------------------------------------------------------------------------- */

static bool in_blocks(const struct step *s)
{
    return difference_block(s->dtype) > 1;
}

static uint64_t blocks_of(const struct step *s)
{
    return s->nelems / difference_block(s->dtype);
}

static uint64_t row_of(const struct step *s)
{
    return s->ndims && s->dims[s->ndims - 1] ? s->dims[s->ndims - 1] : 1;
}

/* How far off the tensor is as a whole; without numbers, as far as can be. */
static double weight_of(const struct step *s, const struct difference *d)
{
    if (!step_has_errors(s) || d->errors.nbad[0] + d->errors.nbad[1] > 0)
        return (double)INFINITY;
    return d->errors.sum[SUM_ERROR_SQ] / (double)s->nelems;
}

struct row {
    double weight;
    uint32_t step;
};

static int by_weight(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return x->step < y->step ? -1 : 1;
}

/* Those that differ, the worst first; all: in their order. malloc'ed. */
static struct row *differing(const struct findings *f, bool all)
{
    const struct plan *p = f->plan;
    struct row *rows = calloc(f->ndiffer + 1u, sizeof *rows);
    size_t n = 0;
    for (uint32_t i = 0; rows && i < p->nsteps; i++)
        if (p->differences[i].nblocks)
            rows[n++] = (struct row){weight_of(&p->steps[i], &p->differences[i]), i};
    if (rows && !all)
        qsort(rows, n, sizeof *rows, by_weight);
    return rows;
}

static void place_text(const struct step *s, const struct difference *d, char *buf, size_t n)
{
    const uint64_t row = d->first_elem / row_of(s), at = d->first_elem % row_of(s);
    if (in_blocks(s))
        snprintf(buf, n, "row %" PRIu64 ", block %" PRIu64 ", element %" PRIu64, row,
                 at / difference_block(s->dtype), at);
    else
        snprintf(buf, n, "row %" PRIu64 ", element %" PRIu64, row, at);
}

static void print_tensor(const struct step *s, const struct difference *d, int width)
{
    char differ[64], place[96];
    struct error_figures v;
    error_figures(&d->errors, &v);
    place_text(s, d, place, sizeof place);
    snprintf(differ, sizeof differ, "%" PRIu64 " of %" PRIu64 " %s", d->nblocks, blocks_of(s),
             in_blocks(s) ? "blocks" : "values");
    printf("  %-*s %-8s %-28s %-40s", width, quoted(s->name).text, dtype_traits[s->dtype].name,
           differ, place);
    if (step_has_errors(s))
        printf(" %9.4g %#7.4g %%\n", d->errors.max_error, v.relative * 100.0);
    else
        printf(" %9s %9s\n", "-", "-");
}

static void say_nonfinite(const struct step *s, const struct difference *d)
{
    if (d->errors.nbad[1])
        printf("  %s: %" PRIu64 " value%s NaN or Inf, first at element %" PRIu64 "\n",
               quoted(s->name).text, d->errors.nbad[1], d->errors.nbad[1] == 1 ? " is" : "s are",
               d->errors.first_bad[1]);
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

static void print_tensors(const struct findings *f)
{
    const bool all = f->cli->verbose;
    struct row *rows = f->ndiffer ? differing(f, all) : NULL;
    if (!rows)
        return;
    const size_t n = all || f->ndiffer < WORST_SHOWN ? f->ndiffer : WORST_SHOWN;
    const int width = name_width(f->plan, rows, n);
    printf("  %s%-*s %-8s %-28s %-40s %9s %9s%s\n", dim(stdout), width,
           n < f->ndiffer ? "worst tensors" : "tensor", "type", "differ", "first at", "largest",
           "relative", plain(stdout));
    for (size_t i = 0; i < n; i++)
        print_tensor(&f->plan->steps[rows[i].step], &f->plan->differences[rows[i].step], width);
    if (n < f->ndiffer)
        printf("  ... and %zu more (-v lists all)\n", f->ndiffer - n);
    for (size_t i = 0; i < n; i++)
        say_nonfinite(&f->plan->steps[rows[i].step], &f->plan->differences[rows[i].step]);
    free(rows);
}

static void print_mismatch(const struct mismatch *x)
{
    char made[96], there[96];
    const char *name = quoted(x->name).text;
    if (!x->there) {
        printf("  tensor '%s' is missing\n", name);
    } else if (!x->made) {
        printf("  tensor '%s' does not come from the source\n", name);
    } else if (x->other_shape) {
        shape_text(x->made->dims, x->made->ndims, made, sizeof made);
        shape_text(x->there->dims, x->there->ndims, there, sizeof there);
        printf("  tensor '%s' is %s, the source gives %s\n", name, there, made);
    } else {
        printf("  tensor '%s' is %s, the source gives %s\n", name,
               dtype_traits[x->there->dtype].name, dtype_traits[x->made->dtype].name);
    }
}

static void print_mismatches(const struct findings *f)
{
    const uint32_t n = f->v->ntensors;
    const uint32_t shown = f->cli->verbose || n < WORST_SHOWN ? n : WORST_SHOWN;
    for (uint32_t i = 0; i < shown; i++)
        print_mismatch(&f->v->tensors[i]);
    if (shown < n)
        printf("  ... and %" PRIu32 " more tensors (-v lists all)\n", n - shown);
}

/* ---- keys and files ------------------------------------------------------------------------- */

static bool same_arrays(const struct key_mismatch *x)
{
    return x->made && x->there && x->made->type == META_ARRAY && x->there->type == META_ARRAY &&
           x->made->item_type == x->there->item_type;
}

static void print_value(const struct meta *k, const char *without)
{
    const char *mark = k && k->type == META_STRING ? "'" : "";
    printf("%s", mark);
    if (k)
        print_meta(stdout, k, VALUE_WIDTH);
    else
        printf("%s", without);
    printf("%s", mark);
}

static void print_key(const struct key_mismatch *x)
{
    const struct meta *k = x->made ? x->made : x->there;
    printf("  key '%s' ", quoted(k->key).text);
    if (x->made && x->there && same_arrays(x)) {
        printf("differs from item %" PRIu64 " on (%" PRIu64 " items, the source gives %" PRIu64
               ")\n",
               x->item, x->there->count, x->made->count);
        return;
    }
    printf("is ");
    print_value(x->there, "missing");
    printf(", the source gives ");
    print_value(x->made, "none");
    printf("\n");
}

static void print_side(const struct side_mismatch *x)
{
    if (x->key)
        printf("  %s: '%s' %s\n", x->name, quoted(str_from(x->key)).text, x->what);
    else
        printf("  %s %s\n", x->name, x->what);
}

/* Those that count, or those that describe. */
static void print_keys(const struct findings *f, bool describing)
{
    for (uint32_t i = 0; i < f->v->nkeys; i++)
        if (f->v->keys[i].describes == describing)
            print_key(&f->v->keys[i]);
    for (uint32_t i = 0; i < f->v->nsides; i++)
        if (f->v->sides[i].describes == describing)
            print_side(&f->v->sides[i]);
}

static void print_describing(const struct findings *f)
{
    if (f->cli->tensors_only || f->ndescribing == 0)
        return;
    printf("%" PRIu32 " key%s or file%s that only describe%s the model differ%s", f->ndescribing,
           f->ndescribing == 1 ? "" : "s", f->ndescribing == 1 ? "" : "s",
           f->ndescribing == 1 ? "s" : "", f->ndescribing == 1 ? "s" : "");
    printf(f->cli->verbose ? ":\n" : " (-v lists them)\n");
    if (f->cli->verbose)
        print_keys(f, true);
}

/* ---- the verdict ---------------------------------------------------------------------------- */

static void print_verdict(const struct findings *f)
{
    const uint32_t n = f->plan->nsteps;
    const char *comma = "";
    if (f->exact) {
        printf("exact: %" PRIu32 " tensor%s, %" PRIu64 " bytes\n", n, n == 1 ? "" : "s", f->nbytes);
        return;
    }
    printf("different: ");
    if (f->ndiffer) {
        printf("%" PRIu32 " of %" PRIu32 " tensors (%" PRIu64 " block%s or values)", f->ndiffer, n,
               f->nblocks, f->nblocks == 1 ? "" : "s");
        comma = ", ";
    }
    if (f->v->ntensors) {
        printf("%s%" PRIu32 " tensor%s missing, extra or of another form", comma, f->v->ntensors,
               f->v->ntensors == 1 ? "" : "s");
        comma = ", ";
    }
    if (f->nkeys && !f->cli->tensors_only) {
        printf("%s%" PRIu32 " key%s", comma, f->nkeys, f->nkeys == 1 ? "" : "s");
        comma = ", ";
    }
    if (f->nsides && !f->cli->tensors_only)
        printf("%s%" PRIu32 " difference%s in files beside the weights", comma, f->nsides,
               f->nsides == 1 ? "" : "s");
    printf("\n");
}

static void print_findings(const struct findings *f)
{
    if (f->cli->quiet)
        return;
    print_tensors(f);
    print_mismatches(f);
    if (!f->cli->tensors_only)
        print_keys(f, false);
    print_verdict(f);
    print_describing(f);
}

/* ---- scripts -------------------------------------------------------------------------------- */

static void difference_json(struct json_writer *w, const struct step *s, const struct difference *d)
{
    const uint64_t at = d->first_elem % row_of(s);
    struct error_figures v;
    json_open(w, '{');
    json_key(w, "tensor");
    json_put_str(w, s->name);
    field_text(w, "type", dtype_traits[s->dtype].name);
    field_u64(w, "blocks", blocks_of(s));
    field_u64(w, "block_elements", difference_block(s->dtype));
    field_u64(w, "differing_blocks", d->nblocks);
    field_u64(w, "first_block", d->first_block);
    field_u64(w, "row", d->first_elem / row_of(s));
    field_u64(w, "block", at / difference_block(s->dtype));
    field_u64(w, "element", at);
    if (step_has_errors(s)) {
        error_figures(&d->errors, &v);
        field_f64(w, "max_error", d->errors.max_error);
        field_u64(w, "max_error_at", d->errors.max_at);
        field_f64(w, "rmse", v.rmse);
        field_f64(w, "relative_rmse", v.relative);
        field_u64(w, "nonfinite", d->errors.nbad[1]);
    }
    json_close(w, '}');
}

static void shape_json(struct json_writer *w, const char *key, const uint64_t *dims, unsigned ndims)
{
    json_key(w, key);
    json_open(w, '[');
    for (unsigned i = 0; i < ndims; i++)
        json_put_u64(w, dims[i]);
    json_close(w, ']');
}

static void mismatch_json(struct json_writer *w, const struct mismatch *x)
{
    json_open(w, '{');
    json_key(w, "tensor");
    json_put_str(w, x->name);
    field_text(w, "why",
               !x->there        ? "missing"
               : !x->made       ? "extra"
               : x->other_shape ? "shape"
                                : "type");
    if (x->there && x->made && x->other_shape) {
        shape_json(w, "shape", x->there->dims, x->there->ndims);
        shape_json(w, "source_shape", x->made->dims, x->made->ndims);
    } else if (x->there && x->made) {
        field_text(w, "type", dtype_traits[x->there->dtype].name);
        field_text(w, "source_type", dtype_traits[x->made->dtype].name);
    }
    json_close(w, '}');
}

static void key_json(struct json_writer *w, const struct key_mismatch *x)
{
    json_open(w, '{');
    json_key(w, "key");
    json_put_str(w, x->made ? x->made->key : x->there->key);
    field_text(w, "why", !x->there ? "missing" : !x->made ? "extra" : "value");
    if (same_arrays(x))
        field_u64(w, "item", x->item);
    json_key(w, "describes");
    json_put_bool(w, x->describes);
    json_close(w, '}');
}

static void side_json(struct json_writer *w, const struct side_mismatch *x)
{
    json_open(w, '{');
    field_text(w, "file", x->name);
    if (x->key)
        field_text(w, "key", x->key);
    field_text(w, "what", x->what);
    json_key(w, "describes");
    json_put_bool(w, x->describes);
    json_close(w, '}');
}

static void differences_json(struct json_writer *w, const struct findings *f)
{
    json_key(w, "differences");
    json_open(w, '[');
    struct row *rows = differing(f, false);
    w->failed |= !rows;
    for (uint32_t i = 0; rows && i < f->ndiffer; i++)
        difference_json(w, &f->plan->steps[rows[i].step], &f->plan->differences[rows[i].step]);
    free(rows);
    json_close(w, ']');
}

static void print_verification_json(const struct findings *f, const char *hint)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    field_text(&w, "command", "verify");
    json_key(&w, "quantized");
    json_put_str(&w, str_from(f->v->there->path));
    json_key(&w, "exact");
    json_put_bool(&w, f->exact);
    field_u64(&w, "tensors", f->plan->nsteps);
    field_u64(&w, "bytes", f->nbytes);
    differences_json(&w, f);
    json_key(&w, "mismatches");
    json_open(&w, '[');
    for (uint32_t i = 0; i < f->v->ntensors; i++)
        mismatch_json(&w, &f->v->tensors[i]);
    json_close(&w, ']');
    json_key(&w, "keys");
    json_open(&w, '[');
    for (uint32_t i = 0; i < f->v->nkeys; i++)
        key_json(&w, &f->v->keys[i]);
    json_close(&w, ']');
    json_key(&w, "files");
    json_open(&w, '[');
    for (uint32_t i = 0; i < f->v->nsides; i++)
        side_json(&w, &f->v->sides[i]);
    json_close(&w, ']');
    if (hint)
        field_text(&w, "hint", hint);
    json_close(&w, '}');
    print_json(&w);
}

int report_verification(const struct cli *c, const struct plan *p)
{
    struct findings f = {.cli = c, .plan = p, .v = p->verification};
    char text[512];
    count(&f);
    const char *hint =
        f.ndiffer || (f.nsides && !c->tensors_only) ? verify_hint(c, p, text, sizeof text) : NULL;
    if (c->json)
        print_verification_json(&f, hint);
    else
        print_findings(&f);
    if (hint && !c->json && !c->quiet)
        say("hint: %s", hint);
    return f.exact ? 0 : (int)QUERN_EDIFF;
}
