/* keys.c - values of config.json as keys of a GGUF, by rule. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "conversion.h"
#include "core/yaml.h"
#include "meta_array.h"

/* ---- values of config.json ----------------------------------------------------------------------
 */

const struct json *hparam(const struct conversion *c, const char *names)
{
    while (names && *names) {
        char name[96];
        const size_t n = strcspn(names, "|");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        const bool ignored = c->arch->ignores_head_dim && strcmp(name, "head_dim") == 0;
        const struct json *v = ignored ? NULL : hf_get(&c->config, name);
        if (v)
            return v;
        names += n + (names[n] == '|');
    }
    return NULL;
}

bool hparam_u64(const struct conversion *c, const char *names, uint64_t *out)
{
    return json_u64(hparam(c, names), out);
}

bool hparam_f64(const struct conversion *c, const char *names, double *out)
{
    return json_f64(hparam(c, names), out);
}

static enum quern_status list_of(const struct conversion *c, const struct json *v,
                                 struct key_value *out, struct quern_error *err)
{
    const uint64_t n = json_count(v);
    double *numbers = ARENA_NEW(&c->plan->arena, double, n + 1);
    if (!numbers)
        return fail_memory(err, n * sizeof *numbers);
    uint64_t i = 0;
    for (const struct json *item = json_first(v); item; item = json_next(item))
        if (!json_f64(item, &numbers[i++]))
            return QUERN_OK;
    *out =
        (struct key_value){.kind = n ? VALUE_NUMBERS : VALUE_NONE, .numbers = numbers, .count = n};
    return QUERN_OK;
}

static enum quern_status value_of(const struct conversion *c, const struct json *v,
                                  struct key_value *out, struct quern_error *err)
{
    if (json_f64(v, &out->number))
        out->kind = VALUE_NUMBER;
    else if (json_bool(v, &out->truth))
        out->kind = VALUE_BOOL;
    else if (json_text(v, &out->text))
        out->kind = VALUE_TEXT;
    else if (json_is_array(v))
        return list_of(c, v, out, err);
    return QUERN_OK;
}

/* ---- rules
 * --------------------------------------------------------------------------------------- */

static enum quern_status bad_value(const struct conversion *c, const struct key_rule *r,
                                   const char *expected, struct quern_error *err)
{
    return in_file(err, c->config.path,
                   fail(err, QUERN_EFORMAT, "hparam",
                        "%s has a value of another kind" WANT "expected %s for %s",
                        r->from ? r->from : "it", expected, r->key));
}

static enum quern_status put_list(struct conversion *c, const struct key_rule *r, const char *key,
                                  const struct key_value *v, struct quern_error *err)
{
    const bool bools = v->kind == VALUE_BOOLS;
    const size_t width = bools ? 1 : 4;
    uint8_t *p = arena_alloc(&c->plan->arena, v->count * width);
    if (!p)
        return fail_memory(err, v->count * width);
    for (uint64_t i = 0; i < v->count; i++) {
        if (bools) {
            p[i] = v->numbers[i] != 0.0;
            continue;
        }
        if (!(fabs(v->numbers[i]) < 0x1p31) || v->numbers[i] != floor(v->numbers[i]))
            return bad_value(c, r, "whole numbers", err);
        const uint32_t n = (uint32_t)(int32_t)v->numbers[i];
        for (int k = 0; k < 4; k++)
            p[i * 4 + (size_t)k] = (uint8_t)(n >> (8 * k));
    }
    const struct meta m = {
        .key = str_from(key),
        .value = {(const char *)p, v->count * width},
        .count = v->count,
        .type = META_ARRAY,
        .item_type = bools ? META_BOOL : META_I32
    };
    return meta_list_put(&c->keys, m) ? QUERN_OK : fail_memory(err, m.value.n);
}

