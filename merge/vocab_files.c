/* vocab_files.c - tokenizer files that fit the vocabulary of the result. */
#include "merge/vocab_files.h"

#include "core/io.h"
#include "core/json.h"
#include "merge/tokenizer_text.h"
#include "pipeline/config_edit.h"

#define MAX_CONFIG (UINT64_C(1) << 26)

/* They go with the tokenizer's model. */
static const char *const with_tokenizer[] = {
    "tokenizer.json",      "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "chat_template.json",    "generation_config.json",
};
/* The same in older forms: true only as long as the vocabulary is the model's. */
static const char *const older_forms[] = {
    "added_tokens.json",       "vocab.json",      "merges.txt",  "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "tokenizer.model", "tekken.json",
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct side_file *find_side(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->nsides; i++)
        if (strcmp(p->sides[i].name, name) == 0)
            return &p->sides[i];
    return NULL;
}

static bool remove_side(struct plan *p, const char *name)
{
    struct side_file *side = find_side(p, name);
    if (!side)
        return false;
    const size_t after = (size_t)(p->sides + p->nsides - (side + 1));
    memmove(side, side + 1, after * sizeof *side);
    p->nsides--;
    return true;
}

static enum quern_status set_text(struct plan *p, const char *name, struct str text,
                                  struct quern_error *err)
{
    struct side_file *side = find_side(p, name);
    if (!side)
        return plan_add_side_text(p, name, text, err);
    side->text = text;
    side->copy_from = NULL;
    return QUERN_OK;
}

/* The text of a file in the plan; .p is NULL when it is not there. */
static enum quern_status get_text(struct plan *p, const char *name, struct str *out,
                                  struct quern_error *err)
{
    const struct side_file *side = find_side(p, name);
    *out = side ? side->text : (struct str){NULL, 0};
    if (!side || !side->copy_from)
        return QUERN_OK;
    return read_small_file(side->copy_from, MAX_CONFIG, &p->arena, out, err);
}

/* ---- files of another model ------------------------------------------------------------------ */

static enum quern_status exchange(struct plan *p, const char *dir, const char *const *names,
                                  size_t n, struct quern_error *err)
{
    for (size_t i = 0; i < n; i++) {
        remove_side(p, names[i]);
        const char *path = path_join(&p->arena, dir, names[i]);
        if (!path)
            return fail_memory(err, strlen(dir));
        if (path_exists(path))
            TRY(plan_add_side_copy(p, names[i], path, err));
    }
    return QUERN_OK;
}

/* ---- a vocabulary of its own ----------------------------------------------------------------- */

static enum quern_status edit(struct plan *p, const char *name, const struct config_edit *edits,
                              size_t nedits, struct quern_error *err)
{
    struct str old, new;
    TRY(get_text(p, name, &old, err));
    if (!old.p)
        return QUERN_OK;
    TRY(in_file(err, name, config_apply(&p->arena, old, edits, nedits, &new, err)));
    return str_eq(old, new) ? QUERN_OK : set_text(p, name, new, err);
}

static enum quern_status write_tokenizer(const struct vocab_result *r, struct plan *p,
                                         struct quern_error *err)
{
    struct str text, added;
    const char *path = path_join(&p->arena, r->tokenizer_dir, "tokenizer.json");
    if (!path)
        return fail_memory(err, strlen(r->tokenizer_dir));
    TRY(tokenizer_text(path, &r->vocabulary, &p->arena, &text, err));
    TRY(set_text(p, "tokenizer.json", text, err));
    TRY(added_tokens_text(&r->vocabulary, &p->arena, &added, err));
    const struct config_edit decoder = {.path = "added_tokens_decoder", .value = added};
    TRY(edit(p, "tokenizer_config.json", &decoder, 1, err));
    for (size_t i = 0; i < COUNT(older_forms); i++)
        if (remove_side(p, older_forms[i]))
            TRY(plan_note(p, err, "left behind: %s, which has another vocabulary", older_forms[i]));
    return QUERN_OK;
}

enum quern_status vocab_files(const struct vocab_result *r, const char *dir, struct plan *p,
                              struct quern_error *err)
{
    if (!r->tokenizer_dir)
        return QUERN_OK;
    if (!dir || strcmp(dir, r->tokenizer_dir) != 0) {
        TRY(exchange(p, r->tokenizer_dir, with_tokenizer, COUNT(with_tokenizer), err));
        TRY(exchange(p, r->tokenizer_dir, older_forms, COUNT(older_forms), err));
    }
    return r->changed ? write_tokenizer(r, p, err) : QUERN_OK;
}

/* ---- chat template --------------------------------------------------------------------------- */

enum quern_status chat_template_file(struct plan *p, struct str text, struct quern_error *err)
{
    if (!text.p)
        return QUERN_OK;
    remove_side(p, "chat_template.json");
    if (find_side(p, "chat_template.jinja") || !find_side(p, "tokenizer_config.json"))
        return set_text(p, "chat_template.jinja", text, err);
    struct json_writer w = {0};
    json_put_str(&w, text);
    const struct str value =
        json_written(&w).p ? arena_str(&p->arena, json_written(&w)) : (struct str){NULL, 0};
    json_writer_free(&w);
    if (!value.p)
        return fail_memory(err, text.n);
    const struct config_edit template = {.path = "chat_template", .value = value, .add = true};
    return edit(p, "tokenizer_config.json", &template, 1, err);
}
