/* test_vocabulary.c - tokens of merged vocabularies, the rows they get, and the files they are
 * written to. */
#include "merge/vocabulary.h"

#include <math.h>

#include "merge/vocab_source.h"
#include "tests/merge_fixture.h"

/* ---- tokenizers ------------------------------------------------------------------------------ */

/* A tokenizer.json: the words of model.vocab, numbered, then added tokens, numbered on. A word in
 * added that is in the vocabulary keeps its id; "!" before it makes it special. */
static char *tokenizer_of(const char *kind, const char *words, const char *added)
{
    char *copy = text("%s", words), *more = text("%s", added), *save = NULL;
    char vocab[4096] = "", list[4096] = "", item[256];
    const char *known[256];
    unsigned n = 0, nadded = 0;
    const bool unigram = strcmp(kind, "Unigram") == 0;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (unigram)
            snprintf(item, sizeof item, "%s[\"%s\", -%u.5]", n ? ", " : "", w, n);
        else
            snprintf(item, sizeof item, "%s\"%s\": %u", n ? ", " : "", w, n);
        strcat(vocab, item);
        known[n++] = w;
    }
    const unsigned nwords = n;
    for (char *w = strtok_r(more, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        const bool special = *w == '!';
        unsigned id = 0;
        w += special;
        while (id < nwords && strcmp(known[id], w) != 0)
            id++;
        snprintf(item, sizeof item,
                 "%s{\"id\": %u, \"content\": \"%s\", \"special\": %s, \"normalized\": false}",
                 nadded++ ? ", " : "", id < nwords ? id : n, w, special ? "true" : "false");
        strcat(list, item);
        n += id == nwords;
    }
    return text("{\"version\": \"1.0\", \"added_tokens\": [%s], \"model\": {\"type\": \"%s\", "
                "\"vocab\": %c%s%c%s}}\n",
                list, kind, unigram ? '[' : '{', vocab, unigram ? ']' : '}',
                strcmp(kind, "BPE") == 0 ? ", \"merges\": [\"a b\", \"ab c\"]" : "");
}

static struct tokenizer tokenizers[3];
static struct vocab_input inputs[3];
static struct tokenizer_wish wish;

static void input(unsigned k, const char *kind, const char *words, const char *added,
                  uint64_t nrows)
{
    struct quern_error err;
    char *t = tokenizer_of(kind, words, added);
    cr_assert(tokenizer_parse(str_from(t), "t.json", true, &tokenizers[k], &err) == QUERN_OK, "%s",
              err.text);
    inputs[k] = (struct vocab_input){.tokenizer = &tokenizers[k],
                                     .nrows = nrows ? nrows : tokenizers[k].end_id,
                                     .name = quoted(str_from(k == 0   ? "a"
                                                             : k == 1 ? "b"
                                                                      : "c"))};
}

static struct vocab_wish wish_of(unsigned n, bool has_base)
{
    static const unsigned token_models[] = {0, 1, 2, 0, 0};
    return (struct vocab_wish){.recipe = &wish,
                               .inputs = inputs,
                               .ninputs = n,
                               .has_base = has_base,
                               .token_models = token_models,
                               .recipe_path = "r.yml"};
}

static void close_all(struct vocabulary *v)
{
    vocabulary_free(v);
    for (unsigned k = 0; k < 3; k++)
        tokenizer_close(&tokenizers[k]);
    wish = (struct tokenizer_wish){0};
    arena_free(&arena);
}

/* The tokens by id, a hole as "-", an added token with a "+", a special one with a "!". */
static const char *listed(const struct vocabulary *v)
{
    char *list = text("%s", "");
    for (uint32_t id = 0; id < v->end_id; id++) {
        const char *word = "-", *mark = "";
        for (uint32_t i = 0; i < v->ntokens; i++) {
            if (v->tokens[i].id != id)
                continue;
            word = v->tokens[i].text.p;
            mark = v->tokens[i].flags & TOKEN_SPECIAL ? "!"
                   : v->tokens[i].flags & TOKEN_ADDED ? "+"
                                                      : "";
        }
        list = text("%s%s%s%s", list, id ? " " : "", mark, word);
    }
    return list;
}

static void expect_tokens(unsigned n, const char *expected)
{
    struct vocabulary v;
    struct quern_error err;
    const struct vocab_wish w = wish_of(n, true);
    cr_assert(vocabulary_build(&w, &v, &err) == QUERN_OK, "%s", err.text);
    cr_assert_str_eq(listed(&v), expected);
    vocabulary_free(&v);
}

Test(vocabulary, unions_append_tokens_then_added_ones)
{
    struct vocabulary v = {0};
    input(0, "BPE", "a b ab", "!<s> x", 0);
    input(1, "BPE", "b c d ab", "!<t> x !d", 0);
    input(2, "BPE", "e c z", "<s> !<u> a", 2); /* z and the added ones have no rows */
    expect_tokens(1, "a b ab !<s> +x");
    expect_tokens(2, "a b ab !<s> +x c !d !<t>");
    expect_tokens(3, "a b ab !<s> +x c e !d !<t>");
    inputs[2].nrows = 6; /* now they have */
    expect_tokens(3, "+a b ab !<s> +x c e z !d !<t> !<u>");
    inputs[0].nrows = 4; /* x is cut off from a, b has it */
    expect_tokens(2, "a b ab !<s> c !d !<t> +x");
    close_all(&v);
    CHECK_LEAKS();
}

