/* adapt.c - find the base tensor of every part of an adapter, and see that it fits. */
#include "merge/adapt.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "merge/lora_source.h"
#include "merge/pairing.h"
#include "quant/codec.h"

/* One adapter on its way into a view. */
struct fitting {
    struct view *view;
    struct arena *arena;
    const struct adapter *adapter;
    double weight;
    struct str added; /* what base names have in front, once that is known ... */
    size_t dropped;   /* ... or how many bytes of the adapter's names they lack */
    bool conv1d;      /* some matrix turned out to be stored as [in, out] */
    struct adapted *count;
};

/* ---- names -------------------------------------------------------------------------------------
 */

static bool is_tail(struct str name, struct str tail)
{
    return name.n > tail.n && name.p[name.n - tail.n - 1] == '.' &&
           memcmp(name.p + name.n - tail.n, tail.p, tail.n) == 0;
}

/* The base calls its tensors by shorter names: "h.0.attn" for "transformer.h.0.attn". */
static const struct source *find_shorter(struct fitting *f, struct str target)
{
    for (size_t i = 0; i < target.n; i++) {
        const struct str rest = {target.p + i + 1, target.n - i - 1};
        if (target.p[i] != '.' || !memchr(rest.p, '.', rest.n))
            continue;
        const struct source *s = view_find(f->view, rest);
        if (s) {
            f->dropped = i + 1;
            return s;
        }
    }
    return NULL;
}

/* ... or by longer ones: "language_model.model.layers" for "model.layers". Only one may fit. */
static const struct source *find_longer(struct fitting *f, struct str target)
{
    const struct source *found = NULL;
    for (uint32_t i = 0; i < f->view->count; i++) {
        const struct source *s = &f->view->sources[i];
        if (!is_tail(s->tensor->name, target))
            continue;
        if (found)
            return NULL;
        found = s;
    }
    if (found)
        f->added = (struct str){found->tensor->name.p, found->tensor->name.n - target.n};
    return found;
}

static enum quern_status fail_target(const struct fitting *f, struct str target,
                                     struct quern_error *err)
{
    const struct view *v = f->view;
    const char **names = calloc(v->count + 1u, sizeof *names);
    if (!names)
        return fail_memory(err, v->count * sizeof *names);
    for (uint32_t i = 0; i < v->count; i++)
        names[i] = v->sources[i].tensor->name.p;
    const char *near = closest(target, names, v->count);
    const bool head = str_is(target, "lm_head.weight") || str_is(target, "output.weight");
    const enum quern_status status =
        fail(err, QUERN_EUSAGE, "adapter-target", "'%s' has no tensor '%s'" WANT "%s%s%s",
             quoted(str_from(v->model->path)).text, quoted(target).text,
             near && !head ? "did you mean the base with '" : "expected ",
             head   ? "a base with an output head of its own: this one ties it to the embeddings"
             : near ? near
                    : "the base that the adapter was trained on",
             near && !head ? "'?" : "");
    free(names);
    return status;
}

static enum quern_status find_target(struct fitting *f, struct str target,
                                     const struct source **out, struct quern_error *err)
{
    *out = view_find(f->view, target);
    if (!*out && f->dropped && f->dropped < target.n)
        *out = view_find(f->view, (struct str){target.p + f->dropped, target.n - f->dropped});
    if (!*out && f->added.n) {
        struct arena names = {0};
        const char *name = arena_printf(&names, "%.*s%s", STR_ARG(f->added), target.p);
        *out = name ? view_find(f->view, str_from(name)) : NULL;
        arena_free(&names);
    }
    if (!*out && !f->dropped && !f->added.n)
        *out = find_shorter(f, target);
    if (!*out && !f->dropped && !f->added.n)
        *out = find_longer(f, target);
    return *out ? QUERN_OK : fail_target(f, target, err);
}

/* ---- shapes ------------------------------------------------------------------------------------
 */

