/* chat_template.c - choose a chat template: a known format, the models' own, or a given text. */
#include "merge/chat_template.h"

#include "core/io.h"
#include "core/pull.h"
#include "pipeline/config_edit.h"
#include "pipeline/text_difference.h"

#define MAX_CONFIG (UINT64_C(1) << 26)
#define SHORTEST   20

static const char chatml[] = "{%- for m in messages %}"
                             "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
                             "{%- endfor %}"
                             "{%- if add_generation_prompt %}"
                             "{{- '<|im_start|>assistant\\n' }}"
                             "{%- endif %}";

static const char llama3[] = "{{- bos_token }}"
                             "{%- for m in messages %}"
                             "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}"
                             "{{- m.content | trim }}"
                             "{{- '<|eot_id|>' }}"
                             "{%- endfor %}"
                             "{%- if add_generation_prompt %}"
                             "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
                             "{%- endif %}";

/* A system message becomes the beginning of the first user message. */
static const char mistral[] = "{{- bos_token }}"
                              "{%- set ns = namespace(system='') %}"
                              "{%- for m in messages %}"
                              "{%- if m.role == 'system' %}"
                              "{%- set ns.system = m.content + '\\n\\n' %}"
                              "{%- elif m.role == 'user' %}"
                              "{{- '[INST] ' + ns.system + m.content + ' [/INST]' }}"
                              "{%- set ns.system = '' %}"
                              "{%- else %}"
                              "{{- ' ' + m.content + eos_token }}"
                              "{%- endif %}"
                              "{%- endfor %}";

static const char alpaca[] =
    "{%- if messages and messages[0].role != 'system' %}"
    "{{- 'Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\\n\\n' }}"
    "{%- endif %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'system' %}"
    "{{- m.content + '\\n\\n' }}"
    "{%- elif m.role == 'user' %}"
    "{{- '### Instruction:\\n' + m.content + '\\n\\n' }}"
    "{%- else %}"
    "{{- '### Response:\\n' + m.content + eos_token + '\\n\\n' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '### Response:\\n' }}"
    "{%- endif %}";

static const char exaone[] = "{%- if messages and messages[0].role != 'system' %}"
                             "{{- '[|system|][|endofturn|]\\n' }}"
                             "{%- endif %}"
                             "{%- for m in messages %}"
                             "{{- '[|' + m.role + '|]' + m.content }}"
                             "{{- '\\n' if m.role == 'user' else '[|endofturn|]\\n' }}"
                             "{%- endfor %}"
                             "{%- if add_generation_prompt %}"
                             "{{- '[|assistant|]' }}"
                             "{%- endif %}";

static const struct {
    const char *name, *text;
} known[] = {
    {"alpaca",  alpaca },
    {"chatml",  chatml },
    {"llama3",  llama3 },
    {"mistral", mistral},
    {"exaone",  exaone },
};
#define NKNOWN (sizeof known / sizeof *known)

/* ---- the models' own ------------------------------------------------------------------------- */

static struct str trimmed(struct str s)
{
    while (s.n > 0 && strchr(" \t\r\n\v\f", s.p[s.n - 1]))
        s.n--;
    while (s.n > 0 && strchr(" \t\r\n\v\f", *s.p)) {
        s.p++;
        s.n--;
    }
    return s;
}

/* A JSON text that is a string; .p is NULL for any other. */
static enum quern_status unescaped(struct arena *arena, struct str json, struct str *out,
                                   struct quern_error *err)
{
    struct pull p;
    const struct str copy = arena_str(arena, json);
    *out = (struct str){NULL, 0};
    if (!copy.p)
        return fail_memory(err, json.n);
    pull_start(&p, (char *)copy.p, copy.n);
    if (pull_next(&p) == PULL_STRING)
        *out = p.str;
    return QUERN_OK;
}

static enum quern_status member(struct arena *arena, struct str object, const char *key,
                                struct str *out, struct quern_error *err)
{
    bool found;
    struct str value;
    *out = (struct str){NULL, 0};
    TRY(config_find(arena, object, key, &found, &value, err));
    return found ? unescaped(arena, value, out, err) : QUERN_OK;
}

/* [{"name": "default", "template": "..."}, ...] */
static enum quern_status default_of(struct arena *arena, struct str list, struct str *out,
                                    struct quern_error *err)
{
    struct str *items, name;
    size_t n;
    TRY(config_items(arena, list, &items, &n, err));
    for (size_t i = 0; i < n && !out->p; i++) {
        if (items[i].p[0] != '{')
            continue;
        TRY(member(arena, items[i], "name", &name, err));
        if (name.p && str_is(name, "default"))
            TRY(member(arena, items[i], "template", out, err));
    }
    return QUERN_OK;
}

static enum quern_status from_config(struct arena *arena, struct str config, struct str *out,
                                     struct quern_error *err)
{
    bool found;
    struct str value;
    TRY(config_find(arena, config, "chat_template", &found, &value, err));
    if (!found)
        return QUERN_OK;
    return value.p[0] == '[' ? default_of(arena, value, out, err)
                             : unescaped(arena, value, out, err);
}

