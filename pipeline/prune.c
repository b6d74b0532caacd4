/* prune.c - llama-quantize's --prune-layers, with the right data under the new names. */
#include "prune.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "name_list.h"
#include "quant/mix.h"

struct layer {
    uint32_t number, renumbered;
    bool pruned, seen;
};

struct pruning {
    struct plan *plan;
    const struct quern_quantize *q;
    struct layer *layers; /* the layers there are and those asked for, by number */
    uint32_t nlayers;
    uint32_t next; /* number of layers in the output */
};

/* ---- names ----------------------------------------------------------------------------------- */

/* The digits of the first "blk.N." anywhere in a name. */
static bool find_layer(struct str name, uint32_t *number, struct str *digits)
{
    for (size_t i = 0; i + 4 < name.n; i++) {
        if (memcmp(name.p + i, "blk.", 4) != 0)
            continue;
        size_t end = i + 4;
        uint64_t v = 0;
        while (end < name.n && name.p[end] >= '0' && name.p[end] <= '9' && v <= INT_MAX)
            v = v * 10 + (uint64_t)(name.p[end++] - '0');
        if (end == i + 4 || end == name.n || name.p[end] != '.' || v > INT_MAX)
            continue;
        *number = (uint32_t)v;
        *digits = (struct str){name.p + i + 4, end - i - 4};
        return true;
    }
    return false;
}

static int by_number(const void *a, const void *b)
{
    const struct layer *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return (int)y->pruned - (int)x->pruned;
}

static struct layer *layer_numbered(const struct pruning *pr, uint32_t number)
{
    const struct layer key = {.number = number};
    size_t low = 0, high = pr->nlayers;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (pr->layers[mid].number < key.number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < pr->nlayers && pr->layers[low].number == number ? &pr->layers[low] : NULL;
}

/* ---- the list of layers ---------------------------------------------------------------------- */

static enum quern_status parse_list(const char *text, struct layer *out, size_t *n,
                                    struct quern_error *err)
{
    for (const char *p = text;; p++) {
        const size_t len = strcspn(p, ",");
        uint64_t v;
        if (!str_to_u64((struct str){p, len}, &v) || v > INT_MAX)
            return fail(err, QUERN_EUSAGE, "usage",
                        "--prune-layers '%s'" WANT "expected layer numbers, for example 3,4,5",
                        quoted(str_from(text)).text);
        out[(*n)++] = (struct layer){.number = (uint32_t)v, .pruned = true};
        p += len;
        if (!*p)
            return QUERN_OK;
    }
}

/* All layers in order, each once; pruned ones sort before their own tensors. */
static enum quern_status list_layers(struct pruning *pr, struct quern_error *err)
{
    const struct plan *p = pr->plan;
    size_t room = p->nsteps, n = 0;
    for (size_t i = 0; i < pr->q->nprune_layers; i++)
        room += strlen(pr->q->prune_layers[i]) + 1;
    pr->layers = ARENA_NEW(&pr->plan->arena, struct layer, room);
    if (!pr->layers)
        return fail_memory(err, room * sizeof *pr->layers);
    for (size_t i = 0; i < pr->q->nprune_layers; i++)
        TRY(parse_list(pr->q->prune_layers[i], pr->layers, &n, err));
    const size_t nasked = n;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct str digits;
        uint32_t number;
        if (find_layer(p->steps[i].name, &number, &digits))
            pr->layers[n++] = (struct layer){.number = number};
    }
    qsort(pr->layers + nasked, n - nasked, sizeof *pr->layers, by_number);
    for (size_t i = 0; i < nasked; i++) {
        const struct pruning found = {.layers = pr->layers + nasked,
                                      .nlayers = (uint32_t)(n - nasked)};
        if (!layer_numbered(&found, pr->layers[i].number))
            return fail(err, QUERN_EUSAGE, "pattern",
                        "--prune-layers: there is no layer %" PRIu32 " in the model",
                        pr->layers[i].number);
    }
    qsort(pr->layers, n, sizeof *pr->layers, by_number);
    for (size_t i = 0; i < n; i++)
        if (pr->nlayers == 0 || pr->layers[pr->nlayers - 1].number != pr->layers[i].number)
            pr->layers[pr->nlayers++] = pr->layers[i];
    return QUERN_OK;
}

