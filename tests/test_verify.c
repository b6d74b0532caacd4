/* test_verify.c - verifying: what is exact is found exact, a bit that is not is found in its place.
 */
#include <inttypes.h>

#include "convert/back.h"
#include "merge/verify_plan.h"
#include "pipeline/differences.h"
#include "pipeline/retype.h"
#include "pipeline/verify.h"
#include "quant/codec.h"
#include "tests/merge_fixture.h"

TestSuite(verify, .init = begin, .fini = end);

#define POCKET  "build/pocket/pocket-"
#define IMATRIX POCKET "base.imatrix.gguf"

/* ---- making files --------------------------------------------------------------------------- */

static void run_and_free(struct plan *p)
{
    struct quern_error e;
    cr_assert(plan_run(p, &(struct quern_run_options){.threads = 2}, NULL, &e) == QUERN_OK, "%s",
              e.text);
    plan_free(p);
}

static struct model *opened(const char *path)
{
    struct quern_error e;
    struct model *m;
    cr_assert(model_open(path, &m, &e) == QUERN_OK, "%s", e.text);
    return m;
}

static const char *converted(const char *input, const char *name, const char *type)
{
    struct quern_error e;
    struct plan *p;
    struct model *m = opened(input);
    const char *output = in_dir(name);
    const struct convert_request r = {.output = output, .type = type};
    cr_assert(convert_plan(m, &r, &p, &e) == QUERN_OK, "%s", e.text);
    run_and_free(p);
    model_close(m);
    return output;
}

static const char *quantized(const char *input, const char *name, const struct quern_quantize *q)
{
    struct quern_error e;
    struct plan *p;
    struct model *m = opened(input);
    const char *output = in_dir(name);
    cr_assert(plan_quantize(m, output, q, &p, &e) == QUERN_OK, "%s: %s", q->type, e.text);
    run_and_free(p);
    model_close(m);
    return output;
}

static const char *back(const char *input, const char *name, const char *type, bool keep_names)
{
    struct quern_error e;
    struct plan *p;
    struct model *m = opened(input);
    const char *output = in_dir(name);
    const struct back_request r = {.output = output, .type = type, .keep_names = keep_names};
    cr_assert(convert_back_plan(m, &r, &p, &e) == QUERN_OK, "%s", e.text);
    run_and_free(p);
    model_close(m);
    return output;
}

static const char *merged(const char *recipe, const char *name, const char *type)
{
    struct quern_error e;
    struct plan *p;
    const char *output = in_dir(name);
    const struct merge_request r = {.recipe_path = recipe, .output = output, .type = type};
    cr_assert(merge_plan(&r, &p, &e) == QUERN_OK, "%s", e.text);
    run_and_free(p);
    return output;
}

/* ---- verifying ------------------------------------------------------------------------------ */

static struct plan *planned(const char *source, const char *made, const struct quern_quantize *q,
                            const char *via)
{
    struct quern_error e;
    struct plan *p;
    const struct merge_request r = {
        .convert = {.quantize = q, .via = via}
    };
    cr_assert(verify_plan(source, made, &r, &p, &e) == QUERN_OK, "%s: %s", made, e.text);
    return p;
}

static struct plan *verified(const char *source, const char *made, const struct quern_quantize *q,
                             unsigned threads, uint64_t mem)
{
    struct quern_error e;
    const struct quern_run_options o = {.threads = threads, .mem_bytes = mem};
    struct plan *p = planned(source, made, q, NULL);
    cr_assert(plan_run(p, &o, NULL, &e) == QUERN_OK, "%s: %s", made, e.text);
    return p;
}

static const struct step *differing_step(const struct plan *p, const struct difference **d)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (p->differences[i].nblocks) {
            *d = &p->differences[i];
            return &p->steps[i];
        }
    return NULL;
}

static void exact(const char *source, const char *made, const struct quern_quantize *q)
{
    const struct difference *d = NULL;
    struct plan *p = verified(source, made, q, 2, 0);
    const struct step *s = differing_step(p, &d);
    cr_assert(p->nsteps > 0 && p->nsteps == p->verification->there->ntensors, "%s", made);
    cr_assert_null(s, "%s: %s: %" PRIu64 " blocks", made, s ? s->name.p : "", s ? d->nblocks : 0);
    cr_assert(p->verification->nkeys == 0 || p->verification->keys[0].describes, "%s: key %s", made,
              p->verification->keys[0].made ? p->verification->keys[0].made->key.p
                                            : p->verification->keys[0].there->key.p);
    cr_assert(plan_verified(p, false), "%s", made);
    plan_free(p);
}