Test(vocabulary, of_the_base_or_a_model)
{
    struct vocabulary v = {0};
    struct token_wish tokens[2] = {{.token = STR("new")}, {.token = STR("b")}};
    input(0, "WordPiece", "a b", "!<s>", 2);
    input(1, "BPE", "b c", "x", 9);
    wish = (struct tokenizer_wish){.source = TOKENIZER_BASE};
    expect_tokens(2, "a b");
    wish.tokens = tokens;
    wish.ntokens = 2;
    expect_tokens(2, "a b +new");
    struct vocab_wish w = wish_of(2, true);
    w.source = 1;
    struct quern_error err;
    cr_assert(vocabulary_build(&w, &v, &err) == QUERN_OK);
    cr_assert_str_eq(listed(&v), "b c +x +new");
    vocabulary_free(&v);
    w.foreign = &tokenizers[0];
    cr_assert(vocabulary_build(&w, &v, &err) == QUERN_OK);
    cr_assert_str_eq(listed(&v), "a b !<s> +new");
    vocabulary_free(&v);
    wish.source = TOKENIZER_UNION;
    w = wish_of(2, true);
    cr_assert(vocabulary_build(&w, &v, &err) == QUERN_OK); /* of two kinds: by text */
    cr_assert_str_eq(listed(&v), "a b c +x +new");
    close_all(&v);
    CHECK_LEAKS();
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Of model k: "3" its own row, "b1" row 1 of another, "0" zeros as "z", the mean as "m"; "!" before
 * what is forced. */
static const char *rows_of(const struct row_map *map, unsigned k)
{
    char *list = text("%s", "");
    for (uint32_t row = 0; row < map->nkept; row++) {
        const struct default_row *d = &map->defaults[row];
        const char *sep = row ? " " : "", *force = d->forced ? "!" : "";
        if (map->own[k][row] != NO_ROW && !d->forced)
            list = text("%s%s%u", list, sep, map->own[k][row]);
        else if (d->origin == ROW_OF_MODEL)
            list = text("%s%s%s%c%u", list, sep, force, "abc"[d->model], d -> row);
        else
            list = text("%s%s%s%s", list, sep, force, d->origin == ROW_ZERO ? "z" : "m");
    }
    return list;
}

static void expect_rows(const struct vocab_wish *w, const char *const expected[], uint32_t nrows,
                        struct row_notes *notes)
{
    struct vocabulary v;
    struct row_map map;
    struct quern_error err;
    struct mistakes m = {0};
    cr_assert(vocabulary_build(w, &v, &err) == QUERN_OK, "%s", err.text);
    cr_assert(vocabulary_rows(w, &v, &arena, &map, notes, &m, &err) == QUERN_OK);
    cr_assert(m.count == 0, "%s", m.first.text);
    cr_assert(map.nrows == nrows, "%u rows", map.nrows);
    for (unsigned k = 0; k < w->ninputs; k++)
        cr_assert_str_eq(rows_of(&map, k), expected[k]);
    vocabulary_free(&v);
}

#define ROWS(...) ((const char *const[]){__VA_ARGS__})

Test(vocabulary, rules_for_missing_rows)
{
    struct row_notes n;
    struct vocabulary v = {0};
    input(0, "BPE", "p q r", "", 0);
    input(1, "BPE", "q s r", "", 0);
    input(2, "BPE", "s r t", "", 2); /* t has no row */
    struct vocab_wish w = wish_of(3, true);
    expect_rows(&w, ROWS("0 1 2 m", "a0 0 2 1", "a0 a1 1 0"), 4, &n);
    cr_assert(n.beyond[2] == 0 && n.unused[2] == 1 && n.nzero == 0);
    w.has_base = false;
    expect_rows(&w, ROWS("0 1 2 m", "a0 0 2 1", "a0 m 1 0"), 4, &n);
    struct token_wish tokens[] = {
        {.token = STR("q"),         .source = TOKEN_SAME_OF_MODEL, .force = true},
        {.token = STR("s"),                         .source = TOKEN_OF_MODEL,                                      .other = STR("q")}, /* of model b */
        {.token = STR("new"),        .source = TOKEN_ZERO},
        {.token = STR("p"),.source = TOKEN_OF_MODEL,                            .id = 2, .force = true}, /* of model a */
        {.token = STR("t"),    .force = true},
    };
    wish.tokens = tokens;
    wish.ntokens = 5;
    expect_rows(&w, ROWS("!a2 !a1 2 b0 z !z", "!a2 !a1 2 1 z !z", "!a2 !a1 1 0 z !z"), 6, &n);
    cr_assert(n.beyond[2] == 1 && n.nzero == 1 && str_is(n.zero, "t"));
    close_all(&v);
    CHECK_LEAKS();
}

Test(vocabulary, rows_without_a_token_are_kept)
{
    struct row_notes n;
    struct vocabulary v = {0};
    input(0, "BPE", "p q", "", 5);
    input(1, "BPE", "q p r s", "", 6);
    input(2, "BPE", "p q", "", 3);
    struct vocab_wish w = wish_of(3, true);
    wish.source = TOKENIZER_BASE;
    /* Rows 2 and 3 of b are its tokens r and s: they must not stand for padding of a. */
    expect_rows(&w, ROWS("0 1 2 3 4", "1 0 a2 a3 4", "0 1 2 a3 a4"), 5, &n);
    cr_assert(n.unused[1] == 2 && n.dropped[1] == 1 && n.dropped[0] == 0 && n.dropped[2] == 0);
    wish.pad = 4;
    expect_rows(&w, ROWS("0 1 2 3 4", "1 0 a2 a3 4", "0 1 2 a3 a4"), 8, &n);
    wish = (struct tokenizer_wish){.source = TOKENIZER_UNION};
    expect_rows(&w, ROWS("0 1 b2 b3 4", "1 0 2 3 4", "0 1 b2 b3 a4"), 5, &n);
    close_all(&v);
    CHECK_LEAKS();
}

Test(vocabulary, identity_is_seen)
{
    struct vocabulary v;
    struct row_map map;
    struct row_notes n;
    struct quern_error err;
    struct mistakes m = {0};
    input(0, "BPE", "p q", "", 4);
    input(1, "BPE", "p q", "", 3);
    input(2, "BPE", "q p", "", 4);
    const struct vocab_wish w = wish_of(3, true);
    cr_assert(vocabulary_build(&w, &v, &err) == QUERN_OK);
    cr_assert(vocabulary_rows(&w, &v, &arena, &map, &n, &m, &err) == QUERN_OK);
    cr_assert(row_map_is_identity(&map, 0, 4));
    cr_assert(!row_map_is_identity(&map, 1, 3) && !row_map_is_identity(&map, 2, 4));
    close_all(&v);
    CHECK_LEAKS();
}

Test(vocabulary, what_is_wrong_with_tokens)
{
    struct vocabulary v;
    struct row_map map;
    struct row_notes n;
    struct quern_error err;
    struct mistakes m = {0};
    input(0, "BPE", "p q r", "", 2);
    input(1, "BPE", "p", "", 0);
    struct token_wish tokens[3] = {{.token = STR("p")}, {.token = STR("q")}, {.token = STR("r")}};
    tokens[0].source = tokens[1].source = TOKEN_OF_MODEL;
    tokens[0].id = 2;
    tokens[0].line = 7;
    tokens[1].other = STR("q");
    tokens[2].source = TOKEN_SAME_OF_MODEL;
    static const unsigned models[] = {0, 1, 0};
    wish.tokens = tokens;
    wish.ntokens = 3;
    struct vocab_wish w = wish_of(2, true);
    w.token_models = models;
    cr_assert(vocabulary_build(&w, &v, &err) == QUERN_OK);
    cr_assert(vocabulary_rows(&w, &v, &arena, &map, &n, &m, &err) == QUERN_OK);
    cr_assert(m.count == 3);
    cr_assert(strstr(m.first.text, "r.yml") && strstr(m.first.text, "line 7") &&
                  strstr(m.first.text, "'a' has no row for token '2'"),
              "%s", m.first.text);
    close_all(&v);
    CHECK_LEAKS();
}

/* ---- reading --------------------------------------------------------------------------------- */

#define WIDTH 7
#define NROWS 3001

/* A source that is made while it is read: element i of model k is 1000 k + i. It keeps where it is
 * in its scratch, as an adapter may, and must be started anew before it is read backwards. */
static size_t count_bytes(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return sizeof(uint64_t);
}

static enum quern_status count_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    (void)moved;
    (void)err;
    uint64_t *at = scratch;
    cr_assert(first >= *at && n <= PIECE, "read at %zu after %zu", (size_t)first, (size_t)*at);
    cr_assert(first + n <= s->tensor->nelems);
    *at = first;
    const unsigned k = *(const unsigned *)s->params;
    for (size_t i = 0; i < n; i++) {
        const double value = 100000.0 * k + (double)(first + i);
        if (wide)
            ((double *)x)[i] = value;
        else
            ((float *)x)[i] = (float)value;
    }
    return QUERN_OK;
}

