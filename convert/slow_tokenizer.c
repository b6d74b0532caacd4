/* slow_tokenizer.c - write the tokenizer.json that the older files stand for, and read that. */
#include "convert/slow_tokenizer.h"

#include "convert/merge_list.h"
#include "core/io.h"
#include "core/json.h"

#define MAX_VOCAB_BYTES (UINT64_C(1) << 27)

/* ---- pieces of the text --------------------------------------------------------------------- */

static void put_pair(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_put_text(w, text);
}

static void put_flag(struct json_writer *w, const char *key, bool v)
{
    json_key(w, key);
    json_put_bool(w, v);
}

/* {"type": TYPE; the object is closed by the caller. */
static void open_type(struct json_writer *w, const char *type)
{
    json_open(w, '{');
    put_pair(w, "type", type);
}

static void put_added(struct json_writer *w, uint64_t id, struct str text, bool special)
{
    json_open(w, '{');
    json_key(w, "id");
    json_put_u64(w, id);
    json_key(w, "content");
    json_put_str(w, text);
    put_flag(w, "special", special);
    put_flag(w, "normalized", false);
    json_close(w, '}');
}

static void put_byte_level(struct json_writer *w, bool regex)
{
    open_type(w, "ByteLevel");
    put_flag(w, "add_prefix_space", false);
    put_flag(w, "use_regex", regex);
    json_close(w, '}');
}

static void put_special_token(struct json_writer *w, struct str text)
{
    json_open(w, '{');
    json_key(w, "SpecialToken");
    json_open(w, '{');
    json_key(w, "id");
    json_put_str(w, text);
    json_close(w, '}');
    json_close(w, '}');
}

/* ---- WordPiece ------------------------------------------------------------------------------ */

static struct str special_or(const struct tokenizer_config *tc, enum special which,
                             const char *otherwise)
{
    return tc->special[which].text.n ? tc->special[which].text : str_from(otherwise);
}

static void put_bert_around(struct json_writer *w, const struct tokenizer_config *tc)
{
    json_key(w, "post_processor");
    open_type(w, "TemplateProcessing");
    json_key(w, "single");
    json_open(w, '[');
    put_special_token(w, special_or(tc, SPECIAL_CLS, "[CLS]"));
    json_raw(w, STR(",{\"Sequence\":{\"id\":\"A\"}}"));
    put_special_token(w, special_or(tc, SPECIAL_SEP, "[SEP]"));
    json_close(w, ']');
    json_close(w, '}');
}

/* The line break is no part of a token, blanks are. */
static void put_lines(struct json_writer *w, struct str text)
{
    uint64_t id = 0;
    json_open(w, '{');
    for (size_t at = 0; at < text.n; id++) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        size_t n = end ? (size_t)(end - text.p) - at : text.n - at;
        const size_t next = at + n + 1;
        n -= n && text.p[at + n - 1] == '\r';
        json_key_str(w, (struct str){text.p + at, n});
        json_put_u64(w, id);
        at = next;
    }
    json_close(w, '}');
}

static void write_wordpiece(struct json_writer *w, const struct tokenizer_config *tc,
                            struct str lines)
{
    json_open(w, '{');
    json_key(w, "normalizer");
    open_type(w, "BertNormalizer");
    put_flag(w, "lowercase", tc->do_lower_case != FLAG_FALSE);
    json_close(w, '}');
    json_key(w, "pre_tokenizer");
    open_type(w, "BertPreTokenizer");
    json_close(w, '}');
    put_bert_around(w, tc);
    json_key(w, "model");
    open_type(w, "WordPiece");
    json_key(w, "unk_token");
    json_put_str(w, special_or(tc, SPECIAL_UNK, "[UNK]"));
    json_key(w, "vocab");
    put_lines(w, lines);
    json_close(w, '}');
    json_close(w, '}');
}

/* ---- byte pairs ----------------------------------------------------------------------------- */

#define QWEN2_WORDS                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                                      \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static void put_words(struct json_writer *w, bool qwen2)
{
    json_key(w, "pre_tokenizer");
    if (!qwen2) {
        put_byte_level(w, true);
        return;
    }
    open_type(w, "Sequence");
    json_key(w, "pretokenizers");
    json_open(w, '[');
    open_type(w, "Split");
    json_key(w, "pattern");
    json_open(w, '{');
    put_pair(w, "Regex", QWEN2_WORDS);
    json_close(w, '}');
    put_pair(w, "behavior", "Isolated");
    json_close(w, '}');
    put_byte_level(w, false);
    json_close(w, ']');
    json_close(w, '}');
}

