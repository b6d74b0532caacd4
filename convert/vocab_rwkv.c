/* vocab_rwkv.c - tokenizer keys from the vocabulary file of RWKV World. */
#include <inttypes.h>
#include <stdio.h>

#include "convert/vocab_job.h"
#include "core/io.h"

#define MAX_RWKV_BYTES (UINT64_C(1) << 27)

/* ---- a Python literal into bytes ------------------------------------------------------------ */

struct literal {
    const char *p, *end;
    char *to; /* bytes so far are [from, to) */
    bool is_bytes;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A code point as UTF-8, or in a literal of bytes a byte. */
static bool put_code(struct literal *l, uint32_t c)
{
    if (l->is_bytes || c < 0x80) {
        *l->to++ = (char)c;
        return c <= 0xFF;
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return false;
    const int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t heads[] = {0, 0xC0, 0xE0, 0xF0};
    *l->to++ = (char)(heads[tail] | c >> (6 * tail));
    for (int i = tail - 1; i >= 0; i--)
        *l->to++ = (char)(0x80 | (c >> (6 * i) & 63));
    return true;
}

static bool hex_escape(struct literal *l, int ndigits)
{
    uint32_t c = 0;
    if (l->end - l->p < ndigits)
        return false;
    for (int i = 0; i < ndigits; i++) {
        const int digit = hex_digit(*l->p++);
        if (digit < 0)
            return false;
        c = c << 4 | (uint32_t)digit;
    }
    return put_code(l, c);
}

static bool octal_escape(struct literal *l, uint32_t c)
{
    for (int i = 0; i < 2 && l->p < l->end && *l->p >= '0' && *l->p <= '7'; i++)
        c = c << 3 | (uint32_t)(*l->p++ - '0');
    return put_code(l, c);
}

/* After a backslash. */
static bool escape(struct literal *l)
{
    static const char names[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    if (l->p == l->end)
        return false;
    const char c = *l->p++;
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        *l->to++ = values[name - names];
        return true;
    }
    if (c == 'x')
        return hex_escape(l, 2);
    if (!l->is_bytes && (c == 'u' || c == 'U'))
        return hex_escape(l, c == 'u' ? 4 : 8);
    return c >= '0' && c <= '7' && octal_escape(l, (uint32_t)(c - '0'));
}

/* 'text', "text", b'bytes'. The result is never longer than the literal. */
static bool read_literal(struct str text, char *to, struct str *out)
{
    struct literal l = {text.p, text.p + text.n, to, false};
    if (l.p < l.end && *l.p == 'b') {
        l.is_bytes = true;
        l.p++;
    }
    if (l.end - l.p < 2 || (*l.p != '\'' && *l.p != '"') || l.end[-1] != *l.p)
        return false;
    const char quote = *l.p++;
    l.end--;
    while (l.p < l.end) {
        const char c = *l.p++;
        if (c == '\\' ? !escape(&l) : c == quote)
            return false;
        if (c != '\\')
            *l.to++ = c;
    }
    *out = (struct str){to, (size_t)(l.to - to)};
    return true;
}

/* ---- bytes as Python prints them ------------------------------------------------------------ */

static size_t print_byte(uint8_t c, char quote, char out[5])
{
    static const char escaped[] = {'\t', '\n', '\r', '\\'};
    if (memchr(escaped, c, sizeof escaped) || c == (uint8_t)quote) {
        out[0] = '\\';
        out[1] = c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : (char)c;
        return 2;
    }
    if (c >= 0x20 && c < 0x7F) {
        out[0] = (char)c;
        return 1;
    }
    return (size_t)snprintf(out, 5, "\\x%02x", c);
}

static bool print_bytes(struct arena *arena, struct str *s)
{
    const bool single = s->n && memchr(s->p, '\'', s->n), twice = s->n && memchr(s->p, '"', s->n);
    char *p = arena_alloc(arena, s->n * 4 + 1);
    size_t n = 0;
    for (size_t i = 0; p && i < s->n; i++)
        n += print_byte((uint8_t)s->p[i], single && !twice ? '"' : '\'', p + n);
    *s = (struct str){p, n};
    return p != NULL;
}

/* ---- the file ------------------------------------------------------------------------------- */

/* `258 'text' 4`: id, literal, length in bytes. The id is the number of the line. */
static enum quern_status read_line(struct vocab_job *j, struct str line, struct str *token)
{
    uint64_t nbytes;
    char *room = arena_alloc(&j->arena, line.n + 1);
    if (!room)
        return fail_memory(j->err, line.n);
    while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' '))
        line.n--;
    const char *first = line.n ? memchr(line.p, ' ', line.n) : NULL;
    const char *last = line.n ? memrchr(line.p, ' ', line.n) : NULL;
    if (!first || last <= first ||
        !str_to_u64((struct str){last + 1, (size_t)(line.p + line.n - last - 1)}, &nbytes) ||
        !read_literal((struct str){first + 1, (size_t)(last - first - 1)}, room, token))
        return fail(j->err, QUERN_EFORMAT, "vocab",
                    "the line '%s' is no token" WANT
                    "expected a number, a Python literal and its length",
                    quoted(line).text);
    if (token->n != nbytes)
        return fail(j->err, QUERN_EFORMAT, "vocab",
                    "the token of line '%s' has %zu bytes, not %" PRIu64, quoted(line).text,
                    token->n, nbytes);
    return print_bytes(&j->arena, token) ? QUERN_OK : fail_memory(j->err, token->n * 4);
}

