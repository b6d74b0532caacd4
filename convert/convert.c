/* convert.c - plan the way from a Hugging Face directory to GGUF. */
#include "convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "conversion.h"
#include "gguf_plan.h"
#include "like.h"
#include "meta_array.h"
#include "output_name.h"
#include "pipeline/retype.h"
#include "quant/mix.h"
#include "unpack.h"
#include "vocab.h"

/* ---- what is to be made
 * -------------------------------------------------------------------------- */

bool convert_is_own_type(struct str type, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } own[] = {
        {"auto", DTYPE_COUNT},
        {"f32",  DTYPE_F32  },
        {"f16",  DTYPE_F16  },
        {"bf16", DTYPE_BF16 },
        {"q8_0", DTYPE_Q8_0 }
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (str_eq_nocase(type, str_from(own[i].name))) {
            *out = own[i].dtype;
            return true;
        }
    return false;
}

/* What the converter makes, before it is quantized. */
static enum quern_status choose_via(struct conversion *c, struct quern_error *err)
{
    const char *via = c->request->via;
    c->weights = DTYPE_COUNT;
    if (!via || (convert_is_own_type(str_from(via), &c->weights) && c->weights != DTYPE_Q8_0))
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "usage",
                "'%s' is no type to convert to before quantizing" WANT
                "expected auto, f32, f16 or bf16",
                quoted(str_from(via)).text);
}

static enum quern_status choose_weights(struct conversion *c, struct quern_error *err)
{
    const struct str type = str_from(c->request->type);
    c->quantizes = c->request->like_quantize || !convert_is_own_type(type, &c->weights);
    if (c->quantizes)
        TRY(choose_via(c, err));
    if (c->quantizes && !file_type_find(type))
        return fail(err, QUERN_EUSAGE, "usage",
                    "'%s' is no type to convert to" WANT
                    "expected auto, f32, f16, bf16, q8_0 or a file type of quern quantize%s",
                    quoted(type).text,
                    c->request->like                        ? ", or like"
                    : str_eq_nocase(type, str_from("like")) ? " (like needs --like TEMPLATE.gguf)"
                                                            : "");
    return QUERN_OK;
}

/* As many names as an error has room for. */
#define MOST_KNOWN 330u

static char *known_classes(struct arena *arena)
{
    char *text = arena_printf(arena, "%s", "");
    for (const struct architecture *const *a = architectures; *a && text; a++) {
        if (a != architectures && strcmp((*a)->name, a[-1]->name) == 0)
            continue;
        if (strlen(text) > MOST_KNOWN)
            return arena_printf(arena, "%s ...", text);
        text = arena_printf(arena, "%s%s%s", text, *text ? " " : "", (*a)->name);
    }
    return text;
}

static enum quern_status find_architecture(struct conversion *c, struct quern_error *err)
{
    if (c->request->map || c->request->map_path)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--map says what becomes of tensors" WANT
                    "expected --like TEMPLATE.gguf, which gives the keys");
    c->hf_class = c->config.architecture;
    c->arch = architecture_of_class(c->hf_class);
    if (c->arch)
        return QUERN_OK;
    const char *known = known_classes(&c->plan->arena);
    if (!known)
        return fail_memory(err, 4096);
    return in_file(
        err, c->config.path,
        fail(err, QUERN_EUNSUPPORTED, "architecture",
             "its architecture is '%s'" WANT
             "expected --like TEMPLATE.gguf of the same family (quern convert, quern merge), or "
             "a class that quern convert --print-supported-models lists, of %s",
             quoted(c->hf_class).text, known));
}

static void read_numbers(struct conversion *c)
{
    hparam_u64(c, "n_layers|num_hidden_layers|n_layer|num_layers", &c->nlayers);
    hparam_u64(c, "n_heads|num_attention_heads|n_head", &c->nheads);
    c->nkv_heads = c->arch->lone_kv_head ? 1 : c->nheads;
    hparam_u64(c, "n_kv_heads|num_key_value_heads|num_kv_heads|n_head_kv", &c->nkv_heads);
    hparam_u64(c, "num_local_experts|num_experts|n_routed_experts|moe_num_experts", &c->nexperts);
    if (c->nlayers > MAX_TENSORS)
        c->nlayers = 0; /* there cannot be so many: block_count will be wrong, but small */
}

enum quern_status convert_begin(struct conversion *c, const struct folder *folder,
                                struct quern_error *err)
{
    TRY(hf_config_open(folder, &c->config, err));
    c->card = &c->config;
    TRY(c->request->like ? like_open(c, err) : find_architecture(c, err));
    read_numbers(c);
    return QUERN_OK;
}

