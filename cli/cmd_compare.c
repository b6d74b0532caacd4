/* cmd_compare.c - quern compare: how far is one model from another? */
#include <inttypes.h>

#include "cli.h"
#include "convert/unpack.h"
#include "pipeline/compare.h"

#define WORST_SHOWN 10

/* ---- findings ------------------------------------------------------------------------------- */

struct verdict {
    const struct plan *plan;
    const struct comparison *c;
    uint32_t ndiffer; /* pairs of tensors that are not equal */
    bool has_errors;  /* there are numbers to show */
};

static bool is_equal(const struct verdict *v)
{
    return v->ndiffer == 0 && v->c->nunmatched == 0;
}

static const char *type_name(const struct tensor *t)
{
    return dtype_traits[t->dtype].name;
}

static void say_unmatched(const struct comparison *c, const struct unmatched *u)
{
    char a[64], b[64];
    const struct quoted name = quoted(u->a ? u->a->name : u->b->name);
    if (!u->a || !u->b) {
        say("%s: tensor '%s' is only here", quoted(str_from(u->a ? c->a->path : c->b->path)).text,
            name.text);
    } else if (u->other_shape) {
        shape_text(u->a->dims, u->a->ndims, a, sizeof a);
        shape_text(u->b->dims, u->b->ndims, b, sizeof b);
        say("%s: tensor '%s' is %s, in the other model %s", quoted(str_from(c->b->path)).text,
            name.text, b, a);
    } else {
        say("%s: tensor '%s' is of type %s, which does not compare with %s",
            quoted(str_from(c->b->path)).text, name.text, type_name(u->b), type_name(u->a));
    }
}

static void say_nonfinite(const struct step *s, const struct error_sums *sums)
{
    for (unsigned k = 0; k < 2; k++)
        if (sums->nbad[k])
            say("%s: tensor '%s': %" PRIu64 " value%s NaN or Inf, first at element %" PRIu64,
                quoted(str_from(s->sources[k].model->path)).text, quoted(s->name).text,
                sums->nbad[k], sums->nbad[k] == 1 ? " is" : "s are", sums->first_bad[k]);
}

static void say_findings(const struct verdict *v)
{
    for (uint32_t i = 0; i < v->c->nunmatched; i++)
        say_unmatched(v->c, &v->c->unmatched[i]);
    for (uint32_t i = 0; i < v->plan->nsteps; i++) {
        const struct step *s = &v->plan->steps[i];
        if (!step_compares_bytes(s))
            say_nonfinite(s, &v->plan->errors[i]);
        else if (!error_free(&v->plan->errors[i]))
            say("%s: tensor '%s': its bytes differ from the other model's",
                quoted(str_from(v->c->b->path)).text, quoted(s->name).text);
    }
}

