/* template_files.c - collect chat templates and write them. */
#include "convert/template_files.h"

#include <stdio.h>
#include <stdlib.h>

#include "convert/meta_array.h"
#include "core/io.h"
#include "pipeline/text_difference.h"

#define MAX_TEMPLATE_BYTES (UINT64_C(1) << 24)

/* Python opens text files with universal line ends: \r\n and \r become \n. */
static void plain_line_ends(struct str *text)
{
    char *to = (char *)text->p;
    const char *from = text->p, *end = text->p + text->n;
    while (from < end) {
        if (*from == '\r') {
            *to++ = '\n';
            from += from + 1 < end && from[1] == '\n' ? 2 : 1;
        } else {
            *to++ = *from++;
        }
    }
    text->n = (size_t)(to - text->p);
}

static enum quern_status read_template(struct arena *arena, const struct folder_file *file,
                                       struct str *out, struct quern_error *err)
{
    size_t bad;
    TRY(folder_read(file, MAX_TEMPLATE_BYTES, arena, out, err));
    if (!utf8_valid(*out, &bad))
        return in_file(err, file->path,
                       at_offset(err, bad, fail(err, QUERN_EFORMAT, "utf8", "it is no UTF-8")));
    plain_line_ends(out);
    return QUERN_OK;
}

static enum quern_status more_templates(struct special_ids *s, const struct folder *f,
                                        struct str first, struct quern_error *err)
{
    static const char sub[] = "additional_chat_templates";
    const char *names[MAX_CHAT_TEMPLATES - 1];
    size_t count;
    TRY(folder_list(f, sub, ".jinja", &s->arena, names, MAX_CHAT_TEMPLATES - 1, &count, err));
    s->template = first;
    if (count == 0)
        return QUERN_OK;
    s->templates = ARENA_NEW(&s->arena, struct chat_template, count + 1);
    if (!s->templates)
        return fail_memory(err, (count + 1) * sizeof *s->templates);
    s->templates[s->ntemplates++] = (struct chat_template){STR("default"), first};
    for (size_t i = 0; i < count; i++) {
        struct chat_template *const t = &s->templates[s->ntemplates++];
        const char *name = path_join(&s->arena, sub, names[i]);
        struct folder_file file;
        bool found;
        if (!name)
            return fail_memory(err, strlen(names[i]));
        TRY(folder_find(f, name, &s->arena, &found, &file, err));
        TRY(read_template(&s->arena, &file, &t->text, err));
        t->name = (struct str){names[i], strlen(names[i]) - strlen(".jinja")};
    }
    return QUERN_OK;
}

/* [{"name": "default", "template": "..."}] */
static enum quern_status named_templates(struct special_ids *s, const struct json *list,
                                         struct quern_error *err)
{
    const size_t n = json_count(list);
    s->templates = ARENA_NEW(&s->arena, struct chat_template, n + 1);
    if (!s->templates)
        return fail_memory(err, n * sizeof *s->templates);
    for (const struct json *item = json_first(list); item; item = json_next(item)) {
        struct str name, text;
        if (s->ntemplates == MAX_CHAT_TEMPLATES || !json_text(json_get(item, "name"), &name) ||
            !json_text(json_get(item, "template"), &text))
            continue;
        struct chat_template *t = &s->templates[s->ntemplates++];
        t->name = arena_str(&s->arena, name);
        t->text = arena_str(&s->arena, text);
        if (!t->name.p || !t->text.p)
            return fail_memory(err, name.n + text.n);
    }
    s->has_template = s->ntemplates > 0;
    return QUERN_OK;
}

/* {"chat_template": "..."}, or a list of templates with names. */
static enum quern_status template_json(struct special_ids *s, const struct folder_file *file,
                                       struct quern_error *err)
{
    struct str text, template;
    struct json *root;
    TRY(folder_read(file, JSON_MAX_BYTES, &s->arena, &text, err));
    TRY(in_file(err, file->path, json_parse(text, &root, err)));
    enum quern_status status = QUERN_OK;
    if (json_text(json_get(root, "chat_template"), &template)) {
        s->template = arena_str(&s->arena, template);
        s->has_template = s->template.p != NULL;
        if (!s->has_template)
            status = fail_memory(err, template.n);
    } else {
        status = named_templates(s, json_get(root, "chat_template"), err);
    }
    json_free(root);
    return status;
}

