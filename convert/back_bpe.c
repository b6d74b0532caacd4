/* back_bpe.c - tokenizer.json of a vocabulary of byte pairs, vocab.txt of WordPiece. */
#include "back_vocab.h"

static enum quern_status put_merges(const struct back_vocab *v, struct json_writer *w,
                                    struct quern_error *err)
{
    const struct meta *k = model_meta(v->b->model, "tokenizer.ggml.merges");
    json_key(w, "merges");
    json_open(w, '[');
    if (k && (k->type != META_ARRAY || k->item_type != META_STRING))
        return fail(err, QUERN_EFORMAT, "kv-type", "tokenizer.ggml.merges are no strings");
    const char *at = k ? k->value.p : NULL;
    for (uint64_t i = 0; k && i < k->count; i++)
        json_put_str(w, meta_next_string(&at));
    json_close(w, ']');
    return QUERN_OK;
}

static enum quern_status write_json(struct back_vocab *v, const struct back_pre *pre,
                                    struct json_writer *w, struct quern_error *err)
{
    back_json_begin(v, w);
    json_key(w, "normalizer");
    json_raw(w, str_from(pre->normalizer));
    json_raw(w, STR(",\n\"pre_tokenizer\":"));
    json_raw(w, str_from(pre->pre_tokenizer));
    w->comma = true;
    back_json_post(v, w, true);
    json_raw(w, STR(",\n\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                    "\"trim_offsets\":true,\"use_regex\":true},\n\"model\":"));
    w->comma = false;
    json_open(w, '{');
    json_raw(w, STR("\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                    "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                    "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":"));
    json_put_bool(w, pre->ignore_merges);
    back_json_vocab(v, w);
    TRY(put_merges(v, w, err));
    json_close(w, '}');
    return back_json_end(v, w, err);
}

enum quern_status back_bpe_files(struct back_vocab *v, const struct back_pre *pre,
                                 struct quern_error *err)
{
    struct json_writer w = {0};
    const enum quern_status s = write_json(v, pre, &w, err);
    json_writer_free(&w);
    return s;
}

/* ---- WordPiece --------------------------------------------------------------------------------
 */

/* A line for each token; what begins no word has ## in front. */
enum quern_status back_wordpiece_files(struct back_vocab *v, struct quern_error *err)
{
    static const struct str begin = STR("\xE2\x96\x81");
    size_t nbytes = 1, n = 0;
    for (uint32_t i = 0; i < v->n; i++)
        nbytes += v->items[i].text.n + 3;
    char *text = arena_alloc(&v->arena, nbytes);
    if (!text)
        return fail_memory(err, nbytes);
    for (uint32_t i = 0; i < v->nadded_end; i++) {
        struct str t = v->items[i].text;
        const bool plain = v->items[i].type == TYPE_CONTROL || v->items[i].type == TYPE_UNUSED;
        if (!plain && str_starts(t, begin.p)) {
            t = (struct str){t.p + begin.n, t.n - begin.n};
        } else if (!plain) {
            text[n++] = '#';
            text[n++] = '#';
        }
        if (memchr(t.p, '\n', t.n))
            return plan_note(v->b->plan, err, "vocab.txt is not written: a token has a line end");
        memcpy(text + n, t.p, t.n);
        n += t.n;
        text[n++] = '\n';
    }
    return back_add_text(v, "vocab.txt", (struct str){text, n}, err);
}
