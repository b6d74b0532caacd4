/* merge_layout.c - the keys and files of a merged model, and where everything goes. */
#include <inttypes.h>

#include "core/io.h"
#include "merge/card.h"
#include "merge/hidden.h"
#include "merge/planner.h"
#include "merge/relayer.h"
#include "merge/vocab_files.h"
#include "pipeline/carry.h"
#include "pipeline/config_edit.h"
#include "pipeline/retype.h"
#include "quant/mix.h"

/* The keys of the donor. Types that merging changed are told in general.file_type. */
static enum quern_status keep_types(struct planner *pl, struct meta_list *metas,
                                    struct quern_error *err)
{
    uint32_t counts[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    bool changed = false;
    for (uint32_t i = 0; i < pl->targets.count; i++) {
        const struct step *s = &pl->steps[i];
        changed |= pl->targets.items[i].inputs[pl->targets.items[i].lead].tensor->dtype != s->dtype;
        if (++counts[s->dtype] > counts[most])
            most = s->dtype;
    }
    meta_list_remove(metas, "split.no");
    meta_list_remove(metas, "split.count");
    meta_list_remove(metas, "split.tensors.count");
    if (changed && (!meta_list_set_u32(metas, "general.quantization_version", 2) ||
                    !meta_list_set_u32(metas, "general.file_type", file_type_guess(most))))
        return fail_memory(err, sizeof(struct meta));
    return QUERN_OK;
}

static enum quern_status copy_metas(struct planner *pl, struct meta_list *metas,
                                    struct quern_error *err)
{
    const struct view *donor = donor_view(pl);
    const struct meta *items = donor->metas ? donor->metas->items : donor->model->metas;
    const uint32_t n = donor->metas ? donor->metas->count : donor->model->nmetas;
    if (!meta_list_copy(metas, &pl->plan->arena, items, n))
        return fail_memory(err, n * sizeof(struct meta));
    return pl->targets.relaid ? relayer_metas(pl, metas, err) : QUERN_OK;
}

enum quern_status merged_metas(struct planner *pl, struct meta_list *metas, struct quern_error *err)
{
    TRY(copy_metas(pl, metas, err));
    return keep_types(pl, metas, err);
}

static enum quern_status lay_out_gguf(struct planner *pl, struct quern_error *err)
{
    const struct model *donor = donor_of(pl);
    struct meta_list metas;
    uint64_t alignment;
    TRY(copy_metas(pl, &metas, err));
    struct quern_quantize q = {0};
    if (pl->req->convert.quantize)
        q = *pl->req->convert.quantize;
    q.type = pl->req->type;
    if (q.type)
        TRY(plan_retype_gguf(pl->plan, donor, &q, &metas, err));
    else
        TRY(keep_types(pl, &metas, err));
    if (!q.type)
        TRY(gguf_override_keys(pl->plan, &q, &metas, err));
    const struct str template = pl->chat_template;
    if (template.p && !meta_list_set_string(&metas, "tokenizer.chat_template", template))
        return fail_memory(err, template.n);
    TRY(hide_row_makers(pl->plan, err));
    TRY(gguf_alignment_of(&metas, &alignment, err));
    return layout_gguf(pl->plan, pl->req->output, &metas, alignment, err);
}

static enum quern_status add_card(struct planner *pl, struct quern_error *err)
{
    struct plan *p = pl->plan;
    struct str output = str_from(pl->req->output);
    while (output.n > 1 && output.p[output.n - 1] == '/')
        output.n--;
    const char *trimmed = arena_str(&p->arena, output).p;
    if (!trimmed)
        return fail_memory(err, output.n);
    struct str card;
    TRY(model_card(&pl->recipe, pl->hub, path_base(trimmed), &p->arena, &card, err));
    TRY(plan_add_side_text(p, "README.md", card, err));
    return plan_add_side_text(p, "mergekit_config.yml", pl->recipe.text, err);
}

static enum quern_status set_vocabulary(struct planner *pl, struct str *config,
                                        struct quern_error *err)
{
    struct arena *arena = &pl->plan->arena;
    const char *size = arena_printf(arena, "%" PRIu64, pl->cut_rows);
    if (!size)
        return fail_memory(err, 32);
    const struct config_edit edits[] = {
        {.path = "vocab_size",             .value = str_from(size)},
        {.path = "text_config.vocab_size", .value = str_from(size)}
    };
    return config_apply(arena, *config, edits, 2, config, err);
}

static enum quern_status edit_config(struct planner *pl, struct str *config,
                                     struct quern_error *err)
{
    static const struct config_edit untied[] = {
        {.path = "tie_word_embeddings", .value = {"false", 5}, .add = true},
        {.path = "text_config.tie_word_embeddings",                             .value = {"false", 5}         }
    };
    struct arena *arena = &pl->plan->arena;
    if (pl->targets.relaid)
        TRY(relayer_config(pl, config, err));
    if (pl->cut_rows)
        TRY(set_vocabulary(pl, config, err));
    if (pl->new_head)
        TRY(config_apply(arena, *config, untied, 2, config, err));
    return config_with_dtype(arena, *config, recipe_out_dtype(&pl->recipe), config, err);
}

enum quern_status merged_config(struct planner *pl, struct str *config, struct quern_error *err)
{
    *config = donor_view(pl)->config;
    if (!config->p)
        return QUERN_OK;
    const struct model *donor = donor_of(pl);
    const char *path =
        path_join(&pl->plan->arena, donor->dir ? donor->dir : donor->path, "config.json");
    if (!path)
        return fail_memory(err, config->n);
    return in_file(err, path, edit_config(pl, config, err));
}

/* The files of the vocabulary, and the chat template that the recipe asks for. */
static enum quern_status add_tokenizer(struct planner *pl, struct quern_error *err)
{
    const char *dir = donor_of(pl)->dir;
    if (pl->vocabulary)
        TRY(vocab_files(pl->vocabulary, dir, pl->plan, err));
    return chat_template_file(pl->plan, pl->chat_template, err);
}

/* What would lie beside a GGUF in the layout of Hugging Face. */
static enum quern_status add_sides(struct planner *pl, const struct str *config,
                                   struct quern_error *err)
{
    const struct view *v = donor_view(pl);
    for (uint32_t i = 0; i < v->nsides; i++) {
        const bool is_config = strcmp(v->sides[i].name, "config.json") == 0;
        TRY(plan_add_side_text(pl->plan, v->sides[i].name,
                               is_config && config->p ? *config : v->sides[i].text, err));
    }
    return QUERN_OK;
}

static enum quern_status lay_out_directory(struct planner *pl, struct quern_error *err)
{
    const struct model *donor = donor_of(pl);
    struct str config;
    TRY(merged_config(pl, &config, err));
    if (donor->dir)
        TRY(plan_carry_over(pl->plan, donor->dir, config.p ? &config : NULL, err));
    TRY(add_sides(pl, &config, err));
    TRY(add_tokenizer(pl, err));
    if (pl->req->no_tokenizer)
        plan_leave_tokenizer(pl->plan);
    if (!pl->req->no_model_card)
        TRY(add_card(pl, err));
    return layout_directory(pl->plan, pl->req->output, donor->metas, donor->nmetas,
                            merge_shard_bytes(pl->req), err);
}

enum quern_status lay_out(struct planner *pl, struct quern_error *err)
{
    const struct model *donor = donor_of(pl);
    if (pl->to_gguf)
        return lay_out_gguf(pl, err);
    if (pl->to_file && (pl->vocabulary || pl->chat_template.p))
        TRY(plan_note(pl->plan, err,
                      "the tokenizer of the result is not written: it needs a "
                      "directory as output"));
    if (pl->to_file)
        return layout_safetensors(pl->plan, pl->req->output, donor->metas, donor->nmetas, err);
    return lay_out_directory(pl, err);
}