static enum quern_status fail_shape(const struct adapter_part *p, const struct tensor *t,
                                    uint64_t rows, uint64_t cols, struct quern_error *err)
{
    return fail(err, QUERN_EUSAGE, "shape",
                "it is for a matrix of %" PRIu64 " x %" PRIu64 ", and '%s' has %" PRIu64
                " values in %" PRIu64 " rows" WANT "%s",
                rows, cols, quoted(t->name).text, t->nelems, t->ndims ? t->dims[0] : 1,
                p->embedding
                    ? "expected a base with the vocabulary that the adapter was trained with"
                    : "expected the base that the adapter was trained on");
}

/* Linear and convolution: [out, in ...]; Conv1D of GPT-2: [in, out]; embeddings: [tokens, width].
 */
static enum quern_status fit_peft(struct fitting *f, const struct adapter_part *p,
                                  const struct tensor *t, struct lora_product *x,
                                  struct quern_error *err)
{
    const uint64_t out = p->b->dims[0], in = p->a->nelems / p->rank;
    const uint64_t rows = t->ndims > 1 ? t->dims[0] : 0, cols = rows ? t->nelems / rows : 0;
    const bool straight = rows == out && cols == in && !p->embedding;
    const bool flipped = t->ndims == 2 && rows == in && cols == out;
    if (!straight && !flipped)
        return fail_shape(p, t, p->embedding ? in : out, p->embedding ? out : in, err);
    f->conv1d |= flipped && !straight && !p->embedding;
    x->rows = rows;
    x->cols = cols;
    const bool flip = !straight || (flipped && (f->adapter->config.fan_in_fan_out || f->conv1d));
    x->left_flipped = x->right_flipped = flip;
    x->left.tensor = flip ? p->a : p->b;
    x->right.tensor = flip ? p->b : p->a;
    return QUERN_OK;
}

static enum quern_status fit_gguf(const struct adapter_part *p, const struct tensor *t,
                                  struct lora_product *x, struct quern_error *err)
{
    const unsigned n = p->a->ndims;
    const uint64_t b_rows = p->b->dims[n - 2], a_cols = p->a->dims[p->a_flipped ? n - 2 : n - 1];
    x->rows = p->a_flipped ? a_cols : b_rows;
    x->cols = p->a_flipped ? b_rows : a_cols;
    if (t->ndims != n || t->dims[n - 2] != x->rows || t->dims[n - 1] != x->cols ||
        memcmp(t->dims, p->a->dims, (n - 2u) * sizeof *t->dims) != 0)
        return fail_shape(p, t, x->rows, x->cols, err);
    x->left.tensor = p->a_flipped ? p->a : p->b;
    x->right.tensor = p->a_flipped ? p->b : p->a;
    x->right_flipped = p->a_flipped;
    return QUERN_OK;
}

static enum quern_status fit_bias(const struct adapter_part *p, const struct tensor *t,
                                  struct lora_product *x, struct quern_error *err)
{
    if (t->ndims != 1 || p->a->nelems != t->nelems)
        return fail_shape(p, t, 1, p->a->nelems, err);
    x->rows = 1;
    x->cols = t->nelems;
    x->right.tensor = p->a;
    return QUERN_OK;
}

static enum quern_status check_type(const struct tensor *t, struct quern_error *err)
{
    if (is_weights(t) && codec_can_decode(t->dtype))
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "type", "'%s' is of type %s" WANT "expected weights",
                quoted(t->name).text, dtype_traits[t->dtype].name);
}

static enum quern_status fit(struct fitting *f, const struct adapter_part *p,
                             const struct tensor *t, struct lora_product *x,
                             struct quern_error *err)
{
    struct model *m = f->adapter->model;
    *x = (struct lora_product){.rank = p->kind == ADAPTER_BIAS ? 1 : p->rank,
                               .scale = p->scale * f->weight,
                               .left.model = m,
                               .right.model = m,
                               .magnitude.model = m,
                               .magnitude.tensor = p->magnitude};
    TRY(check_type(t, err));
    if (p->kind == ADAPTER_BIAS)
        TRY(fit_bias(p, t, x, err));
    else if (m->format == MODEL_GGUF)
        TRY(fit_gguf(p, t, x, err));
    else
        TRY(fit_peft(f, p, t, x, err));
    if (p->magnitude && x->left_flipped)
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "it is DoRA on a matrix whose outputs are columns" WANT
                    "quern merges DoRA of linear layers and convolutions only");
    TRY(check_type(x->right.tensor, err));
    if (x->left.tensor)
        TRY(check_type(x->left.tensor, err));
    return p->magnitude ? check_type(p->magnitude, err) : QUERN_OK;
}