static void print_verdict(const struct cli *c, const struct verdict *v)
{
    const uint32_t nequal = v->plan->nsteps - v->ndiffer;
    if (c->quiet)
        return;
    if (is_equal(v)) {
        printf("equal: the values of %" PRIu32 " tensor%s\n", nequal, nequal == 1 ? "" : "s");
        return;
    }
    printf("different: %" PRIu32 " of %" PRIu32 " tensors in both", v->ndiffer, v->plan->nsteps);
    if (v->c->nunmatched)
        printf("; %" PRIu32 " other%s not match", v->c->nunmatched,
               v->c->nunmatched == 1 ? " does" : "s do");
    printf("\n");
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void shape_json(struct json_writer *w, const char *key, const struct tensor *t)
{
    json_key(w, key);
    json_open(w, '[');
    for (unsigned d = 0; d < t->ndims; d++)
        json_put_u64(w, t->dims[d]);
    json_close(w, ']');
}

static void unmatched_json(struct json_writer *w, const struct comparison *c)
{
    json_key(w, "unmatched");
    json_open(w, '[');
    for (uint32_t i = 0; i < c->nunmatched; i++) {
        const struct unmatched *u = &c->unmatched[i];
        json_open(w, '{');
        json_key(w, "tensor");
        json_put_str(w, u->a ? u->a->name : u->b->name);
        field_text(w, "why",
                   !u->b            ? "only in a"
                   : !u->a          ? "only in b"
                   : u->other_shape ? "shape"
                                    : "type");
        if (u->a && u->b && u->other_shape) {
            shape_json(w, "shape_a", u->a);
            shape_json(w, "shape_b", u->b);
        } else if (u->a && u->b) {
            field_text(w, "type_a", type_name(u->a));
            field_text(w, "type_b", type_name(u->b));
        }
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void bytes_json(struct json_writer *w, const struct plan *p)
{
    json_key(w, "bytes");
    json_open(w, '[');
    for (uint32_t i = 0; i < p->nsteps; i++) {
        if (!step_compares_bytes(&p->steps[i]))
            continue;
        json_open(w, '{');
        json_key(w, "tensor");
        json_put_str(w, p->steps[i].name);
        json_key(w, "equal");
        json_put_bool(w, error_free(&p->errors[i]));
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void print_comparison_json(const struct verdict *v)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    field_text(&w, "command", "compare");
    json_key(&w, "a");
    json_put_str(&w, str_from(v->c->a->path));
    json_key(&w, "b");
    json_put_str(&w, str_from(v->c->b->path));
    json_key(&w, "equal");
    json_put_bool(&w, is_equal(v));
    json_key(&w, "errors");
    errors_json(&w, v->plan);
    bytes_json(&w, v->plan);
    unmatched_json(&w, v->c);
    json_close(&w, '}');
    print_json(&w);
}

/* ---- the command ---------------------------------------------------------------------------- */

static int print_comparison(const struct cli *c, const struct plan *p,
                            const struct comparison *comparison)
{
    struct verdict v = {.plan = p, .c = comparison};
    for (uint32_t i = 0; i < p->nsteps; i++) {
        v.ndiffer += !error_free(&p->errors[i]);
        v.has_errors |= p->errors[i].max_error > 0.0 && !step_compares_bytes(&p->steps[i]);
    }
    if (c->json) {
        print_comparison_json(&v);
    } else {
        say_findings(&v);
        if (!c->quiet && (v.has_errors || c->verbose))
            print_errors(stdout, p, c->verbose, WORST_SHOWN);
        print_verdict(c, &v);
    }
    return is_equal(&v) ? 0 : (int)QUERN_EDIFF;
}

/* Weights that another program packed are compared as what they stand for; where quern does not
 * know how, as they are stored. */
static enum quern_status show(const struct cli *c, struct model *m, struct arena *arena,
                              struct view *v, struct quern_error *err)
{
    struct unpacked u;
    const enum quern_status s = unpack_model(m, arena, v, &u, err);
    if (s == QUERN_OK && u.by && !c->quiet)
        say("note: %s: %s", quoted(str_from(m->path)).text, unpacked_words(&u).text);
    if (s == QUERN_EUNSUPPORTED && !c->quiet)
        say("note: %s; it is compared as it is stored", err->text);
    return s == QUERN_EUNSUPPORTED ? QUERN_OK : s;
}

static int compare_views(struct cli *c, const struct view *a, const struct view *b)
{
    struct quern_error err;
    struct plan *p;
    struct comparison *comparison;
    if (plan_compare_views(a, b, c->imatrix, &p, &comparison, &err) != QUERN_OK)
        return report_error(c, &err);
    print_notes(c, p);
    int code = run_quietly(c, p);
    if (code == 0)
        code = print_comparison(c, p, comparison);
    plan_free(p);
    return code;
}

static int compare_models(struct cli *c, struct model *a, struct model *b)
{
    struct quern_error err;
    struct arena arena = {0};
    struct view views[2] = {{.count = 0}, {.count = 0}};
    enum quern_status s = show(c, a, &arena, &views[0], &err);
    if (s == QUERN_OK)
        s = show(c, b, &arena, &views[1], &err);
    const int code = s == QUERN_OK ? compare_views(c, &views[0], &views[1]) : report_error(c, &err);
    view_free(&views[0]);
    view_free(&views[1]);
    arena_free(&arena);
    return code;
}

int cmd_compare(struct cli *c)
{
    struct quern_error err;
    struct model *a, *b;
    if (c->args.count != 2)
        return usage_error(c, "expected two models, A and B, got %zu argument%s", c->args.count,
                           c->args.count == 1 ? "" : "s");
    if (model_open(c->args.items[0], &a, &err) != QUERN_OK)
        return report_error(c, &err);
    int code;
    if (model_open(c->args.items[1], &b, &err) != QUERN_OK) {
        code = report_error(c, &err);
    } else {
        code = compare_models(c, a, b);
        model_close(b);
    }
    model_close(a);
    return code;
}
