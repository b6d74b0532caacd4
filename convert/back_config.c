/* back_config.c - config.json from the keys of a GGUF. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "back_class.h"
#include "core/yaml.h"
#include "pipeline/carry.h"
#include "pipeline/name_list.h"
#include "quant/codec.h"

/* ---- what the GGUF says -----------------------------------------------------------------------
 */

const struct meta *back_meta(const struct back *b, const char *key)
{
    char whole[256];
    const int n = snprintf(whole, sizeof whole, "%.*s.%s", STR_ARG(b->name), key);
    return n > 0 && (size_t)n < sizeof whole ? model_meta(b->model, whole) : NULL;
}

bool back_u64(const struct back *b, const char *key, uint64_t *out)
{
    const struct meta *k = back_meta(b, key);
    return k && meta_u64(k, out);
}

bool back_has(const struct back *b, const char *tensor)
{
    return model_find(b->model, str_from(tensor)) != NULL;
}

double decimal_of_float(float f)
{
    double d = (double)f;
    for (int digits = 1; digits <= 9; digits++) {
        char text[32];
        double short_one;
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (decimal_number(str_from(text), &short_one) && (float)short_one == f)
            return short_one;
    }
    return d;
}

static double float_at(const char *p)
{
    uint32_t bits = 0;
    float f;
    for (int i = 0; i < 4; i++)
        bits |= (uint32_t)(uint8_t)p[i] << (8 * i);
    memcpy(&f, &bits, sizeof f);
    return decimal_of_float(f);
}

bool back_f32(const struct back *b, const char *key, double *out)
{
    const struct meta *k = back_meta(b, key);
    if (!k || k->type != META_F32)
        return false;
    *out = float_at(k->value.p);
    return true;
}

enum quern_status back_floats(struct back *b, const char *tensor, uint64_t n, float *out,
                              struct quern_error *err)
{
    const struct tensor *t = model_find(b->model, str_from(tensor));
    if (!t || t->nelems != n || t->dtype != DTYPE_F32)
        return in_tensor(err, str_from(tensor),
                         fail(err, QUERN_EFORMAT, "shape",
                              "it is no vector of %" PRIu64 " F32 values" WANT
                              "expected half of the dimensions that rotate",
                              n));
    TRY(model_pread(b->model, t->file, out, t->nbytes, t->offset, err));
    codec_kernels()->decode[DTYPE_F32](out, out, n);
    return QUERN_OK;
}

/* ---- values -----------------------------------------------------------------------------------
 */

void back_member(struct json_writer *w, const char *key)
{
    if (w->comma)
        json_raw(w, STR(","));
    w->comma = false;
    json_raw(w, STR("\n  "));
    json_key(w, key);
    json_raw(w, STR(" "));
}

void back_float(struct json_writer *w, double v)
{
    char text[32];
    if (v != floor(v) || fabs(v) >= 1e15) {
        json_put_f64(w, v);
        return;
    }
    if (w->comma)
        json_raw(w, STR(","));
    snprintf(text, sizeof text, "%.1f", v);
    json_raw(w, str_from(text));
    w->comma = true;
}

double back_shortest(double about, bool (*hits)(double x, const struct back_aim *aim),
                     const struct back_aim *aim)
{
    for (int digits = 1; digits < 17; digits++) {
        char text[40];
        double x;
        snprintf(text, sizeof text, "%.*g", digits, about);
        if (decimal_number(str_from(text), &x) && hits(x, aim))
            return x;
    }
    return about;
}

void back_put_f64(struct json_writer *w, const char *key, double v)
{
    back_member(w, key);
    back_float(w, v);
}

void back_put_u64(struct json_writer *w, const char *key, uint64_t v)
{
    back_member(w, key);
    json_put_u64(w, v);
}

void back_put_bool(struct json_writer *w, const char *key, bool v)
{
    back_member(w, key);
    json_put_bool(w, v);
}

/* Of the item at p; false for what has no place in config.json. */
static bool put_item(struct json_writer *w, enum meta_type type, struct str value)
{
    const struct meta one = {.value = value, .type = (uint8_t)type};
    uint64_t n;
    if (meta_u64(&one, &n))
        json_put_u64(w, n);
    else if (type == META_F32)
        back_float(w, float_at(value.p));
    else if (type == META_BOOL)
        json_put_bool(w, value.p[0] != 0);
    else if (type == META_STRING)
        json_put_str(w, value);
    else
        return false;
    return true;
}

void back_sampling(struct json_writer *w, const char *to, const struct meta *k)
{
    const struct meta one = {.value = k->value, .type = k->type};
    if (k->type == META_ARRAY)
        return;
    back_member(w, to);
    if (!put_item(w, one.type, one.value))
        json_put_null(w);
}

/* A number for every layer: fine when it is the same one. */
static bool all_alike(const struct meta *k, size_t width)
{
    for (uint64_t i = 1; i < k->count; i++)
        if (memcmp(k->value.p, k->value.p + i * width, width) != 0)
            return false;
    return k->count > 0;
}

