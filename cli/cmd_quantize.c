/* cmd_quantize.c - quern quantize: llama-quantize's words, and safetensors besides. */
#include <string.h>

#include "cli.h"
#include "convert/convert.h"
#include "pipeline/retype.h"
#include "quant/mix.h"

struct words {
    const char *input, *output, *type, *threads;
};

/* INPUT [OUTPUT] TYPE [THREADS]: like llama-quantize, the second word is the type when it names
 * one. With -o there is no OUTPUT word. */
static int read_words(struct cli *c, struct words *w)
{
    const struct values *a = &c->args;
    size_t i = 0;
    if (a->count < 2)
        return usage_error(c, "expected INPUT [OUTPUT] TYPE, got %zu argument%s", a->count,
                           a->count == 1 ? "" : "s");
    w->input = a->items[i++];
    w->output = c->output;
    /* A word that is not the last and no type is the output. */
    if (!w->output &&
        !(file_type_find(str_from(a->items[1])) && (a->count == 2 || !strpbrk(a->items[1], "./"))))
        w->output = a->items[(c->output_at = ++i) - 1];
    if (i >= a->count)
        return usage_error(c, "the TYPE is missing after OUTPUT '%s'",
                           quoted(str_from(w->output)).text);
    w->type = a->items[i++];
    w->threads = i < a->count ? a->items[i++] : NULL;
    if (i < a->count)
        return usage_error(c, "too many arguments: '%s'", quoted(str_from(a->items[i])).text);
    return 0;
}

/* llama-quantize's default name, beside the input. */
static const char *default_output(struct arena *arena, const struct model *m, const struct words *w,
                                  bool keep_split)
{
    const struct file_type *t = file_type_find(str_from(w->type));
    const char *slash = strrchr(w->input, '/');
    if (!t || m->format != MODEL_GGUF)
        return NULL;
    return arena_printf(arena, "%.*sggml-model-%s%s", slash ? (int)(slash - w->input + 1) : 0,
                        w->input, t->name, keep_split ? "" : ".gguf");
}

static int take_threads(struct cli *c, const char *word)
{
    uint64_t n;
    if (!word)
        return 0;
    if (!str_to_u64(str_from(word), &n) || n > 100000)
        return usage_error(c, "THREADS '%s': expected a number up to 100000",
                           quoted(str_from(word)).text);
    c->threads = (unsigned)n;
    c->args.count--; /* like -j, it is nothing that an interrupted run must have had */
    return 0;
}

/* A Hugging Face directory becomes GGUF on the way. */
static enum quern_status make_plan(const struct cli *c, struct model *m, const char *output,
                                   struct plan **out, struct quern_error *err)
{
    const struct convert_request r = {.output = output,
                                      .type = c->quantize.type,
                                      .quantize = &c->quantize,
                                      .like_quantize = true,
                                      .pre = c->pre,
                                      .text_only = c->text_only,
                                      .force = c->force};
    const bool converts = m->format == MODEL_SAFETENSORS && str_ends(str_from(output), ".gguf") &&
                          !c->quantize.keep_names;
    if (!converts)
        return plan_quantize(m, output, &c->quantize, out, err);
    const char *stray = c->quantize.keep_split    ? "--keep-split"
                        : c->quantize.shard_bytes ? "--shard-size"
                        : c->quantize.arch        ? "--arch"
                                                  : NULL;
    if (stray)
        return fail(err, QUERN_EUSAGE, "usage",
                    "%s has no meaning when a Hugging Face directory becomes GGUF%s", stray,
                    c->quantize.arch ? "" : " (quern convert has --split-max-size)");
    return convert_plan(m, &r, out, err);
}

static int with_model(struct cli *c, struct model *m, const struct words *w)
{
    struct quern_error err;
    struct plan *p;
    struct arena arena = {0};
    const char *output = w->output;
    if (!output)
        output = default_output(&arena, m, w, c->quantize.keep_split);
    int code;
    if (!output)
        code = usage_error(c, "expected INPUT OUTPUT TYPE: only a GGUF input has a default OUTPUT");
    else if (make_plan(c, m, output, &p, &err) != QUERN_OK)
        code = report_error(c, &err);
    else {
        code = run_weights(c, p);
        plan_free(p);
    }
    arena_free(&arena);
    return code;
}

/* The library marks a file among the patterns with an @. NULL when memory ran out. */
static const char *const *mark_files(const struct values *v, struct arena *arena)
{
    const char **marked = ARENA_NEW(arena, const char *, v->count + 1);
    for (size_t i = 0; marked && i < v->count; i++) {
        marked[i] = v->is_file[i] ? arena_printf(arena, "@%s", v->items[i]) : v->items[i];
        if (!marked[i])
            return NULL;
    }
    return marked;
}

int take_quantize_options(struct cli *c, const char *type, struct arena *arena)
{
    struct quern_quantize *q = &c->quantize;
    struct quern_error err;
    q->tensor_types = mark_files(&c->tensor_types, arena);
    if (!q->tensor_types) {
        fail_memory(&err, MAX_ARGS);
        return report_error(c, &err);
    }
    q->type = type;
    q->ntensor_types = c->tensor_types.count;
    q->include_weights = c->include_weights.items;
    q->ninclude_weights = c->include_weights.count;
    q->exclude_weights = c->exclude_weights.items;
    q->nexclude_weights = c->exclude_weights.count;
    q->prune_layers = c->prune_layers.items;
    q->nprune_layers = c->prune_layers.count;
    q->override_kvs = c->override_kvs.items;
    q->noverride_kvs = c->override_kvs.count;
    q->shard_bytes = c->shard_bytes;
    q->force = c->force;
    return 0;
}

int cmd_quantize(struct cli *c)
{
    struct words w = {0};
    struct quern_error err;
    struct model *m;
    struct arena arena = {0};
    int code = read_words(c, &w);
    if (code == 0)
        code = take_threads(c, w.threads);
    if (code == 0)
        code = take_quantize_options(c, w.type, &arena);
    if (code == 0 && model_open(w.input, &m, &err) != QUERN_OK)
        code = report_error(c, &err);
    else if (code == 0) {
        code = with_model(c, m, &w);
        model_close(m);
    }
    arena_free(&arena);
    return code;
}
