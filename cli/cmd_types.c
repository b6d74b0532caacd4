/* cmd_types.c - quern types: one line per element type. */
#include "cli.h"

/* What an importance matrix is to a type. */
static const char *imatrix_word(const struct quern_type *t)
{
    return t->needs_imatrix ? "needs" : t->uses_imatrix ? "uses" : "-";
}

static void types_json(void)
{
    struct json_writer w = {0};
    struct quern_type t;
    json_open(&w, '[');
    for (size_t i = 0; quern_get_type(i, &t); i++) {
        json_open(&w, '{');
        field_text(&w, "name", t.name);
        field_f64(&w, "bits_per_weight", t.block_bytes * 8.0 / t.block_elems);
        field_u64(&w, "block_weights", t.block_elems);
        field_u64(&w, "block_bytes", t.block_bytes);
        json_key(&w, "gguf");
        json_put_bool(&w, t.gguf);
        json_key(&w, "safetensors");
        json_put_bool(&w, t.safetensors);
        json_key(&w, "can_read");
        json_put_bool(&w, t.can_read);
        json_key(&w, "can_write");
        json_put_bool(&w, t.can_write);
        field_text(&w, "imatrix", imatrix_word(&t));
        field_text(&w, "about", t.about);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    print_json(&w);
}

int cmd_types(struct cli *c)
{
    struct quern_type t;
    if (c->args.count)
        return usage_error(c, "types takes no arguments");
    if (c->json) {
        types_json();
        return 0;
    }
    printf("%stype         bits/weight  block         gguf  safetensors  read  write  imatrix  "
           "about%s\n",
           bold(stdout), plain(stdout));
    for (size_t i = 0; quern_get_type(i, &t); i++) {
        char block[24] = "-";
        if (t.block_elems > 1)
            snprintf(block, sizeof block, "%u -> %u B", t.block_elems, t.block_bytes);
        printf("%-12s %11.4g  %-13s %-5s %-12s %-5s %-6s %-8s %s\n", t.name,
               t.block_bytes * 8.0 / t.block_elems, block, t.gguf ? "yes" : "-",
               t.safetensors ? "yes" : "-", t.can_read ? "yes" : "-", t.can_write ? "yes" : "-",
               imatrix_word(&t), t.about);
    }
    return 0;
}
