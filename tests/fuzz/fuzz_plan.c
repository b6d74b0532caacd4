/* fuzz_plan.c - any model with any options of quantizing: refused, or a plan in which all fits. */
#include "check_model.h"
#include "check_plan.h"
#include "pipeline/retype.h"
#include "stand_in.h"

enum { OPTIONS, GGUF, SAFETENSORS, IMATRIX, NPARTS };

#define MAX_TEXTS 8

/* Options are lines: a letter, then a text for it. */
struct options {
    struct quern_quantize q;
    const char *tensor_types[MAX_TEXTS], *kvs[MAX_TEXTS], *prune[MAX_TEXTS], *include[MAX_TEXTS];
    const char *output;
};

static void add(const char **list, size_t *n, const char *text)
{
    if (*n < MAX_TEXTS)
        list[(*n)++] = text;
}

static void take_option(struct options *o, char letter, const char *text)
{
    struct quern_quantize *q = &o->q;
    switch (letter) {
    case 't':
        q->type = text;
        break;
    case 'T':
        add(o->tensor_types, &q->ntensor_types, text[0] == '@' ? "x=@" : text);
        break;
    case 'k':
        add(o->kvs, &q->noverride_kvs, text);
        break;
    case 'P':
        add(o->prune, &q->nprune_layers, text);
        break;
    case 'i':
        add(o->include, &q->ninclude_weights, text);
        break;
    case 'o':
        q->output_tensor_type = text;
        break;
    case 'e':
        q->token_embedding_type = text;
        break;
    case 'a':
        q->arch = text;
        break;
    case 's':
        q->shard_bytes = strlen(text) * 100;
        break;
    case 'O':
        o->output = text[0] == 's'   ? "/tmp/quern-fuzz.safetensors"
                    : text[0] == 'd' ? "/tmp/quern-fuzz-out"
                                     : "/tmp/quern-fuzz.gguf";
        break;
    case 'f':
        q->pure = strchr(text, 'p') != NULL;
        q->leave_output_tensor = strchr(text, 'l') != NULL;
        q->allow_requantize = strchr(text, 'r') != NULL;
        q->keep_split = strchr(text, 's') != NULL;
        q->no_fallback = strchr(text, 'n') != NULL;
        q->keep_names = strchr(text, 'k') != NULL;
        q->reference_bugs = strchr(text, 'b') != NULL;
        break;
    default:
        break;
    }
}

static void take_options(struct options *o, struct arena *a, struct str text)
{
    struct fuzz_bytes b = {text.p, text.n};
    *o = (struct options){.output = "/tmp/quern-fuzz.gguf"};
    o->q.type = "Q4_K_M";
    o->q.force = true;
    o->q.tensor_types = o->tensor_types;
    o->q.override_kvs = o->kvs;
    o->q.prune_layers = o->prune;
    o->q.include_weights = o->include;
    while (b.n > 0) {
        const struct str line = take_part(&b, '\n');
        if (line.n > 0)
            take_option(o, line.p[0], arena_str(a, (struct str){line.p + 1, line.n - 1}).p);
    }
}

static void run(char *text, size_t n)
{
    struct arena a = {0};
    struct str parts[NPARTS] = {
        {NULL, 0}
    };
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    struct options o;
    struct quern_error err;
    struct model *m;
    struct plan *p;
    while (take_file(&b, &part))
        parts[part.which % NPARTS] = part.text;
    take_options(&o, &a, parts[OPTIONS]);
    if (parts[IMATRIX].n > 0)
        o.q.imatrix = fuzz_file("imatrix.gguf", parts[IMATRIX].p, parts[IMATRIX].n);
    struct str weights = parts[parts[GGUF].n > 0 ? GGUF : SAFETENSORS];
    if (weights.n == 0)
        weights = stand_in_weights(&a, 1);
    const char *name = parts[GGUF].n > 0 ? "model.gguf" : "model.safetensors";
    if (!fuzz_failed(model_open(fuzz_file(name, weights.p, weights.n), &m, &err), &err)) {
        if (!fuzz_failed(plan_quantize(m, o.output, &o.q, &p, &err), &err)) {
            check_plan(p);
            plan_free(p);
        }
        model_close(m);
    }
    arena_free(&a);
}

static void mutate(struct mutation *m)
{
    static mutate_fn *const mutators[NPARTS] = {NULL, mutate_gguf, mutate_safetensors, mutate_gguf};
    mutate_files(m, mutators, NPARTS);
}

static const char *const words[] = {"tQ8_0\n",
                                    "tF16\n",
                                    "tIQ2_XS\n",
                                    "tQ4_K_S\n",
                                    "tQ2_K\n",
                                    "tCOPY\n",
                                    "tMXFP4_MOE\n",
                                    "tTQ1_0\n",
                                    "tF8\n",
                                    "T.*=Q8_0\n",
                                    "Tattn_v=Q6_K\n",
                                    "Tblk\\.[01]=F32\n",
                                    "kgeneral.name=str:x\n",
                                    "kllama.block_count=int:1\n",
                                    "kx=float:1e400\n",
                                    "kx=bool:true\n",
                                    "P0\n",
                                    "P0,1,1\n",
                                    "fp\n",
                                    "fl\n",
                                    "frskn\n",
                                    "Os\n",
                                    "Od\n",
                                    "sxxx\n",
                                    "allama\n",
                                    "oQ6_K\n",
                                    "eQ8_0\n",
                                    "iattn\n",
                                    NULL};

const struct fuzz_target fuzz_plan = {
    .name = "plan",
    .max_len = 8192,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 256,
    .bytes_besides = 1u << 20,
    .words = words,
};
