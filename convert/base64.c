/* base64.c - decode base64. */
#include "convert/base64.h"

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum quern_status base64_decode(struct arena *arena, struct str text, struct str *out,
                                struct quern_error *err)
{
    char *p = arena_alloc(arena, text.n / 4 * 3 + 4);
    size_t n = 0;
    uint32_t bits = 0, nbits = 0;
    if (!p)
        return fail_memory(err, text.n);
    while (text.n && text.p[text.n - 1] == '=')
        text.n--;
    for (size_t i = 0; i < text.n; i++) {
        const int digit = base64_digit(text.p[i]);
        if (digit < 0)
            return fail(err, QUERN_EFORMAT, "base64", "a text is no base64");
        bits = bits << 6 | (uint32_t)digit;
        nbits += 6;
        if (nbits >= 8) {
            nbits -= 8;
            p[n++] = (char)(bits >> nbits);
        }
    }
    *out = (struct str){p, n};
    return QUERN_OK;
}