static enum quern_status list_lines(struct vocab_job *j, struct str text)
{
    uint64_t nlines = 0;
    for (size_t i = 0; i < text.n; i++)
        nlines += text.p[i] == '\n';
    nlines += text.n && text.p[text.n - 1] != '\n';
    const uint64_t n = job_vocab_size(j, 65536);
    if (nlines + 1 > n)
        return fail(j->err, QUERN_EUNSUPPORTED, "vocab",
                    "it has %" PRIu64 " tokens" WANT "the model has room for %" PRIu64, nlines + 1,
                    n);
    TRY(token_list_init(&j->list, &j->arena, n, nlines + 1, j->err));
    j->list.items[0] = (struct listed_token){STR("<s>"), 0, TYPE_CONTROL};
    const char *at = text.p, *const end = text.p + text.n;
    for (uint32_t i = 1; i <= nlines; i++) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end ? line_end : end;
        j->list.items[i] = (struct listed_token){.type = TYPE_NORMAL};
        TRY(read_line(j, (struct str){at, (size_t)(line_end - at)}, &j->list.items[i].text));
        at = line_end + 1;
    }
    return QUERN_OK;
}

/* Two line ends end a turn; the first token is both beginning and end. */
static enum quern_status put_special(struct vocab_job *j)
{
    struct special_ids s;
    enum quern_status status =
        special_ids_find(&s, j->ask->config, &j->tc, j->json, UINT64_MAX, j->err);
    if (status == QUERN_OK && !s.has_template) {
        s.has_template = true;
        s.template = STR("rwkv-world"); /* llama.cpp's own, by its name */
    }
    special_ids_set(&s, SPECIAL_EOT, 261);
    special_ids_override(&s, SPECIAL_BOS, 0);
    special_ids_override(&s, SPECIAL_EOS, 0);
    if (status == QUERN_OK)
        status = job_put(j, special_ids_put(&s, j->metas));
    special_ids_close(&s);
    return status;
}

enum quern_status vocab_rwkv(struct vocab_job *j, const struct folder_file *file)
{
    struct str text;
    TRY(folder_read(file, MAX_RWKV_BYTES, &j->arena, &text, j->err));
    TRY(in_file(j->err, file->path, list_lines(j, text)));
    TRY(job_put_list(j, "rwkv", NULL, false));
    return put_special(j);
}
