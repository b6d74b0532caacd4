/* fuzz_map.c - any text as rules for tensors; what is read can be written and read again. */
#include "convert/map.h"
#include "fuzz.h"

static void same(const struct tensor_map *a, const struct tensor_map *b)
{
    FUZZ_CHECK(a->nrules == b->nrules && a->nkept == b->nkept);
    FUZZ_CHECK(str_eq(a->architecture, b->architecture));
    for (uint32_t i = 0; i < a->nrules; i++) {
        FUZZ_CHECK(str_is(str_from(a->rules[i].from), b->rules[i].from));
        FUZZ_CHECK(a->rules[i].transform == b->rules[i].transform &&
                   a->members[i] == b->members[i]);
    }
    for (uint32_t i = 0; i < a->nkept; i++)
        FUZZ_CHECK(str_eq(a->kept[i], b->kept[i]));
}

static void run(char *text, size_t n)
{
    struct tensor_map m, again;
    struct quern_error err;
    if (!fuzz_failed(map_read(fuzz_file("map.yml", text, n), &m, &err), &err)) {
        size_t nwritten;
        char *written = map_text(&m, &nwritten);
        FUZZ_CHECK(written != NULL);
        const enum quern_status s = map_read(fuzz_file("map.yml", written, nwritten), &again, &err);
        if (s != QUERN_OK)
            fprintf(stderr, "%s\n%.*s", err.text, (int)nwritten, written);
        FUZZ_CHECK(s == QUERN_OK);
        same(&m, &again);
        map_free(&again);
        free(written);
    }
    map_free(&m);
}

static const char *const words[] = {"architecture: llama\n",
                                    "tensors:\n",
                                    "  - from: model.layers.{i}.attn.q.weight\n",
                                    "    to: blk.{i}.attn_q.weight\n",
                                    "    how: permute-q\n",
                                    "{i}",
                                    "{e}",
                                    "how: copy",
                                    "how: drop",
                                    "how: transpose",
                                    "how: stack",
                                    "keep:\n",
                                    "  - {from: a, to: b}\n",
                                    "from: [a, b]",
                                    "to: [a, b]",
                                    NULL};

const struct fuzz_target fuzz_map = {
    .name = "map",
    .max_len = 512,
    .run = run,
    .bytes_per_byte = 256,
    .bytes_besides = 131072,
    .words = words,
    .memory_may_fail = true,
};