Test(verify, every_family_of_types)
{
    static const char *const types[] = {
        "F32",  "F16",   "BF16",  "Q8_0",   "Q4_0",  "Q5_1",    "Q2_K",   "Q3_K_S",   "Q4_K_M",
        "Q6_K", "TQ2_0", "IQ1_M", "IQ2_XS", "IQ3_S", "IQ3_XXS", "IQ4_XS", "MXFP4_MOE"};
    const char *source = converted(POCKET "base", "p.gguf", "auto");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (unsigned weighed = 0; weighed < 2; weighed++) {
            const struct quern_quantize q = {.type = types[i], .imatrix = weighed ? IMATRIX : NULL};
            if (!weighed && (strncmp(types[i], "IQ1", 3) == 0 || strcmp(types[i], "IQ2_XS") == 0 ||
                             strcmp(types[i], "IQ3_XXS") == 0))
                continue; /* need a matrix */
            const char *made = quantized(source, text("q%zu%u.gguf", i, weighed), &q);
            exact(source, made, &(struct quern_quantize){.imatrix = q.imatrix});
            cr_assert(remove(made) == 0);
        }
    arena_free(&arena);
    CHECK_LEAKS();
}

/* The types of tensors come from the file, however it came to them. */
Test(verify, options_of_quantizing_need_not_be_known)
{
    static const char *const patterns[] = {"ffn_down=q6_k", "attn_v=f16"};
    static const char *const layers[] = {"1"};
    static const char *const keys[] = {"llama.context_length=int:77"};
    const char *source = converted(POCKET "base", "p.gguf", "auto");
    const struct quern_quantize mixed = {.type = "Q4_0",
                                         .output_tensor_type = "q5_1",
                                         .token_embedding_type = "bf16",
                                         .tensor_types = patterns,
                                         .ntensor_types = 2};
    exact(source, quantized(source, "mixed.gguf", &mixed), NULL);
    const char *pure =
        quantized(source, "pure.gguf", &(struct quern_quantize){.type = "Q4_K", .pure = true});
    exact(source, pure, NULL);
    exact(pure,
          quantized(pure, "again.gguf",
                    &(struct quern_quantize){.type = "Q3_K_M", .allow_requantize = true}),
          NULL);
    exact(source,
          quantized(
              source, "pruned.gguf",
              &(struct quern_quantize){.type = "Q4_0", .prune_layers = layers, .nprune_layers = 1}),
          &(struct quern_quantize){.prune_layers = layers, .nprune_layers = 1});
    const struct quern_quantize named = {.type = "Q8_0", .override_kvs = keys, .noverride_kvs = 1};
    const char *made = quantized(source, "named.gguf", &named);
    exact(source, made, &(struct quern_quantize){.override_kvs = keys, .noverride_kvs = 1});
    struct plan *p = verified(source, made, NULL, 2, 0);
    cr_assert(!plan_verified(p, false) && plan_verified(p, true));
    cr_assert(p->verification->nkeys == 1 &&
              str_is(p->verification->keys[0].made->key, "llama.context_length"));
    plan_free(p);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(verify, hugging_face_and_gguf_both_ways)
{
    const char *source = POCKET "base";
    const char *auto_ = converted(source, "a.gguf", "auto");
    exact(source, auto_, NULL);
    exact(source, converted(source, "f16.gguf", "f16"), NULL);
    exact(source, converted(source, "q8.gguf", "q8_0"), NULL);
    exact(source, converted(source, "q4.gguf", "Q4_K_M"), NULL);
    exact(source, quantized(auto_, "q5.gguf", &(struct quern_quantize){.type = "Q5_K_S"}), NULL);
    exact(auto_, back(auto_, "dir", "auto", false), NULL);
    exact(auto_, back(auto_, "dir32", "f32", false), NULL);
    exact(auto_, back(auto_, "own.safetensors", "auto", true), NULL);
    exact(source, back(source, "cast", "f16", false), NULL);
    exact(source, quantized(source, "f8", &(struct quern_quantize){.type = "F8_E4M3"}), NULL);
    exact(source,
          quantized(source, "box.gguf",
                    &(struct quern_quantize){.type = "Q4_0", .keep_names = true, .arch = "box"}),
          NULL);
    exact(POCKET "base/model.safetensors", back(source, "one.safetensors", "bf16", false), NULL);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* Where a model went through F16 first, its weights have become others. */
Test(verify, the_way_of_a_conversion)
{
    struct quern_error e;
    struct plan *p;
    write_text("r.yml", "merge_method: linear\ndtype: float32\nmodels:\n"
                        "- {model: " POCKET "base, parameters: {weight: 0.3}}\n"
                        "- {model: " POCKET "code, parameters: {weight: 0.6}}\n");
    const char *hf = merged(in_dir("r.yml"), "hf", NULL);
    const char *half = converted(hf, "half.gguf", "f16");
    const char *made = quantized(half, "q.gguf", &(struct quern_quantize){.type = "Q8_0"});
    exact(hf, half, NULL);
    exact(hf, made, NULL); /* the converter's auto is F16 here */
    p = planned(hf, made, NULL, "f32");
    cr_assert(plan_run(p, NULL, NULL, &e) == QUERN_OK && !plan_verified(p, true));
    plan_free(p);
    const char *wide = converted(hf, "wide.gguf", "f32");
    made = quantized(wide, "w.gguf", &(struct quern_quantize){.type = "Q8_0"});
    p = planned(hf, made, NULL, "f32");
    cr_assert(plan_run(p, NULL, NULL, &e) == QUERN_OK && plan_verified(p, false));
    plan_free(p);
    const struct merge_request r = {.convert = {.via = "q4_0"}};
    cr_assert_eq(verify_plan(hf, made, &r, &p, &e), QUERN_EUSAGE);
    cr_assert(strstr(e.text, "expected auto, f32, f16 or bf16"), "%s", e.text);
    cr_assert_eq(verify_plan(half, made, &r, &p, &e), QUERN_EUSAGE);
    cr_assert(strstr(e.text, "--via decides nothing"), "%s", e.text);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(verify, recipes)
{
    static const char *const recipes[] = {
        "merge_method: slerp\nbase_model: " POCKET "base\nparameters: {t: 0.3}\ndtype: bfloat16\n"
        "models: [{model: " POCKET "base}, {model: " POCKET "code}]\n",
        "merge_method: ties\nbase_model: " POCKET "base\nparameters: {density: 0.5, weight: 0.7}\n"
        "dtype: float32\nout_dtype: float16\n"
        "models: [{model: " POCKET "prose}, {model: " POCKET "code}]\n",
        "merge_method: dare_ties\nbase_model: " POCKET "base\n"
        "parameters: {density: 0.5, weight: 0.7}\n"
        "models: [{model: " POCKET "prose}, {model: " POCKET "code}]\n"};
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        const char *recipe = in_dir("r.yml");
        write_text("r.yml", recipes[i]);
        exact(recipe, merged(recipe, text("m%zu", i), NULL), NULL);
        exact(recipe, merged(recipe, text("m%zu.safetensors", i), NULL), NULL);
        exact(recipe, merged(recipe, text("m%zu.gguf", i), NULL), NULL);
        exact(recipe, merged(recipe, text("q%zu.gguf", i), "Q4_K_M"), NULL);
    }
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- differences ---------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void flip(const char *path, uint64_t at, unsigned bit)
{
    FILE *f = fopen(path, "r+");
    cr_assert(f && fseek(f, (long)at, SEEK_SET) == 0);
    const int c = fgetc(f);
    cr_assert(c != EOF && fseek(f, (long)at, SEEK_SET) == 0);
    cr_assert(fputc(c ^ (1 << bit), f) != EOF && fclose(f) == 0);
}

/* Flips a bit of a tensor's data, looks for it, and flips it back. */
static void find_flip(const char *source, const char *made, uint64_t *state)
{
    struct model *m = opened(made);
    const struct tensor *t = &m->tensors[next_random(state) % m->ntensors];
    const uint64_t byte = next_random(state) % t->nbytes;
    const unsigned bit = (unsigned)(next_random(state) % 8);
    const struct dtype_traits *traits = &dtype_traits[t->dtype];
    const uint64_t block = byte / traits->block_bytes, elem = block * traits->block_elems;
    flip(made, t->offset + byte, bit);
    const struct difference *d = NULL;
    struct plan *p = verified(source, made, NULL, 1 + (unsigned)(*state % 3), 0);
    const struct step *s = differing_step(p, &d);
    cr_assert(!plan_verified(p, true), "%s byte %" PRIu64, t->name.p, byte);
    cr_assert(s && str_eq(s->name, t->name), "%s", t->name.p);
    cr_assert(d->nblocks == 1 && d->first_block == block, "%s byte %" PRIu64 ": block %" PRIu64,
              t->name.p, byte, d->first_block);
    cr_assert(d->first_elem >= elem && d->first_elem < elem + traits->block_elems);
    cr_assert(d->errors.max_error == 0 || d->errors.max_at / traits->block_elems == block);
    for (uint32_t i = 0; i < p->nsteps; i++)
        cr_assert(p->differences[i].nblocks == 0 || &p->differences[i] == d);
    plan_free(p);
    flip(made, t->offset + byte, bit);
    model_close(m);
}

Test(verify, one_bit_anywhere)
{
    static const char *const types[] = {"F16", "Q8_0", "Q4_K_M", "Q2_K", "IQ4_XS"};
    uint64_t state = 20261128;
    const char *source = converted(POCKET "base", "p.gguf", "auto");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *made =
            quantized(source, text("q%zu.gguf", i), &(struct quern_quantize){.type = types[i]});
        for (unsigned k = 0; k < 8; k++)
            find_flip(source, made, &state);
        exact(source, made, NULL);
    }
    arena_free(&arena);
    CHECK_LEAKS();
}

/* The same figures to the last bit. */
Test(verify, threads_and_memory_do_not_matter)
{
    const char *recipe = in_dir("r.yml");
    write_text("r.yml", "merge_method: slerp\nbase_model: " POCKET
                        "base\nparameters: {t: 0.3}\ndtype: bfloat16\n"
                        "models: [{model: " POCKET "base}, {model: " POCKET "code}]\n");
    const char *made = merged(recipe, "m.gguf", "Q4_K_M");
    write_text("r.yml", "merge_method: slerp\nbase_model: " POCKET
                        "base\nparameters: {t: 0.32}\ndtype: bfloat16\n"
                        "models: [{model: " POCKET "base}, {model: " POCKET "code}]\n");
    struct plan *first = verified(recipe, made, NULL, 1, 0);
    cr_assert(!plan_verified(first, true));
    for (unsigned threads = 2; threads <= 4; threads++) {
        struct plan *p = verified(recipe, made, NULL, threads, threads == 2 ? 8 << 20 : 0);
        cr_assert_eq(p->nsteps, first->nsteps);
        cr_assert(memcmp(p->differences, first->differences, p->nsteps * sizeof *p->differences) ==
                  0);
        plan_free(p);
    }
    plan_free(first);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(verify, another_importance_matrix)
{
    const char *source = converted(POCKET "base", "p.gguf", "auto");
    const char *made =
        quantized(source, "q.gguf", &(struct quern_quantize){.type = "Q4_K_M", .imatrix = IMATRIX});
    struct plan *p = verified(source, made, NULL, 2, 0);
    uint32_t ndiffer = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const bool differs = p->differences[i].nblocks > 0;
        ndiffer += differs;
        cr_assert(!differs || codec_uses_importance(p->steps[i].dtype), "%s", p->steps[i].name.p);
    }
    cr_assert(ndiffer > 5);
    plan_free(p);
    const char *needs = quantized(source, "iq.gguf",
                                  &(struct quern_quantize){.type = "IQ2_XS", .imatrix = IMATRIX});
    struct quern_error e;
    p = planned(source, needs, NULL, NULL);
    cr_assert_eq(plan_run(p, NULL, NULL, &e), QUERN_EUSAGE);
    cr_assert(strstr(e.text, "expected --imatrix FILE, with the matrix it was made with"), "%s",
              e.text);
    plan_free(p);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- what does not match -------------------------------------------------------------------- */

static const char *model_with(const char *name, const char *json, size_t nbytes)
{
    const char *path = in_dir(name);
    const uint64_t n = strlen(json);
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(&n, 8, 1, f) == 1 && fwrite(json, 1, n, f) == n);
    for (size_t i = 0; i < nbytes; i++)
        cr_assert(fputc((int)(i % 50), f) != EOF);
    fclose(f);
    return path;
}

Test(verify, tensors_without_partner)
{
    const char *a = model_with("a.safetensors",
                               "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"1\"},"
                               "\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                               "\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,32]},"
                               "\"c\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[32,40]},"
                               "\"d\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[40,52]}}",
                               52);
    const char *b =
        model_with("b.safetensors",
                   "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"2\",\"y\":\"3\"},"
                   "\"a\":{\"dtype\":\"F32\",\"shape\":[1,2,2],\"data_offsets\":[0,16]},"
                   "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[16,32]},"
                   "\"c\":{\"dtype\":\"U32\",\"shape\":[2],\"data_offsets\":[32,40]},"
                   "\"e\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[40,52]}}",
                   52);
    struct plan *p = verified(a, b, NULL, 2, 0);
    const struct verification *v = p->verification;
    cr_assert_eq(p->nsteps, 1u);
    cr_assert_eq(p->differences[0].nblocks, 0u);
    cr_assert_eq(v->ntensors, 4u);
    cr_assert(str_is(v->tensors[0].name, "b") && v->tensors[0].other_shape);
    cr_assert(str_is(v->tensors[1].name, "c") && !v->tensors[1].other_shape &&
              v->tensors[1].made->dtype == DTYPE_I32 && v->tensors[1].there->dtype == DTYPE_U32);
    cr_assert(str_is(v->tensors[2].name, "d") && !v->tensors[2].there);
    cr_assert(str_is(v->tensors[3].name, "e") && !v->tensors[3].made);
    cr_assert_eq(v->nkeys, 2u);
    cr_assert(str_is(v->keys[0].made->key, "x") && !v->keys[0].describes);
    cr_assert(!v->keys[1].made && str_is(v->keys[1].there->key, "y"));
    cr_assert(!plan_verified(p, true));
    plan_free(p);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* Doubles and integers: a value that no float can tell, a byte that is no number. */
Test(verify, doubles_and_bytes)
{
    static const char json[] = "{\"d\":{\"dtype\":\"F64\",\"shape\":[3],\"data_offsets\":[0,24]},"
                               "\"i\":{\"dtype\":\"I8\",\"shape\":[2,4],\"data_offsets\":[24,32]}}";
    const char *a = model_with("a.safetensors", json, 32);
    const char *b = model_with("b.safetensors", json, 32);
    const uint64_t data = 8 + strlen(json);
    flip(b, data + 8, 0); /* the last bit of the second double */
    flip(b, data + 24 + 6, 3);
    struct plan *p = verified(a, b, NULL, 2, 0);
    cr_assert_eq(p->nsteps, 2u);
    const struct difference *d = &p->differences[0], *i = &p->differences[1];
    cr_assert(d->nblocks == 1 && d->first_elem == 1 && d->errors.max_at == 1);
    cr_assert(d->errors.max_error > 0 && d->errors.max_error < 1e-10);
    cr_assert(i->nblocks == 1 && i->first_elem == 6 && i->errors.npairs == 0);
    plan_free(p);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(verify, figures_are_those_of_the_blocks_that_differ)
{
    static float ours[3000], theirs[3000], a[PIECE], b[PIECE];
    const struct step s = {.dtype = DTYPE_F32, .nelems = 3000};
    struct difference d = {.nblocks = 0};
    for (unsigned i = 0; i < 3000; i++)
        ours[i] = theirs[i] = 2.0f;
    theirs[700] = 3.0f; /* of 512 to 768 */
    theirs[701] = 2.5f;
    theirs[2999] = -2.0f; /* of 2816 to 3000 */
    const struct stored_pair pair = {.step = &s,
                                     .ours = (const uint8_t *)ours,
                                     .theirs = (const uint8_t *)theirs,
                                     .first = 65536,
                                     .n = 3000,
                                     .a = a,
                                     .b = b};
    differences_find(&pair, &d);
    cr_assert(d.nblocks == 3 && d.first_block == 65536 + 700 && d.first_elem == 65536 + 700);
    cr_assert_eq(d.errors.npairs, 256u + 184u);
    cr_assert(d.errors.max_error == 4.0 && d.errors.max_at == 65536 + 2999);
    cr_assert_eq(d.errors.sum[SUM_ERROR_SQ], 1.0 + 0.25 + 16.0);
    cr_assert_eq(d.errors.sum[SUM_AA], 4.0 * 440);
    struct difference both;
    differences_fold((struct difference[]){{.nblocks = 0}, d, d}, 3, &both);
    cr_assert(both.nblocks == 6 && both.first_block == 65536 + 700);
    cr_assert_eq(both.errors.sum[SUM_ERROR_SQ], 2 * 17.25);
}

Test(verify, small_files_beside_the_weights)
{
    const char *made = back(POCKET "base", "m", "f16", false);
    exact(POCKET "base", made, NULL);
    struct str config;
    struct quern_error e;
    const char *path = text("%s/config.json", made);
    cr_assert(read_small_file(path, 1 << 20, &arena, &config, &e) == QUERN_OK);
    char *edited = strstr((char *)config.p, "\"num_hidden_layers\"");
    cr_assert_not_null(edited);
    memcpy(edited, "\"num_hidden_lawyers", 18);
    write_text("m/config.json", config.p);
    write_text("m/merges.txt", "x");
    cr_assert(remove(text("%s/tokenizer.json", made)) == 0);
    struct plan *p = verified(POCKET "base", made, NULL, 2, 0);
    const struct verification *v = p->verification;
    unsigned found = 0;
    for (uint32_t i = 0; i < v->nsides; i++) {
        const struct side_mismatch *x = &v->sides[i];
        found |= x->key && strcmp(x->key, "num_hidden_layers") == 0 ? 1 : 0;
        found |=
            strcmp(x->name, "tokenizer.json") == 0 && strcmp(x->what, "is missing") == 0 ? 2 : 0;
        found |= strcmp(x->name, "merges.txt") == 0 ? 4 : 0;
    }
    cr_assert_eq(found, 7u, "%u", found);
    cr_assert(!plan_verified(p, false) && plan_verified(p, true));
    plan_free(p);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* Both files are named for what is wrong with them. */
Test(verify, hostile_files_are_named)
{
    struct quern_error e;
    struct plan *p;
    const struct merge_request r = {.seed = 0};
    const char *source = converted(POCKET "base", "p.gguf", "auto");
    const char *made = quantized(source, "q.gguf", &(struct quern_quantize){.type = "Q4_0"});
    cr_assert(truncate(made, 500000) == 0);
    cr_assert_eq(verify_plan(source, made, &r, &p, &e), QUERN_EFORMAT);
    cr_assert(strstr(e.text, "q.gguf"), "%s", e.text);
    cr_assert_eq(verify_plan(made, source, &r, &p, &e), QUERN_EFORMAT);
    cr_assert(strstr(e.text, "q.gguf"), "%s", e.text);
    cr_assert_eq(verify_plan("nowhere.yml", source, &r, &p, &e), QUERN_EIO);
    cr_assert(strstr(e.text, "nowhere.yml"), "%s", e.text);
    /* It changes while it is looked at. */
    made = quantized(source, "r.gguf", &(struct quern_quantize){.type = "Q4_0"});
    p = planned(source, made, NULL, NULL);
    cr_assert(truncate(made, 500000) == 0);
    cr_assert_eq(plan_run(p, NULL, NULL, &e), QUERN_EIO);
    cr_assert(strstr(e.text, "r.gguf"), "%s", e.text);
    plan_free(p);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- the public interface ------------------------------------------------------------------- */

Test(verify, public_interface)
{
    struct quern_error e;
    struct quern_plan *plan;
    struct quern_difference d;
    struct quern_mismatch x;
    const char *source = converted(POCKET "base", "p.gguf", "auto");
    const char *made =
        quantized(source, "q.gguf", &(struct quern_quantize){.type = "Q4_K_M", .imatrix = IMATRIX});
    struct model *m = opened(made);
    const struct tensor *t = model_find(m, STR("blk.1.ffn_up.weight"));
    flip(made, t->offset + 3 * 144 + 100, 2);
    model_close(m);
    const struct quern_quantize q = {.imatrix = IMATRIX};
    const struct quern_verify o = {.quantize = &q};
    cr_assert(quern_plan_verify(source, made, &o, &plan, &e) == QUERN_OK, "%s", e.text);
    cr_assert(quern_run(plan, NULL, NULL, &e) == QUERN_OK, "%s", e.text);
    unsigned n = 0;
    for (size_t i = 0; quern_plan_difference(plan, i, &d); i++) {
        if (d.exact)
            continue;
        n++;
        cr_assert_str_eq(d.tensor, "blk.1.ffn_up.weight");
        cr_assert_str_eq(d.type, "Q4_K");
        cr_assert(d.nblocks == 1 && d.total_blocks == 512 && d.block_elems == 256);
        cr_assert(d.row == 3 && d.block == 0 && d.has_values && d.max_error > 0);
        cr_assert(d.max_error_at == 3 * 256 + d.element && d.relative_rmse > 0);
    }
    cr_assert_eq(n, 1u);
    cr_assert(!quern_plan_mismatch(plan, 0, &x) || x.describes);
    quern_plan_free(plan);
    cr_assert_eq(quern_plan_verify(source, "nowhere.gguf", NULL, &plan, &e), QUERN_EIO);
    arena_free(&arena);
    CHECK_LEAKS();
}