/* ---- sources -----------------------------------------------------------------------------------
 */

static enum quern_status set_lora(struct fitting *f, const struct source *old,
                                  const struct lora *lora, struct quern_error *err)
{
    struct lora *params = ARENA_NEW(f->arena, struct lora, 1);
    if (!params)
        return fail_memory(err, sizeof *params);
    *params = *lora;
    const struct source made = {
        .model = old->model, .tensor = old->tensor, .kind = &lora_kind, .params = params};
    return view_set(f->view, f->arena, &made, err);
}

/* A further product on a source: behind those that are there already. */
static enum quern_status add_product(struct fitting *f, const struct source *s,
                                     const struct lora_product *x, struct quern_error *err)
{
    const struct lora *old = s->kind == &lora_kind ? s->params : NULL;
    const uint32_t n = old ? old->nproducts : 0;
    struct lora_product *all = ARENA_NEW(f->arena, struct lora_product, n + 1u);
    if (!all)
        return fail_memory(err, (n + 1u) * sizeof *all);
    for (uint32_t i = 0; i < n; i++)
        all[i] = old->products[i];
    all[n] = *x;
    const struct lora lora = {.inner = old ? old->inner : *s, .products = all, .nproducts = n + 1};
    f->count->nchanged++;
    return set_lora(f, s, &lora, err);
}

/* The adapter's tensor in the place of the base's, in whose type it will be stored. */
static enum quern_status replace(struct fitting *f, const struct source *s, const struct tensor *t,
                                 struct quern_error *err)
{
    const struct tensor *old = s->tensor;
    TRY(check_type(t, err));
    TRY(check_type(old, err));
    if (t->ndims != old->ndims || memcmp(t->dims, old->dims, t->ndims * sizeof *t->dims) != 0)
        return fail(
            err, QUERN_EUSAGE, "shape",
            "it has another shape than '%s': %" PRIu64 " values, not %" PRIu64 WANT
            "expected the same shape; was the vocabulary enlarged for training? Then enlarge "
            "that of the base first",
            quoted(old->name).text, t->nelems, old->nelems);
    f->count->nreplaced++;
    const struct lora lora = {
        .inner = {.model = f->adapter->model, .tensor = t}
    };
    if (t->dtype != old->dtype)
        return set_lora(f, s, &lora, err);
    struct tensor *renamed = ARENA_NEW(f->arena, struct tensor, 1);
    if (!renamed)
        return fail_memory(err, sizeof *renamed);
    *renamed = *t;
    renamed->name = old->name;
    const struct source stored = {.model = f->adapter->model, .tensor = renamed};
    return view_set(f->view, f->arena, &stored, err);
}

/* ---- adapters ----------------------------------------------------------------------------------
 */

/* Whole tensors first: others of the adapter may be added to them. Then a look at all matrices, for
 * those that are square do not show which way they lie. */
enum pass { REPLACE, LOOK, ADD };

static enum quern_status add_part(struct fitting *f, enum pass pass, const struct adapter_part *p,
                                  struct quern_error *err)
{
    const struct source *s = NULL;
    struct lora_product x;
    if ((p->kind == ADAPTER_WHOLE) != (pass == REPLACE))
        return QUERN_OK;
    TRY(find_target(f, p->target, &s, err));
    assert(s);
    if (pass == REPLACE)
        return replace(f, s, p->a, err);
    TRY(fit(f, p, s->tensor, &x, err));
    return pass == ADD ? add_product(f, s, &x, err) : QUERN_OK;
}