/* The one that is used when nothing says which. */
static struct str usual_template(const struct special_ids *s)
{
    for (uint32_t i = 0; i < s->ntemplates; i++)
        if (s->templates[i].name.p && str_is(s->templates[i].name, "default"))
            return s->templates[i].text;
    return s->ntemplates ? (struct str){NULL, 0} : s->template;
}

/* transformers takes the file, the converter of llama.cpp the configuration. */
static enum quern_status find_other(struct special_ids *s, const struct folder *f,
                                    struct quern_error *err)
{
    const struct str used = usual_template(s);
    struct folder_file file;
    struct str text;
    bool found;
    TRY(folder_find(f, "chat_template.jinja", &s->arena, &found, &file, err));
    if (!found || !used.p)
        return QUERN_OK;
    TRY(read_template(&s->arena, &file, &text, err));
    if (!str_eq(text, used))
        s->other_template = text;
    return QUERN_OK;
}

enum quern_status templates_note(const struct special_ids *s, struct plan *p,
                                 struct quern_error *err)
{
    if (!s->other_template.p)
        return QUERN_OK;
    return plan_note(p, err,
                     "tokenizer_config.json and chat_template.jinja have different chat templates "
                     "(%s); the first is taken, as llama.cpp's converter does",
                     text_difference(usual_template(s), s->other_template).text);
}

enum quern_status templates_find(struct special_ids *s, const struct folder *f,
                                 const struct tokenizer_config *tc, struct quern_error *err)
{
    struct folder_file file;
    struct str text;
    bool found;
    if (tc->has_template) {
        s->has_template = tc->template.p || tc->ntemplates;
        s->template = tc->template;
        s->templates = tc->templates;
        s->ntemplates = tc->ntemplates;
        return find_other(s, f, err);
    }
    TRY(folder_find(f, "chat_template.jinja", &s->arena, &found, &file, err));
    if (found) {
        s->has_template = true;
        TRY(read_template(&s->arena, &file, &text, err));
        return more_templates(s, f, text, err);
    }
    TRY(folder_find(f, "chat_template.json", &s->arena, &found, &file, err));
    return found ? template_json(s, &file, err) : QUERN_OK;
}

/* ---- keys ----------------------------------------------------------------------------------- */

#define MAX_NAME 64

/* Letters and digits; anything else becomes '_', as in the converter of llama.cpp. */
static bool plain_name(struct str name, char out[MAX_NAME])
{
    size_t n = 0;
    for (size_t i = 0; i < name.n && n + 1 < MAX_NAME; i++) {
        const unsigned char c = (unsigned char)name.p[i];
        if ((c & 0xC0) == 0x80)
            continue; /* the rest of a character that is '_' already */
        const bool plain =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        out[n++] = plain ? (char)c : '_';
    }
    out[n] = '\0';
    return n > 0;
}

static bool put_one(const struct chat_template *t, const char *name, struct meta_list *metas)
{
    char key[sizeof "tokenizer.chat_template." + MAX_NAME];
    snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
    return meta_list_put_string(metas, key, t->text);
}

bool templates_put(const struct special_ids *s, struct meta_list *metas)
{
    static const char key[] = "tokenizer.chat_template";
    if (!s->has_template)
        return true;
    if (s->ntemplates == 0)
        return meta_list_put_string(metas, key, s->template);
    char(*names)[MAX_NAME] = calloc(s->ntemplates, sizeof *names);
    struct str *listed = calloc(s->ntemplates, sizeof *listed), usual = {0};
    bool ok = names && listed;
    uint64_t n = 0;
    for (uint32_t i = 0; ok && i < s->ntemplates; i++) {
        const struct chat_template *t = &s->templates[i];
        if (!plain_name(t->name, names[i]) || !t->text.p)
            continue;
        if (strcmp(names[i], "default") == 0) {
            usual = t->text;
            continue;
        }
        ok = put_one(t, names[i], metas);
        uint64_t same = 0;
        while (same < n && !str_is(listed[same], names[i]))
            same++;
        listed[same] = str_from(names[i]);
        n += same == n;
    }
    ok = ok && meta_list_set_strings(metas, "tokenizer.chat_templates", listed, n) &&
         meta_list_put_string(metas, key, usual);
    free(names);
    free(listed);
    return ok;
}