static enum quern_status put_value(struct conversion *c, const struct key_rule *r, const char *key,
                                   const struct key_value *v, struct quern_error *err)
{
    bool ok = true;
    if (v->kind == VALUE_NUMBERS || v->kind == VALUE_BOOLS)
        return put_list(c, r, key, v, err);
    if (v->kind == VALUE_TEXTS)
        return meta_list_set_strings(&c->keys, key, v->texts, v->count)
                   ? QUERN_OK
                   : fail_memory(err, v->count * sizeof *v->texts);
    switch (r->type) {
    case META_U32:
        if (v->kind != VALUE_NUMBER || !(v->number >= 0.0 && v->number < 0x1p32) ||
            v->number != floor(v->number))
            return bad_value(c, r, "a whole number that is not negative", err);
        ok = meta_list_put_u32(&c->keys, key, (uint32_t)v->number);
        break;
    case META_F32:
        if (v->kind != VALUE_NUMBER)
            return bad_value(c, r, "a number", err);
        ok = meta_list_put_f32(&c->keys, key, (float)v->number);
        break;
    case META_BOOL:
        if (v->kind != VALUE_BOOL)
            return bad_value(c, r, "true or false", err);
        ok = meta_list_put_bool(&c->keys, key, v->truth);
        break;
    case META_STRING:
        if (v->kind != VALUE_TEXT)
            return bad_value(c, r, "a text", err);
        ok = meta_list_put_string(&c->keys, key, v->text);
        break;
    default:
        return bad_value(c, r, "a list", err);
    }
    return ok ? QUERN_OK : fail_memory(err, sizeof(struct meta));
}

static bool is_zero(const struct key_value *v)
{
    return (v->kind == VALUE_NUMBER && v->number == 0.0) || (v->kind == VALUE_BOOL && !v->truth);
}

static struct key_value other_value(const char *text)
{
    double number;
    if (decimal_number(str_from(text), &number))
        return (struct key_value){.kind = VALUE_NUMBER, .number = number};
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return (struct key_value){.kind = VALUE_BOOL, .truth = text[0] == 't'};
    return (struct key_value){.kind = VALUE_TEXT, .text = str_from(text)};
}

static enum quern_status put_key(struct conversion *c, const struct key_rule *r,
                                 struct quern_error *err)
{
    struct key_value v = {0};
    if (r->make)
        TRY(r->make(c, &v, err));
    else
        TRY(value_of(c, hparam(c, r->from), &v, err));
    if (v.kind == VALUE_NONE && r->other)
        v = other_value(r->other);
    if (v.kind == VALUE_NONE && r->required)
        return in_file(err, c->config.path,
                       fail(err, QUERN_EFORMAT, "hparam",
                            "it has no %s" WANT "expected one, for %s", r->from, r->key));
    if (v.kind == VALUE_NONE || (r->unless_zero && is_zero(&v)))
        return QUERN_OK;
    const bool whole =
        strncmp(r->key, "general.", 8) == 0 || strncmp(r->key, "tokenizer.", 10) == 0;
    const char *key =
        whole ? r->key : arena_printf(&c->plan->arena, "%s.%s", c->arch->name, r->key);
    return key ? put_value(c, r, key, &v, err) : fail_memory(err, strlen(r->key));
}

enum quern_status convert_put_keys(struct conversion *c, const struct key_rule *rules,
                                   struct quern_error *err)
{
    for (; rules->key; rules++)
        TRY(put_key(c, rules, err));
    return QUERN_OK;
}

/* llama.cpp's numbers of what convert_hf_to_gguf.py writes. */
uint32_t convert_file_type(const struct conversion *c)
{
    if (c->kept != DTYPE_COUNT && c->weights != DTYPE_Q8_0)
        return c->kept == DTYPE_NVFP4 ? 39 : 38;
    switch (c->weights) {
    case DTYPE_F32:
        return 0;
    case DTYPE_F16:
        return 1;
    case DTYPE_Q8_0:
        return 7;
    default:
        return 32;
    }
}