static enum quern_status check_pair(const struct model *base, const struct adapter *a,
                                    struct quern_error *err)
{
    const bool gguf = base->format == MODEL_GGUF;
    struct str arch = {NULL, 0};
    if (gguf != (a->model->format == MODEL_GGUF))
        return fail(err, QUERN_EUNSUPPORTED, "mixed-formats",
                    "the adapter is %s and its base '%s' %s" WANT "expected %s",
                    gguf ? "PEFT" : "GGUF", quoted(str_from(base->path)).text,
                    gguf ? "GGUF" : "in the layout of Hugging Face",
                    gguf ? "a GGUF adapter, which quern convert makes of it, or an OUTPUT that is "
                           "no .gguf"
                         : "a PEFT adapter: their tensors have other names");
    const struct meta *k = gguf ? model_meta(base, "general.architecture") : NULL;
    if (!k || !meta_string(k, &arch) || a->architecture.n == 0 || str_eq(arch, a->architecture))
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "architecture",
                "it is for the architecture '%s' and '%s' is '%s'" WANT
                "expected a base of the same architecture",
                quoted(a->architecture).text, quoted(str_from(base->path)).text, quoted(arch).text);
}

enum quern_status view_add_adapter(struct view *v, struct arena *arena, const struct adapter *a,
                                   double weight, struct adapted *out, struct quern_error *err)
{
    struct fitting f = {.view = v, .arena = arena, .adapter = a, .weight = weight, .count = out};
    const char *path = a->model->files[0].path;
    *out = (struct adapted){0};
    if (a->config.ninvocation)
        return in_file(err, path,
                       fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                            "it is an activated LoRA" WANT
                            "that works on some tokens only and cannot be merged"));
    TRY(in_file(err, path, check_pair(v->model, a, err)));
    static const enum pass passes[] = {REPLACE, LOOK, ADD};
    for (size_t k = 0; k < sizeof passes / sizeof *passes; k++)
        for (uint32_t i = 0; i < a->nparts; i++) {
            const struct adapter_part *p = &a->parts[i];
            const enum quern_status status = add_part(&f, passes[k], p, err);
            if (status != QUERN_OK)
                return in_file(err, path, in_tensor(err, p->a->name, status));
        }
    return QUERN_OK;
}

static enum quern_status note_adapted(struct plan *p, const struct adapter *a, double weight,
                                      const struct adapted *n, struct quern_error *err)
{
    const struct quoted path = quoted(str_from(a->path));
    TRY(plan_note(p, err, "adapter '%s' with the weight %g changes %" PRIu32 " tensor%s%s",
                  path.text, weight, n->nchanged, n->nchanged == 1 ? "" : "s",
                  a->config.dora ? " (DoRA)" : ""));
    if (n->nreplaced == 0)
        return QUERN_OK;
    return plan_note(p, err, "adapter '%s' replaces %" PRIu32 " whole tensor%s%s", path.text,
                     n->nreplaced, n->nreplaced == 1 ? "" : "s",
                     weight != 1 ? ": weights do not count for these" : "");
}

static enum quern_status adapt_one(struct view *v, struct plan *p, const char *path, double weight,
                                   struct quern_error *err)
{
    struct adapter *a = ARENA_NEW(&p->arena, struct adapter, 1);
    struct adapted count;
    if (!a)
        return fail_memory(err, sizeof *a);
    TRY(adapter_open(path, &p->arena, a, err));
    const enum quern_status status = plan_add_model(p, a->model, err);
    if (status != QUERN_OK) {
        model_close(a->model);
        return status;
    }
    TRY(view_add_adapter(v, &p->arena, a, weight, &count, err));
    return note_adapted(p, a, weight, &count, err);
}

enum quern_status adapt_view(struct view *v, struct plan *p, const struct location *at,
                             struct quern_error *err)
{
    for (unsigned i = 0; i < at->nloras; i++)
        TRY(adapt_one(v, p, at->loras[i], at->weights[i], err));
    return QUERN_OK;
}