/* ---- keys
 * ---------------------------------------------------------------------------------------- */

static uint64_t embedding_rows(const struct conversion *c)
{
    for (uint32_t i = 0; i < c->ninputs; i++) {
        const struct tensor *t = c->inputs[i]->tensor;
        if (t->ndims == 2 &&
            (str_has(t->name, "embed_tokens.weight") || str_has(t->name, "wte.weight") ||
             str_has(t->name, "word_embeddings.weight")))
            return t->dims[0];
    }
    return 0;
}

static enum quern_status read_vocab(struct conversion *c, struct quern_error *err)
{
    const struct vocab_ask ask = {.config = &c->config,
                                  .arch = c->arch->name,
                                  .hf_arch = c->hf_class,
                                  .pre = c->request->pre,
                                  .nrows = embedding_rows(c)};
    return vocab_keys(&ask, c->plan, &c->vocab_keys, &c->ntokens, err);
}

static enum quern_status arch_keys(struct conversion *c, struct quern_error *err)
{
    const size_t n = sizeof c->arch->keys / sizeof *c->arch->keys;
    for (size_t k = 0; k < n && c->arch->keys[k]; k++)
        TRY(convert_put_keys(c, c->arch->keys[k], err));
    return QUERN_OK;
}

static enum quern_status all_keys(struct conversion *c, struct quern_error *err)
{
    if (c->like)
        return like_keys(c, err);
    TRY(convert_metadata(c, err));
    TRY(arch_keys(c, err));
    if (!meta_list_put_u32(&c->keys, "general.quantization_version", 2))
        return fail_memory(err, sizeof(struct meta));
    for (uint32_t i = 0; i < c->vocab_keys.count; i++)
        if (!meta_list_put(&c->keys, c->vocab_keys.items[i]))
            return fail_memory(err, sizeof(struct meta));
    return QUERN_OK;
}

/* ---- tensors
 * ------------------------------------------------------------------------------------- */

static enum quern_status all_steps(struct conversion *c, struct quern_error *err)
{
    struct plan *p = c->plan;
    if (!c->request->vocab_only && c->arch->extra)
        TRY(c->arch->extra(c, err));
    if (!c->request->vocab_only)
        TRY(convert_tensors(c, err));
    TRY(convert_choose_types(c, err));
    TRY(convert_keep_blocks(c, err));
    if (!c->request->vocab_only && c->like)
        TRY(like_steps(c, err));
    p->steps = ARENA_NEW(&p->arena, struct step, c->nsteps + 1);
    if (!p->steps)
        return fail_memory(err, c->nsteps * sizeof *p->steps);
    if (c->nsteps)
        memcpy(p->steps, c->steps, c->nsteps * sizeof *p->steps);
    p->nsteps = c->nsteps;
    return c->quantizes ? QUERN_OK : convert_keep_exact(c, err);
}

/* ---- output
 * -------------------------------------------------------------------------------------- */

/* The type in file names. */
static const char *type_name(const struct conversion *c)
{
    char number[16];
    if (c->quantizes)
        return file_type_find(str_from(c->request->type))->name;
    if (c->kept == DTYPE_NVFP4) /* no file type of quantizing */
        return dtype_traits[c->kept].name;
    snprintf(number, sizeof number, "%u", convert_file_type(c));
    const struct file_type *t = file_type_find(str_from(number));
    return t ? t->name : dtype_traits[c->kept].name;
}

static enum quern_status name_output(struct conversion *c, struct quern_error *err)
{
    const struct convert_request *r = c->request;
    const char *type = type_name(c);
    if (r->output)
        return output_fill_name(&c->plan->arena, r->output, type, &c->output, err);
    TRY(output_default_name(&c->plan->arena, c->config.folder->path, &c->keys, type,
                            r->vocab_only ? OUTPUT_VOCAB : OUTPUT_MODEL, &c->output, err));
    return plan_note(c->plan, err, "no OUTPUT is given: it goes to %s",
                     quoted(str_from(c->output)).text);
}

/* Where llama-quantize's rules do not apply, --override-kv still does. */
static enum quern_status override_keys(struct conversion *c, struct quern_error *err)
{
    const struct quern_quantize *q = c->request->quantize;
    if (q && q->imatrix)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--imatrix has no meaning for type %s" WANT
                    "expected a type that quern quantize makes",
                    quoted(str_from(c->request->type)).text);
    return q ? gguf_override_keys(c->plan, q, &c->keys, err) : QUERN_OK;
}