/* ---- new numbers ----------------------------------------------------------------------------- */

static void number_layer(struct pruning *pr, struct layer *l, uint32_t first_pruned)
{
    if (l->seen || l->pruned)
        return;
    l->seen = true;
    /* Layers before the first that goes keep their number, gaps and all. */
    l->renumbered = l->number < first_pruned ? l->number : pr->next;
    pr->next = l->renumbered + 1;
}

static int by_mix_order(const void *a, const void *b)
{
    return mix_order(*(const struct str *)a, *(const struct str *)b);
}

/* Ascending. llama-quantize takes them as their tensors come, which is another order when names do
 * not begin with blk: enc.blk.10 comes before enc.blk.2. */
static enum quern_status number_layers(struct pruning *pr, struct quern_error *err)
{
    uint32_t first_pruned = UINT32_MAX;
    for (uint32_t i = pr->nlayers; i-- > 0;)
        if (pr->layers[i].pruned)
            first_pruned = pr->layers[i].number;
    if (!pr->q->reference_bugs) {
        for (uint32_t i = 0; i < pr->nlayers; i++)
            number_layer(pr, &pr->layers[i], first_pruned);
        return QUERN_OK;
    }
    struct str *names = ARENA_NEW(&pr->plan->arena, struct str, pr->plan->nsteps + 1);
    if (!names)
        return fail_memory(err, pr->plan->nsteps * sizeof *names);
    for (uint32_t i = 0; i < pr->plan->nsteps; i++)
        names[i] = pr->plan->steps[i].name;
    qsort(names, pr->plan->nsteps, sizeof *names, by_mix_order);
    for (uint32_t i = 0; i < pr->plan->nsteps; i++) {
        struct str digits;
        uint32_t number;
        if (find_layer(names[i], &number, &digits))
            number_layer(pr, layer_numbered(pr, number), first_pruned);
    }
    return QUERN_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static enum quern_status rename_step(struct pruning *pr, struct step *s, const struct layer *l,
                                     struct str digits, struct quern_error *err)
{
    const size_t before = (size_t)(digits.p - s->name.p);
    const char *rest = digits.p + digits.n;
    char *name = arena_printf(&pr->plan->arena, "%.*s%" PRIu32 "%.*s", (int)before, s->name.p,
                              l->renumbered, (int)(s->name.n - before - digits.n), rest);
    if (!name)
        return fail_memory(err, s->name.n);
    s->name = str_from(name);
    return QUERN_OK;
}

static enum quern_status prune_steps(struct pruning *pr, struct quern_error *err)
{
    struct plan *p = pr->plan;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct step *s = &p->steps[i];
        struct str digits;
        uint32_t number;
        if (find_layer(s->name, &number, &digits)) {
            const struct layer *l = layer_numbered(pr, number);
            if (l->pruned) {
                TRY(plan_drop(p, s->name, "its layer is pruned", err));
                continue;
            }
            if (l->renumbered != number)
                TRY(rename_step(pr, s, l, digits, err));
        }
        p->steps[kept++] = *s;
    }
    const uint32_t ndropped = p->nsteps - kept;
    p->nsteps = kept;
    return plan_note(p, err,
                     "--prune-layers: %" PRIu32 " tensor%s left out, %" PRIu32 " layer%s "
                     "remain%s",
                     ndropped, plural(ndropped), pr->next, plural(pr->next),
                     pr->next == 1 ? "s" : "");
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* With a value for each layer; a leading dot stands for the architecture. */
static const char *const per_layer_keys[] = {
    ".attention.head_count",
    ".attention.head_count_kv",
    ".attention.sliding_window_pattern",
    ".attention.recurrent_layers",
    ".attention.compress_ratios",
    ".attention.indexer.types",
    ".feed_forward_length",
    ".swiglu_clamp_exp",
    ".swiglu_clamp_shexp",
    ".deepstack_mapping",
    "xielu.alpha_n",
    "xielu.alpha_p",
    "xielu.beta",
    "xielu.eps",
};

static bool is_per_layer(struct str key, struct str arch)
{
    for (size_t i = 0; i < sizeof per_layer_keys / sizeof *per_layer_keys; i++) {
        const char *k = per_layer_keys[i];
        if (*k != '.' ? str_is(key, k)
                      : key.n == arch.n + strlen(k) && memcmp(key.p, arch.p, arch.n) == 0 &&
                            str_ends(key, k))
            return true;
    }
    return false;
}

static enum quern_status cut_array(struct pruning *pr, struct meta *k, struct quern_error *err)
{
    const size_t item = meta_item_bytes(k->item_type);
    struct str kept = arena_str(&pr->plan->arena, k->value);
    if (!kept.p)
        return fail_memory(err, k->value.n);
    uint64_t n = 0;
    for (uint64_t i = 0; i < k->count; i++) {
        const struct layer *l = layer_numbered(pr, (uint32_t)i);
        if (l && l->pruned)
            continue;
        memcpy((char *)kept.p + n * item, k->value.p + i * item, item);
        n++;
    }
    kept.n = n * item;
    k->value = kept;
    k->count = n;
    return QUERN_OK;
}

static enum quern_status edit_keys(struct pruning *pr, struct str arch, uint32_t nlayers,
                                   struct meta_list *metas, struct quern_error *err)
{
    const char *key = arena_printf(&pr->plan->arena, "%.*s.block_count", STR_ARG(arch));
    if (!key || !meta_list_set_u32(metas, key, pr->next))
        return fail_memory(err, arch.n);
    for (uint32_t i = 0; i < metas->count && !pr->q->reference_bugs; i++) {
        struct meta *k = &metas->items[i];
        if (k->type == META_ARRAY && k->count == nlayers && meta_item_bytes(k->item_type) != 0 &&
            is_per_layer(k->key, arch))
            TRY(cut_array(pr, k, err));
    }
    return QUERN_OK;
}

enum quern_status plan_prune(struct plan *p, const struct quern_quantize *q, struct str arch,
                             uint32_t nlayers, struct meta_list *metas, struct quern_error *err)
{
    struct pruning pr = {.plan = p, .q = q};
    TRY(list_layers(&pr, err));
    TRY(number_layers(&pr, err));
    TRY(prune_steps(&pr, err));
    return edit_keys(&pr, arch, nlayers, metas, err);
}

enum quern_status plan_misplace_pruned(struct plan *p, struct model *m, struct quern_error *err)
{
    struct source *sources = ARENA_NEW(&p->arena, struct source, p->nsteps + 1);
    bool *taken = ARENA_NEW(&p->arena, bool, m->ntensors + 1);
    if (!sources || !taken)
        return fail_memory(err, p->nsteps * sizeof *sources);
    uint32_t nwrong = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct step *s = &p->steps[i];
        const struct tensor *right = s->sources[0].tensor, *wrong = model_find(m, s->name);
        if (!wrong || wrong->dtype != right->dtype || wrong->nelems != right->nelems)
            return in_tensor(err, s->name,
                             fail(err, QUERN_EUNSUPPORTED, "reference-bugs",
                                  "llama-quantize would take its data from a tensor of the input "
                                  "with this name, which %s" WANT
                                  "run it without --reference-bugs for the right data",
                                  wrong ? "has another type or size" : "does not exist"));
        if (taken[wrong - m->tensors])
            return in_tensor(err, s->name,
                             fail(err, QUERN_EUNSUPPORTED, "reference-bugs",
                                  "llama-quantize would give this name to two tensors" WANT
                                  "run it without --reference-bugs"));
        taken[wrong - m->tensors] = true;
        nwrong += wrong != right;
        sources[i] = (struct source){.model = m, .tensor = wrong};
        s->sources = &sources[i];
    }
    if (nwrong == 0)
        return QUERN_OK;
    return plan_note(p, err,
                     "--reference-bugs: %" PRIu32 " tensor%s the data of another layer, as "
                     "llama-quantize writes them",
                     nwrong, nwrong == 1 ? " gets" : "s get");
}