static const struct source_kind counting = {
    .name = "counting", .scratch_bytes = count_bytes, .read = count_read};

/* What row_map says, one element at a time. */
static double expected_at(const struct row_map *map, unsigned model, uint32_t row, unsigned column)
{
    double sum = 0;
    if (row >= map->nkept) {
        for (uint32_t r = 0; r < map->ntokens; r++)
            sum += expected_at(map, model, r, column);
        return sum / map->ntokens;
    }
    const struct default_row *d = &map->defaults[row];
    if (map->own[model][row] != NO_ROW && !d->forced)
        return 100000.0 * model + map->own[model][row] * WIDTH + column;
    if (d->origin == ROW_OF_MODEL)
        return 100000.0 * d->model + d->row * WIDTH + column;
    unsigned count = 0;
    for (unsigned k = 0; d->origin == ROW_MEAN && k < map->nmodels; k++) {
        if (map->own[k][row] == NO_ROW)
            continue;
        sum += 100000.0 * k + map->own[k][row] * WIDTH + column;
        count++;
    }
    return count ? sum / count : 0;
}

static void random_map(struct row_map *map, bool padded)
{
    struct default_row *defaults = ARENA_NEW(&arena, struct default_row, NROWS);
    map->ntokens = NROWS - 5;
    map->nkept = NROWS;
    map->nrows = padded ? NROWS + 9 : NROWS;
    map->nmodels = 2;
    map->defaults = defaults;
    for (unsigned k = 0; k < 2; k++) {
        uint32_t *own = ARENA_NEW(&arena, uint32_t, NROWS);
        for (uint32_t r = 0; r < NROWS; r++) /* runs, single rows, and none */
            own[r] = random_bits() % 4 == 0   ? random_bits() % NROWS
                     : random_bits() % 5 == 0 ? NO_ROW
                                              : r;
        map->own[k] = own;
    }
    for (uint32_t r = 0; r < NROWS; r++) {
        const bool owned = map->own[0][r] != NO_ROW || map->own[1][r] != NO_ROW;
        defaults[r] = (struct default_row){.row = random_bits() % NROWS,
                                           .model = (uint8_t)(random_bits() % 2),
                                           .origin = (uint8_t)(random_bits() % (owned ? 3 : 2)),
                                           .forced = random_bits() % 16 == 0};
    }
}