/* A model without data, as the converter would have written it: what llama-quantize's rules ask. */
static enum quern_status fill_donor(const struct conversion *c, struct model *donor,
                                    struct quern_error *err)
{
    bool fresh;
    uint32_t existing;
    donor->format = MODEL_GGUF;
    for (uint32_t i = 0; i < c->keys.count; i++) {
        struct meta *m = model_new_meta(donor);
        if (!m)
            return fail_memory(err, sizeof *m);
        *m = c->keys.items[i];
        if (!name_table_add(&donor->meta_index, m->key, i, model_meta_key, donor, &fresh,
                            &existing))
            return fail_memory(err, sizeof *m);
    }
    for (uint32_t i = 0; i < c->plan->nsteps; i++) {
        struct tensor *t = model_new_tensor(donor);
        if (!t)
            return fail_memory(err, sizeof *t);
        *t = *c->plan->steps[i].sources[0].tensor;
        t->name = c->plan->steps[i].name;
        if (!name_table_add(&donor->index, t->name, i, model_tensor_name, donor, &fresh, &existing))
            return fail_memory(err, sizeof *t);
    }
    return QUERN_OK;
}

static enum quern_status quantize_steps(struct conversion *c, struct quern_error *err)
{
    struct model *donor;
    struct quern_quantize q = {0};
    if (c->request->quantize)
        q = *c->request->quantize;
    q.type = c->request->type;
    for (uint32_t i = 0; i < c->plan->nsteps; i++)
        c->plan->steps[i].round_dtype = c->plan->steps[i].dtype;
    TRY(model_new(c->config.folder->path, 0, &donor, err));
    enum quern_status s = fill_donor(c, donor, err);
    if (s == QUERN_OK)
        s = plan_retype_gguf(c->plan, donor, &q, &c->keys, err);
    if (s == QUERN_OK)
        s = convert_keep_exact(c, err);
    model_close(donor);
    return s;
}

/* A file is closed when the next tensor would be one too many, or its bytes too much. */
static uint32_t assign_shards(const struct conversion *c, uint32_t *shard_of)
{
    const struct convert_request *r = c->request;
    uint64_t count = 0, nbytes = 0;
    uint32_t shard = r->no_tensor_first_split;
    for (uint32_t i = 0; i < c->plan->nsteps; i++) {
        const uint64_t n = c->plan->steps[i].nbytes;
        if (count > 0 && ((r->split_max_tensors && count >= r->split_max_tensors) ||
                          (r->split_max_bytes && nbytes + n > r->split_max_bytes))) {
            shard++;
            count = nbytes = 0;
        }
        shard_of[i] = shard;
        count++;
        nbytes += n;
    }
    return shard + 1;
}

static enum quern_status lay_out(struct conversion *c, struct quern_error *err)
{
    const struct convert_request *r = c->request;
    struct plan *p = c->plan;
    uint64_t alignment;
    TRY(gguf_alignment_of(&c->keys, &alignment, err));
    if (!r->split_max_tensors && !r->split_max_bytes)
        return layout_gguf(p, c->output, &c->keys, alignment, err);
    uint32_t *shard_of = ARENA_NEW(&p->arena, uint32_t, p->nsteps + 1);
    if (!shard_of)
        return fail_memory(err, p->nsteps * sizeof *shard_of);
    TRY(plan_size_steps(p, err));
    const uint32_t nshards = assign_shards(c, shard_of);
    const struct str out = str_from(c->output);
    const size_t n = str_ends(out, ".gguf") ? out.n - 5 : out.n;
    const char *prefix = arena_printf(&p->arena, "%.*s", (int)n, c->output);
    const char *name = arena_printf(&p->arena, "%s.gguf", prefix);
    if (!prefix || !name)
        return fail_memory(err, out.n);
    if (nshards == 1)
        return layout_gguf(p, name, &c->keys, alignment, err);
    return layout_gguf_split(p, prefix, &c->keys, alignment, shard_of, nshards, SPLIT_AS_QUANTIZE,
                             err);
}

static enum quern_status check_input(const struct model *m, struct quern_error *err)
{
    if (m->format == MODEL_SAFETENSORS && m->dir)
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "format",
                "it is a file without config.json and tokenizer" WANT
                "expected a Hugging Face directory (--keep-names --arch NAME makes a plain "
                "container of it)");
}

