/* str.c - compare, check and quote borrowed text. */
#include "safe_text.h"

#include <stdio.h>

int str_cmp(struct str a, struct str b)
{
    const size_t n = a.n < b.n ? a.n : b.n;
    const int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c != 0)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool str_has(struct str s, const char *needle)
{
    return memmem(s.p, s.n, needle, strlen(needle)) != NULL;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    if (s.n == 0 || s.n > 20 || (s.n > 1 && s.p[0] == '0'))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

/* Length of the valid UTF-8 sequence at p, or 0. */
static size_t utf8_step(const unsigned char *p, size_t left)
{
    const unsigned c = p[0];
    if (c < 0x80)
        return 1;
    const size_t n = c >= 0xC2 && c <= 0xDF   ? 2
                     : (c & 0xF0) == 0xE0     ? 3
                     : c >= 0xF0 && c <= 0xF4 ? 4
                                              : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, and beyond U+10FFFF show in the second byte. */
    if ((c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F) || (c == 0xF0 && p[1] < 0x90) ||
        (c == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

bool utf8_valid(struct str s, size_t *at_bad)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        const size_t n = utf8_step(p + i, s.n - i);
        if (n == 0) {
            if (at_bad)
                *at_bad = i;
            return false;
        }
        i += n;
    }
    return true;
}

/* Of a valid sequence of n bytes. */
static uint32_t code_point(const unsigned char *p, size_t n)
{
    if (n == 1)
        return p[0];
    uint32_t c = p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    return c;
}

/* Controls, line ends, marks that turn the direction of writing, and what cannot be seen. */
static bool acts_on_terminal(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        {0,       0x1F   },
        {0x7F,    0x9F   },
        {0xAD,    0xAD   },
        {0x61C,   0x61C  },
        {0x180E,  0x180E },
        {0x200B,  0x200F },
        {0x2028,  0x202E },
        {0x2060,  0x206F },
        {0xFEFF,  0xFEFF },
        {0xFFF9,  0xFFFB },
        {0xE0000, 0xE007F}
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && c >= ranges[i][0]; i++)
        if (c <= ranges[i][1])
            return true;
    return false;
}

size_t next_character(struct str s, size_t at, uint32_t *acts)
{
    const unsigned char *p = (const unsigned char *)s.p + at;
    const size_t n = utf8_step(p, s.n - at);
    const uint32_t c = n ? code_point(p, n) : 0xFFFD;
    *acts = n == 0 || acts_on_terminal(c) ? c : PLAIN_CHARACTER;
    return n ? n : 1;
}

void defuse(char *text)
{
    const struct str s = str_from(text);
    uint32_t acts;
    for (size_t at = 0, n; at < s.n; at += n) {
        n = next_character(s, at, &acts);
        if (acts != PLAIN_CHARACTER)
            memset(text + at, '?', n);
    }
}

size_t str_fit(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* Writes the printable form of s[from..to) at out + used; returns the new length, or SIZE_MAX when
 * it does not fit below max. */
static size_t quote_range(char *out, size_t used, size_t max, struct str s, size_t from, size_t to)
{
    const unsigned char *p = (const unsigned char *)s.p;
    while (from < to) {
        char form[20];
        uint32_t acts;
        const size_t n = next_character(s, from, &acts);
        size_t len = 0;
        if (acts != PLAIN_CHARACTER) {
            for (size_t i = 0; i < n; i++)
                len += (size_t)snprintf(form + len, sizeof form - len, "\\x%02x", p[from + i]);
        } else if (p[from] == '\\' || p[from] == '\'') {
            form[0] = '\\';
            form[1] = (char)p[from];
            len = 2;
        } else {
            memcpy(form, p + from, n);
            len = n;
        }
        if (used + len > max)
            return SIZE_MAX;
        memcpy(out + used, form, len);
        used += len;
        from += n;
    }
    return used;
}

struct quoted quoted(struct str s)
{
    struct quoted q;
    size_t used = quote_range(q.text, 0, QUOTED_MAX, s, 0, s.n);
    if (used == SIZE_MAX) {
        /* Too long: the first and the last bytes, each escaped in the worst case to four. */
        const size_t end = s.n > 20 ? s.n - 20 : s.n;
        used = quote_range(q.text, 0, QUOTED_MAX, s, 0, end < 24 ? end : 24);
        memcpy(q.text + used, "...", 3);
        used = quote_range(q.text, used + 3, QUOTED_MAX, s, end, s.n);
    }
    q.text[used] = '\0';
    return q;
}

/* Edits (insert, delete, replace) from a to b, by rows. */
static size_t edit_distance(struct str a, struct str b)
{
    enum { MAX = 64 };
    size_t row[MAX + 1];
    if (a.n > MAX || b.n > MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            const size_t replace = diagonal + (lower(a.p[i - 1]) != lower(b.p[j - 1]));
            const size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < shift ? replace : shift;
        }
    }
    return row[b.n];
}

const char *closest(struct str word, const char *const *candidates, size_t ncandidates)
{
    const char *best = NULL;
    size_t best_distance = word.n / 3 + 1;
    for (size_t i = 0; i < ncandidates; i++) {
        const size_t d = edit_distance(word, str_from(candidates[i]));
        if (d < best_distance || (d == best_distance && best == NULL)) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best;
}