static void check_reads(const struct source *s, const struct row_map *map, unsigned model,
                        bool wide)
{
    const uint64_t nelems = (uint64_t)map->nrows * WIDTH;
    void *scratch = calloc(1, source_scratch_bytes(s, wide));
    double *x = malloc(PIECE * sizeof *x);
    uint64_t moved = 0;
    struct quern_error err;
    for (uint64_t at = 0; at < nelems;) {
        size_t n = 1 + random_bits() % PIECE;
        n = n < nelems - at ? n : (size_t)(nelems - at);
        cr_assert(source_read(s, scratch, wide, at, n, x, &moved, &err) == QUERN_OK);
        for (size_t i = 0; i < n; i++) {
            const double want =
                expected_at(map, model, (uint32_t)((at + i) / WIDTH), (unsigned)((at + i) % WIDTH));
            const double got = wide ? x[i] : (double)((float *)x)[i];
            cr_assert(fabs(got - want) <= fabs(want) * (wide ? 1e-12 : 1e-6),
                      "element %zu: %g, not %g", (size_t)at + i, got, want);
        }
        at += n;
    }
    free(scratch);
    free(x);
}

Test(vocabulary, rows_are_read_in_their_new_order)
{
    for (int round = 0; round < 8; round++) {
        struct row_map map = {0};
        random_map(&map, round % 4 == 3);
        const uint64_t dims[] = {NROWS, WIDTH}, new_dims[] = {map.nrows, WIDTH};
        const struct tensor old = {.name = STR("w"),
                                   .dims = dims,
                                   .ndims = 2,
                                   .dtype = DTYPE_F32,
                                   .nelems = NROWS * WIDTH};
        const struct tensor new = {.name = STR("w"),
                                   .dims = new_dims,
                                   .ndims = 2,
                                   .dtype = DTYPE_F32,
                                   .nelems = (uint64_t)map.nrows * WIDTH};
        static const unsigned numbers[] = {0, 1};
        const struct source sources[] = {
            {.tensor = &old, .kind = &counting, .params = &numbers[0]},
            {.tensor = &old, .kind = &counting, .params = &numbers[1]},
        };
        const unsigned model = (unsigned)round % 2;
        const struct vocab_rows params = {
            .map = &map, .sources = sources, .model = model, .width = WIDTH};
        const struct source s = {.tensor = &new, .kind = &vocabulary_source, .params = &params};
        check_reads(&s, &map, model, round / 2 % 2);
    }
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- whole merges ---------------------------------------------------------------------------- */

/* A model in a directory: rows x 3 embeddings whose values tell model, row and column, a head of
 * the negative values with a bias, and a tensor beside them. */
static void write_dir(const char *name, unsigned number, unsigned rows, const char *tokenizer,
                      const char *config)
{
    static float embed[64 * 3], head[64 * 3], bias[64], other[3];
    for (unsigned i = 0; i < rows * 3; i++) {
        embed[i] = (float)(number * 1000 + i);
        head[i] = -embed[i];
        bias[i / 3] = (float)(number * 1000 + i / 3) + 0.5f;
    }
    const struct blob blobs[] = {
        {.name = "model.embed_tokens.weight",
         .dtype = DTYPE_F32,
         .dims = {rows, 3},
         .bytes = embed                                                                            },
        {.name = "lm_head.weight",            .dtype = DTYPE_F32, .dims = {rows, 3}, .bytes = head },
        {.name = "lm_head.bias",              .dtype = DTYPE_F32, .dims = {rows, 0}, .bytes = bias },
        {.name = "model.norm.weight",         .dtype = DTYPE_F32, .dims = {3, 0},    .bytes = other},
    };
    cr_assert(mkdir(in_dir(name), 0777) == 0);
    write_model(text("%s/model.safetensors", name), blobs, 4);
    if (tokenizer)
        write_text(text("%s/tokenizer.json", name), tokenizer);
    write_text(text("%s/config.json", name), config);
}

static void place_dirs(struct merge_request *req)
{
    static const char *mappings[4];
    static const char *const words[] = {"a", "b", "c", "one"};
    req->places.nmappings = 0;
    for (size_t i = 0; i < 4; i++)
        if (access(in_dir(words[i]), F_OK) == 0 &&
            (strstr(req->recipe_text, text("model: %s", words[i])) ||
             strstr(req->recipe_text, text("_source: %s", words[i]))))
            mappings[req->places.nmappings++] = text("%s=%s/%s", words[i], dir, words[i]);
    req->places.mappings = mappings;
}

/* a with weight 1 and b with weight 0: the result is a's tensors in their new layout. */
#define ONLY_A                                                                       \
    "merge_method: linear\nbase_model: a\nparameters: {normalize: false}\nmodels:\n" \
    "- {model: a, parameters: {weight: 1}}\n- {model: b, parameters: {weight: 0}}\n"
#define ONLY_B                                                                       \
    "merge_method: linear\nbase_model: a\nparameters: {normalize: false}\nmodels:\n" \
    "- {model: a, parameters: {weight: 0}}\n- {model: b, parameters: {weight: 1}}\n"

static enum quern_status run_dirs(const char *recipe, struct quern_error *err)
{
    struct merge_request req = {.recipe_text = recipe, .output = in_dir("out"), .force = true};
    place_dirs(&req);
    return run(&req, err);
}

static void merge_dirs(const char *recipe)
{
    struct quern_error err;
    cr_assert(run_dirs(recipe, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
}

/* The rows of the result as model * 1000 + row; head and bias must agree. */
static void expect_result(const double *rows, size_t nrows)
{
    uint64_t n;
    const char *path = in_dir("out");
    const float *embed = load(path, "model.embed_tokens.weight", &n);
    cr_assert(n == nrows * 3, "%zu rows", (size_t)n / 3);
    const float *head = load(path, "lm_head.weight", &n), *bias = load(path, "lm_head.bias", NULL);
    cr_assert(n == nrows * 3);
    for (size_t r = 0; r < nrows; r++) {
        const double model = floor(rows[r] / 1000), row = rows[r] - 1000 * model;
        for (unsigned c = 0; c < 3; c++) {
            const double want = rows[r] < 0 ? 0 : 1000 * model + 3 * row + c;
            cr_assert(embed[3 * r + c] == (float)want, "row %zu: %g, not %g", r,
                      (double)embed[3 * r + c], want);
            cr_assert(head[3 * r + c] == -(float)want);
        }
        cr_assert(bias[r] == (rows[r] < 0 ? 0 : (float)rows[r] + 0.5f), "bias %zu: %g", r,
                  (double)bias[r]);
    }
}
#define RESULT(...)                                         \
    do {                                                    \
        const double rows_[] = {__VA_ARGS__};               \
        expect_result(rows_, sizeof rows_ / sizeof *rows_); \
    } while (0)

static void two_models(void)
{
    begin();
    write_dir("a", 1, 4, tokenizer_of("BPE", "p q r", "!<s>"), "{\"vocab_size\": 4}\n");
    write_dir("b", 2, 5, tokenizer_of("BPE", "q s r", "!<t> !<s>"),
              "{\n  \"vocab_size\": 5,\n  \"x\": 1\n}\n");
}

Test(vocabulary, union_of_two_models)
{
    two_models();
    merge_dirs(ONLY_A "tokenizer_source: union\n");
    RESULT(1000, 1001, 1002, 1003, 2001, 2003); /* p q r <s> s <t> */
    cr_assert_str_eq(read_text("out/config.json"), "{\"vocab_size\": 6}\n");
    merge_dirs(ONLY_B "tokenizer: {source: union}\n");
    RESULT(1000, 2000, 2002, 2004, 2001, 2003);
    struct tokenizer t;
    struct quern_error err;
    cr_assert(tokenizer_read(in_dir("out/tokenizer.json"), true, &t, &err) == QUERN_OK);
    cr_assert(t.ntokens == 6 && t.nmerges == 2 && token_by_text(&t, STR("s"))->id == 4);
    cr_assert(token_by_text(&t, STR("<t>"))->flags ==
              (TOKEN_ADDED | TOKEN_SPECIAL | TOKEN_IN_MODEL));
    cr_assert(token_by_text(&t, STR("p"))->flags == TOKEN_IN_MODEL);
    tokenizer_close(&t);
    end();
    CHECK_LEAKS();
}

Test(vocabulary, of_one_of_the_models)
{
    two_models();
    write_text("b/merges.txt", "#version: 0.2\n");
    write_text("b/generation_config.json", "{\"b\": 1}");
    write_text("a/generation_config.json", "{\"a\": 1}");
    write_text("a/vocab.json", "{}");
    merge_dirs(ONLY_A "tokenizer_source: b\n");
    RESULT(1001, 2001, 1002, 2003, 1003);
    /* The files are b's, untouched; config.json is a's. */
    cr_assert_str_eq(read_text("out/tokenizer.json"), read_text("b/tokenizer.json"));
    cr_assert_str_eq(read_text("out/generation_config.json"), "{\"b\": 1}");
    cr_assert_str_eq(read_text("out/merges.txt"), "#version: 0.2\n");
    cr_assert(access(in_dir("out/vocab.json"), F_OK) != 0);
    cr_assert_str_eq(read_text("out/config.json"), "{\"vocab_size\": 5}\n");
    merge_dirs(ONLY_B "tokenizer_source: base\n");
    RESULT(1000, 2000, 2002, 2004);
    cr_assert_str_eq(read_text("out/tokenizer.json"), read_text("a/tokenizer.json"));
    cr_assert_str_eq(read_text("out/vocab.json"), "{}");
    end();
    CHECK_LEAKS();
}

Test(vocabulary, of_a_model_that_is_not_merged)
{
    two_models();
    write_dir("c", 3, 9, tokenizer_of("Unigram", "s nowhere p", ""), "{}");
    merge_dirs(ONLY_A "tokenizer_source: c\n");
    RESULT(2001, -1, 1000);
    cr_assert_str_eq(read_text("out/tokenizer.json"), read_text("c/tokenizer.json"));
    end();
    CHECK_LEAKS();
}

Test(vocabulary, tokens_of_the_recipe)
{
    two_models();
    merge_dirs(ONLY_A "tokenizer:\n  source: base\n  tokens:\n"
                      "    p: {source: {kind: model_token, model: b, token: <t>}, force: true}\n"
                      "    q: {source: b}\n"
                      "    new: {source: {kind: zero}}\n"
                      "    none:\n");
    RESULT(2003, 1001, 1002, 1003, -1, -1);
    cr_assert(strstr(read_text("out/tokenizer.json"),
                     "{\"id\":4,\"content\":\"new\",\"single_word\":false,\"lstrip\":false,"
                     "\"rstrip\":false,\"normalized\":true,\"special\":false}"));
    end();
    CHECK_LEAKS();
}

Test(vocabulary, padding_is_the_mean_of_all_rows)
{
    two_models();
    merge_dirs(ONLY_A "tokenizer: {source: base, pad_to_multiple_of: 6}\n");
    uint64_t n;
    const float *x = load(in_dir("out"), "model.embed_tokens.weight", &n);
    cr_assert(n == 6 * 3);
    for (unsigned i = 0; i < 6; i++)
        cr_assert(x[12 + i] == 1000 + 4.5f + (float)(i % 3), "%g", (double)x[12 + i]);
    cr_assert_str_eq(read_text("out/config.json"), "{\"vocab_size\": 6}\n");
    end();
    CHECK_LEAKS();
}

Test(vocabulary, nothing_changes_for_equal_tokenizers)
{
    begin();
    char *t = tokenizer_of("BPE", "p q", "!<s>");
    write_dir("a", 1, 5, t, "{\"text_config\": {\"vocab_size\": 5}}");
    write_dir("b", 2, 5, NULL, "{}"); /* taken to have a's */
    struct merge_request req = {.recipe_text = ONLY_A "tokenizer_source: union\n",
                                .output = in_dir("out")};
    struct plan *plan;
    struct quern_error err;
    place_dirs(&req);
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
    for (uint32_t i = 0; i < plan->nsteps; i++)
        for (unsigned k = 0; k < plan->steps[i].nsources; k++)
            cr_assert(!plan->steps[i].sources[k].kind);
    plan_free(plan);
    merge_dirs(req.recipe_text);
    RESULT(1000, 1001, 1002, 1003, 1004);
    cr_assert_str_eq(read_text("out/tokenizer.json"), t);
    end();
    CHECK_LEAKS();
}

Test(vocabulary, unigram_scores_and_stripped_tokens)
{
    begin();
    write_dir("a", 1, 3, tokenizer_of("Unigram", "p q", "!<s>"), "{\"vocab_size\": 3}");
    write_dir("b", 2, 2, tokenizer_of("Unigram", "x q", "!<u>"), "{\"vocab_size\": 2}");
    write_text("a/tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"2\": {}}, \"bos_token\": \"<s>\"}");
    merge_dirs(ONLY_B "tokenizer_source: union\n");
    RESULT(1000, 2001, 1002, 2000);
    const char *t = read_text("out/tokenizer.json");
    cr_assert(strstr(t, "[[\"p\",-0.5],[\"q\",-1.5],[\"<s>\",0],[\"x\",-1000001.5]]"), "%s", t);
    cr_assert(!strstr(t, "<u>"));
    cr_assert_str_eq(read_text("out/tokenizer_config.json"),
                     "{\"added_tokens_decoder\": {\"2\":{\"content\":\"<s>\",\"single_word\":false,"
                     "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}}, "
                     "\"bos_token\": \"<s>\"}");
    end();
    CHECK_LEAKS();
}

Test(vocabulary, merges_of_stripped_tokens_go)
{
    begin();
    write_dir("a", 1, 3, tokenizer_of("BPE", "a b c ab abc", "!<s>"), "{}");
    write_dir("b", 2, 6, tokenizer_of("BPE", "a b", ""), "{}");
    merge_dirs(ONLY_A "tokenizer_source: base\n"); /* no row for ab: its merges go, too */
    RESULT(1000, 1001, 1002);
    const char *t = read_text("out/tokenizer.json");
    cr_assert(strstr(t, "\"vocab\": {\"a\":0,\"b\":1,\"c\":2}") && strstr(t, "\"merges\": []"),
              "%s", t);
    end();
    CHECK_LEAKS();
}

/* Stages: the vocabulary of one is that of its result, whoever uses it. */
Test(vocabulary, of_an_earlier_stage)
{
    two_models();
    write_dir("c", 3, 3, tokenizer_of("BPE", "s p", "!<u>"), "{\"vocab_size\": 3}");
    const char *first = "name: one\n" ONLY_A "tokenizer: {source: union, tokens: {new: {source: "
                        "{kind: zero}}}}\nchat_template: chatml\n---\n";
    /* Used as it is. */
    merge_dirs(
        text("%smerge_method: linear\nmodels: [{model: one, parameters: {weight: 1}}]\n", first));
    RESULT(1000, 1001, 1002, 1003, 2001, 2003, -1);
    cr_assert_str_eq(read_text("out/config.json"), "{\"vocab_size\": 7}\n");
    cr_assert(strstr(read_text("out/tokenizer.json"), "\"content\":\"new\""));
    cr_assert(strstr(read_text("out/chat_template.jinja"), "im_start"));
    /* United with another model. */
    merge_dirs(text("%smerge_method: linear\nbase_model: one\nparameters: {normalize: false}\n"
                    "models: [{model: one, parameters: {weight: 1}}, {model: c, parameters: "
                    "{weight: 0}}]\ntokenizer_source: union\n",
                    first));
    RESULT(1000, 1001, 1002, 1003, 2001, 2003, -1, 3002);
    struct tokenizer t;
    struct quern_error err;
    cr_assert(tokenizer_read(in_dir("out/tokenizer.json"), true, &t, &err) == QUERN_OK);
    cr_assert(token_by_text(&t, STR("<u>"))->id == 7 && token_by_text(&t, STR("new"))->id == 6);
    cr_assert(token_by_text(&t, STR("s"))->id == 4);
    tokenizer_close(&t);
    /* Brought to another model's. */
    merge_dirs(text("%smerge_method: linear\nbase_model: one\nparameters: {normalize: false}\n"
                    "models: [{model: one, parameters: {weight: 1}}, {model: c, parameters: "
                    "{weight: 0}}]\ntokenizer_source: c\n",
                    first));
    RESULT(2001, 1000, 3002);
    cr_assert_str_eq(read_text("out/tokenizer.json"), read_text("c/tokenizer.json"));
    end();
    CHECK_LEAKS();
}

/* Rows of what a stage makes from statistics of the whole: the bytes of running it first. */
Test(vocabulary, of_an_earlier_stage_that_measures)
{
    two_models();
    write_dir("c", 3, 3, tokenizer_of("BPE", "s p", "!<u>"), "{\"vocab_size\": 3}");
    const char *first = "merge_method: slerp\nbase_model: a\nparameters: {t: 0.4}\nmodels:\n"
                        "- {model: b}\ntokenizer_source: union\ndtype: bfloat16\n";
    const char *then = "merge_method: nuslerp\nparameters: {weight: 0.5}\nmodels:\n"
                       "- {model: one}\n- {model: c}\ntokenizer_source: union\n";
    merge_dirs(text("name: one\n%s---\n%s", first, then));
    uint64_t n, nwant;
    const float *at_once = load(in_dir("out"), "model.embed_tokens.weight", &n);
    merge_dirs(first);
    cr_assert(rename(in_dir("out"), in_dir("one")) == 0);
    merge_dirs(then);
    const float *want = load(in_dir("out"), "model.embed_tokens.weight", &nwant);
    cr_assert(n == nwant && memcmp(at_once, want, n * sizeof *want) == 0);
    end();
    CHECK_LEAKS();
}

static void expect_error(const char *recipe, enum quern_status status, const char *words)
{
    struct quern_error err;
    const enum quern_status got = run_dirs(recipe, &err);
    cr_assert(got == status && strstr(err.text, words), "%d %s\n%s", got, words,
              got ? err.text : "");
    cr_assert(access(in_dir("out"), F_OK) != 0);
}

Test(vocabulary, errors)
{
    two_models();
    expect_error(ONLY_A, QUERN_EUSAGE, "tokenizer_source");
    expect_error(ONLY_A "tokenizer: {tokens: {p: {source: x}}}\n", QUERN_EUSAGE,
                 "'x', which is not merged");
    expect_error(ONLY_A "tokenizer: {tokens: {p: {source: b}}}\n", QUERN_EUSAGE,
                 "'b' has no row for token 'p'");
    write_text("b/tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 0, \"b\": 0}}}");
    expect_error(ONLY_A "tokenizer_source: union\n", QUERN_EFORMAT, "the same id 0");
    cr_assert(remove(in_dir("b/tokenizer.json")) == 0);
    expect_error(ONLY_A "tokenizer_source: union\n", QUERN_EUSAGE, "no tokenizer beside");
    write_text("b/tokenizer.model", "x");
    expect_error(ONLY_A "tokenizer_source: union\n", QUERN_EUNSUPPORTED,
                 "tokenizer.model and no tokenizer.json");
    end();
    CHECK_LEAKS();
}

Test(vocabulary, widths_must_be_equal)
{
    two_models();
    const float x[2 * 4] = {0};
    const struct blob b[] = {
        {.name = "model.embed_tokens.weight", .dtype = DTYPE_F32, .dims = {4, 2}, .bytes = x},
        {.name = "lm_head.weight",            .dtype = DTYPE_F32, .dims = {4, 2}, .bytes = x},
    };
    write_model("b/model.safetensors", b, 2);
    expect_error(ONLY_A "tokenizer_source: union\n", QUERN_EUSAGE, "rows have 2 elements");
    end();
    CHECK_LEAKS();
}

Test(vocabulary, heads_must_have_the_rows_of_the_embeddings)
{
    two_models();
    const float x[6 * 3] = {0};
    const struct blob b[] = {
        {.name = "model.embed_tokens.weight", .dtype = DTYPE_F32, .dims = {5, 3}, .bytes = x},
        {.name = "lm_head.weight",            .dtype = DTYPE_F32, .dims = {6, 3}, .bytes = x},
    };
    write_model("b/model.safetensors", b, 2);
    expect_error(ONLY_A "tokenizer_source: union\n", QUERN_EUSAGE,
                 "6 rows and the embeddings have 5");
    end();
    CHECK_LEAKS();
}

/* ---- chat templates -------------------------------------------------------------------------- */

static const char *template_of(const char *recipe)
{
    merge_dirs(text("%schat_template: %s\n", ONLY_A "tokenizer_source: base\n", recipe));
    return access(in_dir("out/chat_template.jinja"), F_OK) == 0
               ? read_text("out/chat_template.jinja")
               : "none";
}

Test(vocabulary, chat_templates)
{
    two_models();
    cr_assert(strstr(template_of("chatml"), "<|im_start|>"));
    cr_assert(strstr(template_of("llama3"), "<|eot_id|>"));
    cr_assert(strstr(template_of("mistral"), "[INST]"));
    cr_assert(strstr(template_of("alpaca"), "### Response:"));
    cr_assert(strstr(template_of("exaone"), "[|endofturn|]"));
    cr_assert_str_eq(template_of("'{{ messages }} of my own'"), "{{ messages }} of my own");
    cr_assert_str_eq(template_of("auto"), "none");
    write_text("b/tokenizer_config.json",
               "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"no\"}, {\"name\": "
               "\"default\", \"template\": \" of b\\n\"}]}");
    cr_assert_str_eq(template_of("auto"), "of b");
    write_text("a/tokenizer_config.json", "{\"chat_template\": \"of a\", \"x\": 1}");
    cr_assert_str_eq(template_of("auto"), "none");
    cr_assert_str_eq(read_text("out/tokenizer_config.json"),
                     "{\"chat_template\": \"of a\", \"x\": 1}");
    template_of("chatml");
    cr_assert(strstr(read_text("out/tokenizer_config.json"), "im_end"));
    write_text("a/chat_template.jinja", "of b");
    cr_assert_str_eq(template_of("auto"), "of b");
    struct quern_error err;
    cr_assert(run_dirs(ONLY_A "tokenizer_source: base\nchat_template: chatlm\n", &err) ==
              QUERN_EUSAGE);
    cr_assert(strstr(err.text, "did you mean 'chatml'"), "%s", err.text);
    cr_assert(run_dirs(ONLY_A "tokenizer_source: base\nchat_template: no braces in this text\n",
                       &err) == QUERN_EUSAGE);
    end();
    CHECK_LEAKS();
}