/* -t like is a type once the template is open. */
static enum quern_status choose_family(struct conversion *c, const struct folder *folder,
                                       struct quern_error *err)
{
    const bool later = c->request->like && strcmp(c->request->type, "like") == 0;
    if (!later)
        TRY(choose_weights(c, err));
    TRY(convert_begin(c, folder, err));
    return later ? choose_weights(c, err) : QUERN_OK;
}

static enum quern_status build(struct conversion *c, const struct folder *folder,
                               struct quern_error *err)
{
    c->plan->force = c->request->force;
    c->plan->nonfinite = NONFINITE_ERROR;
    if (c->request->output && !*c->request->output)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    if (c->request->quantize && c->request->quantize->arch)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--arch has no meaning here" WANT
                    "expected it with --keep-names only: config.json names the architecture");
    TRY(choose_family(c, folder, err));
    TRY(convert_order_inputs(c, err));
    if (c->like)
        TRY(like_differences(c, err));
    if (c->like)
        like_numbers(c);
    if (!meta_list_put_string(&c->keys, "general.architecture", str_from(c->arch->name)))
        return fail_memory(err, sizeof(struct meta));
    if (!c->like)
        TRY(read_vocab(c, err));
    TRY(all_steps(c, err));
    TRY(all_keys(c, err));
    TRY(name_output(c, err));
    c->plan->keep_ones = !c->quantizes;
    TRY(c->quantizes ? quantize_steps(c, err) : override_keys(c, err));
    return lay_out(c, err);
}

enum quern_status convert_into(const struct hf_model *m, const struct convert_request *r,
                               struct plan *p, struct quern_error *err)
{
    struct convert_request request = *r;
    struct conversion c = {.request = &request, .view = m->view, .plan = p};
    const char *path = m->view->made ? m->folder->path : m->view->model->path;
    if (!request.type)
        request.type = "auto";
    c.keys.arena = &p->arena;
    c.vocab_keys.arena = &p->arena;
    const enum quern_status s = plan_in_file(p, path, build(&c, m->folder, err), err);
    free(c.steps);
    like_close(&c);
    hf_config_close(&c.config);
    return s;
}

/* From here on the model looks as if no program had packed its weights. */
static enum quern_status unpack(struct view *view, struct folder *folder, struct plan *p,
                                struct quern_error *err)
{
    struct side_file *config = ARENA_NEW(&p->arena, struct side_file, 1);
    struct unpacked u;
    if (!config)
        return fail_memory(err, sizeof *config);
    TRY(unpack_view(view, folder, &p->arena, &u, err));
    if (!u.by)
        return QUERN_OK;
    *config = (struct side_file){.name = "config.json", .text = u.config};
    folder->sides = config;
    folder->nsides = u.config.p ? 1 : 0;
    return plan_note(p, err, "%s", unpacked_words(&u).text);
}

static enum quern_status from_view(struct view *view, struct folder *folder,
                                   const struct convert_request *r, struct plan *p,
                                   struct quern_error *err)
{
    if (!r->vocab_only)
        TRY(unpack(view, folder, p, err));
    return convert_into(&(struct hf_model){view, folder}, r, p, err);
}

static enum quern_status from_directory(struct model *m, const struct convert_request *r,
                                        struct plan *p, struct quern_error *err)
{
    struct view *view = ARENA_NEW(&p->arena, struct view, 1);
    struct folder *folder = ARENA_NEW(&p->arena, struct folder, 1);
    if (!view || !folder)
        return fail_memory(err, sizeof *view);
    TRY(in_file(err, m->path, check_input(m, err)));
    TRY(plan_add_model(p, m, err));
    TRY(view_of_model(m, &p->arena, view, err));
    *folder = (struct folder){.path = m->dir};
    const enum quern_status s = from_view(view, folder, r, p, err);
    view_free(view); /* its sources stay, they are the arena's */
    return s;
}

/* Tensors under the names they have. */
static enum quern_status from_names(struct model *m, const struct convert_request *r,
                                    struct plan *p, struct quern_error *err)
{
    return plan_in_file(p, m->path, gguf_plan(p, m, r, err), err);
}

enum quern_status convert_plan(struct model *m, const struct convert_request *r, struct plan **out,
                               struct quern_error *err)
{
    struct plan *p = plan_new("convert", err);
    if (!p)
        return QUERN_EMEMORY;
    const bool named = m->format == MODEL_GGUF || (r->quantize && r->quantize->keep_names);
    const enum quern_status s = (named ? from_names : from_directory)(m, r, p, err);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}