/* vocab is the text of vocab.json, a JSON object. */
static void write_bpe(struct json_writer *w, const struct tokenizer_config *tc, struct str vocab,
                      const struct merge_list *merges)
{
    json_open(w, '{');
    json_key(w, "added_tokens");
    json_open(w, '[');
    for (uint32_t i = 0; i < tc->nadded; i++)
        put_added(w, tc->added[i].id, tc->added[i].text, tc->added[i].special);
    json_close(w, ']');
    put_words(w, str_starts(tc->tokenizer_class, "Qwen2"));
    json_key(w, "decoder");
    put_byte_level(w, true);
    json_key(w, "model");
    open_type(w, "BPE");
    json_key(w, "merges");
    json_open(w, '[');
    for (uint32_t i = 0; i < merges->n; i++)
        json_put_str(w, merges->texts[i]);
    json_close(w, ']');
    json_key(w, "vocab");
    json_raw(w, vocab);
    json_close(w, '}');
    json_close(w, '}');
}

/* ---- the files ------------------------------------------------------------------------------ */

static enum quern_status parse(struct json_writer *w, const char *path, struct tokenizer *t,
                               struct quern_error *err)
{
    const struct str text = json_written(w);
    if (!text.p)
        return in_file(err, path, fail_memory(err, w->n));
    return tokenizer_parse(text, path, true, t, err);
}

static enum quern_status from_lines(const struct folder_file *file,
                                    const struct tokenizer_config *tc, struct tokenizer *t,
                                    struct quern_error *err)
{
    struct arena arena = {0};
    struct json_writer w = {0};
    struct str lines;
    size_t bad;
    enum quern_status s = folder_read(file, MAX_VOCAB_BYTES, &arena, &lines, err);
    if (s == QUERN_OK && !utf8_valid(lines, &bad))
        s = in_file(err, file->path,
                    at_offset(err, bad, fail(err, QUERN_EFORMAT, "utf8", "it is no UTF-8")));
    if (s == QUERN_OK) {
        write_wordpiece(&w, tc, lines);
        s = parse(&w, file->path, t, err);
    }
    json_writer_free(&w);
    arena_free(&arena);
    return s;
}

static enum quern_status from_vocab_json(const struct folder *f, const struct folder_file *file,
                                         const struct tokenizer_config *tc, struct tokenizer *t,
                                         struct quern_error *err)
{
    struct arena arena = {0};
    struct json_writer w = {0};
    struct merge_list merges = {0};
    struct str vocab;
    enum quern_status s = folder_read(file, MAX_VOCAB_BYTES, &arena, &vocab, err);
    if (s == QUERN_OK)
        s = merge_list_read(&merges, f, NULL, err);
    if (s == QUERN_OK) {
        write_bpe(&w, tc, vocab, &merges);
        s = parse(&w, file->path, t, err);
    }
    merge_list_close(&merges);
    json_writer_free(&w);
    arena_free(&arena);
    return s;
}

enum quern_status slow_tokenizer_read(const struct folder *f, const struct tokenizer_config *tc,
                                      struct tokenizer *t, bool *found, struct quern_error *err)
{
    struct arena arena = {0};
    struct folder_file lines, vocab, merges;
    bool has_lines = false, has_vocab = false, has_merges = false;
    *found = false;
    enum quern_status s = folder_find(f, "vocab.txt", &arena, &has_lines, &lines, err);
    if (s == QUERN_OK)
        s = folder_find(f, "vocab.json", &arena, &has_vocab, &vocab, err);
    if (s == QUERN_OK)
        s = folder_find(f, "merges.txt", &arena, &has_merges, &merges, err);
    if (s == QUERN_OK && has_lines)
        s = from_lines(&lines, tc, t, err);
    else if (s == QUERN_OK && has_vocab && has_merges)
        s = from_vocab_json(f, &vocab, tc, t, err);
    *found = s == QUERN_OK && (has_lines || (has_vocab && has_merges));
    arena_free(&arena);
    return s;
}