static enum quern_status put_meta(struct json_writer *w, const char *to, const struct meta *k,
                                  struct quern_error *err)
{
    struct str value = k->value;
    enum meta_type type = k->type;
    if (type == META_ARRAY) {
        const size_t width = meta_item_bytes(k->item_type);
        if (width == 0 || !all_alike(k, width))
            return no_way_back(err, "its %s is not the same in every layer", quoted(k->key).text);
        type = k->item_type;
        value.n = width;
    }
    back_member(w, to);
    if (!put_item(w, type, value))
        return no_way_back(err, "its %s is %s", quoted(k->key).text, meta_type_name(type));
    return QUERN_OK;
}

static const struct back_key *row_of(const struct back *b, struct str key)
{
    const size_t n = sizeof b->cls->keys / sizeof *b->cls->keys;
    for (size_t i = 0; i < n && b->cls->keys[i]; i++)
        for (const struct back_key *k = b->cls->keys[i]; k->key; k++)
            if (str_is(key, k->key))
                return k;
    return NULL;
}

/* Keys in the order of the tables; what no table knows is named. */
static enum quern_status put_keys(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const size_t n = sizeof b->cls->keys / sizeof *b->cls->keys;
    struct name_list unknown = {0};
    for (size_t i = 0; i < n && b->cls->keys[i]; i++)
        for (const struct back_key *k = b->cls->keys[i]; k->key; k++) {
            const struct meta *m = back_meta(b, k->key);
            if (m && k->to && row_of(b, str_from(k->key)) == k)
                TRY(put_meta(w, k->to, m, err));
        }
    for (uint32_t i = 0; i < b->model->nmetas; i++) {
        const struct str key = b->model->metas[i].key;
        if (key.n > b->name.n && memcmp(key.p, b->name.p, b->name.n) == 0 &&
            key.p[b->name.n] == '.' &&
            !row_of(b, (struct str){key.p + b->name.n + 1, key.n - b->name.n - 1}))
            name_list_add(&unknown, key);
    }
    if (unknown.count)
        return plan_note(b->plan, err, "config.json has no place for %" PRIu32 " key%s: %s",
                         unknown.count, plural(unknown.count), unknown.text);
    return QUERN_OK;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static void put_token(struct back *b, struct json_writer *w, const char *to, const char *key)
{
    const struct meta *k = model_meta(b->model, key);
    uint64_t id;
    back_member(w, to);
    if (k && meta_u64(k, &id))
        json_put_u64(w, id);
    else
        json_put_null(w);
}

static enum quern_status put_vocabulary(struct back *b, struct json_writer *w,
                                        struct quern_error *err)
{
    const struct tensor *t = model_find(b->model, STR("token_embd.weight"));
    if (!t || t->ndims != 2)
        return fail(err, QUERN_EFORMAT, "missing-tensor",
                    "it has no matrix token_embd.weight" WANT "expected a model with weights");
    back_member(w, "vocab_size");
    json_put_u64(w, t->dims[0]);
    put_token(b, w, "bos_token_id", "tokenizer.ggml.bos_token_id");
    put_token(b, w, "eos_token_id", "tokenizer.ggml.eos_token_id");
    put_token(b, w, "pad_token_id", "tokenizer.ggml.padding_token_id");
    back_member(w, "tie_word_embeddings");
    json_put_bool(w, !back_has(b, "output.weight"));
    return QUERN_OK;
}

static enum quern_status put_all(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const char *dtype = torch_dtype_name(b->dtype);
    json_open(w, '{');
    back_member(w, "architectures");
    json_open(w, '[');
    json_put_text(w, b->cls->hf_class);
    json_close(w, ']');
    back_member(w, "model_type");
    json_put_text(w, b->cls->model_type);
    TRY(put_keys(b, w, err));
    TRY(put_vocabulary(b, w, err));
    if (b->cls->more)
        TRY(b->cls->more(b, w, err));
    if (b->cls->fixed) {
        json_raw(w, STR(",\n  "));
        json_raw(w, str_from(b->cls->fixed));
    }
    if (dtype) {
        back_member(w, "torch_dtype");
        json_put_text(w, dtype);
    }
    json_raw(w, STR("\n"));
    json_close(w, '}');
    json_raw(w, STR("\n"));
    return QUERN_OK;
}

enum quern_status back_config(struct back *b, struct str *out, struct quern_error *err)
{
    struct json_writer w = {.ascii = true};
    enum quern_status s = put_all(b, &w, err);
    const struct str text = json_written(&w);
    if (s == QUERN_OK) {
        *out = text.p ? arena_str(&b->plan->arena, text) : (struct str){NULL, 0};
        s = out->p ? QUERN_OK : fail_memory(err, w.n);
    }
    json_writer_free(&w);
    return s;
}