/* .p is NULL when the model has none. */
static enum quern_status template_of(const struct view *v, struct arena *arena, struct str *out,
                                     struct quern_error *err)
{
    const struct model *m = v->gguf ? v->gguf : v->model;
    const struct meta *key = v->gguf ? model_meta(m, "tokenizer.chat_template")
                                     : view_meta(v, "tokenizer.chat_template");
    *out = v->chat_template;
    if (out->p)
        return QUERN_OK;
    if (m->format == MODEL_GGUF && key)
        meta_string(key, out);
    if (!m->dir)
        return QUERN_OK;
    const char *jinja = path_join(arena, m->dir, "chat_template.jinja");
    const char *path = path_join(arena, m->dir, "tokenizer_config.json");
    struct str config;
    if (!jinja || !path)
        return fail_memory(err, strlen(m->dir));
    if (path_exists(jinja))
        return read_small_file(jinja, MAX_CONFIG, arena, out, err);
    if (!path_exists(path))
        return QUERN_OK;
    TRY(read_small_file(path, MAX_CONFIG, arena, &config, err));
    return in_file(err, path, from_config(arena, config, out, err));
}

/* The one that most models have; of several such the first. */
static enum quern_status most_frequent(const struct model_set *set, struct arena *arena,
                                       struct str *out, struct quern_error *err)
{
    struct str texts[MAX_SOURCES];
    unsigned most = 0;
    *out = (struct str){NULL, 0};
    for (unsigned i = 0; i < set->count; i++) {
        TRY(template_of(&set->views[i], arena, &texts[i], err));
        texts[i] = trimmed(texts[i]);
    }
    for (unsigned i = 0; i < set->count; i++) {
        unsigned count = 0;
        for (unsigned k = i; k < set->count; k++)
            count += texts[i].n > 0 && str_eq(texts[i], texts[k]);
        if (count > most) {
            most = count;
            *out = texts[i];
        }
    }
    return QUERN_OK;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static enum quern_status fail_template(const struct recipe *r, struct quern_error *err)
{
    const char *names[NKNOWN + 1] = {"auto"};
    for (size_t i = 0; i < NKNOWN; i++)
        names[i + 1] = known[i].name;
    const char *near = closest(r->chat_template, names, NKNOWN + 1);
    return in_file(err, r->path,
                   fail(err, QUERN_EUSAGE, "chat-template",
                        "chat_template '%s' is no template%s%s%s" WANT
                        "expected auto, alpaca, chatml, llama3, mistral, exaone, or a Jinja text "
                        "of at least %d characters with a '{'",
                        quoted(r->chat_template).text, near ? " (did you mean '" : "",
                        near ? near : "", near ? "'?)" : "", SHORTEST));
}

enum quern_status chat_template_text(const struct recipe *recipe, const struct model_set *set,
                                     struct arena *arena, struct str *out, struct quern_error *err)
{
    const struct str wish = recipe->chat_template;
    *out = (struct str){NULL, 0};
    if (wish.n == 0)
        return QUERN_OK;
    if (str_is(wish, "auto"))
        return most_frequent(set, arena, out, err);
    for (size_t i = 0; i < NKNOWN; i++)
        if (str_is(wish, known[i].name))
            *out = str_from(known[i].text);
    if (out->p)
        return QUERN_OK;
    if (wish.n < SHORTEST || !str_has(wish, "{"))
        return fail_template(recipe, err);
    *out = wish;
    return QUERN_OK;
}

/* ---- what differs ---------------------------------------------------------------------------- */

enum quern_status chat_template_notes(const struct recipe *r, const struct model_set *set,
                                      struct arena *arena, struct plan *p, struct quern_error *err)
{
    struct str texts[MAX_SOURCES] = {
        {NULL, 0}
    };
    unsigned of = set->donor;
    for (unsigned i = 0; i < set->count; i++)
        if (template_of(&set->views[i], arena, &texts[i], NULL) != QUERN_OK)
            texts[i] = (struct str){NULL, 0}; /* a merge does not fail for it */
    struct str first = texts[of];
    for (unsigned i = 0; i < set->count && first.n == 0; i++) {
        first = texts[i];
        of = i;
    }
    for (unsigned i = 0; i < set->count; i++)
        if (texts[i].n > 0 && !str_eq(trimmed(texts[i]), trimmed(first)))
            TRY(plan_note(p, err, "the chat template of %s is not that of %s (%s)%s",
                          ref_name(&r->models[i].ref).text, ref_name(&r->models[of].ref).text,
                          text_difference(texts[i], first).text,
                          r->chat_template.n == 0 && of == set->donor
                              ? "; the output gets the latter (chat_template in the recipe chooses)"
                              : ""));
    return QUERN_OK;
}
