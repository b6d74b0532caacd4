/* test_quantize.c - plans of quern quantize: importance for steps, layers left out, refusals. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "leaks.h"
#include "pipeline/retype.h"
#include "scratch.h"

TestSuite(quantize, .init = scratch_begin, .fini = scratch_end);

/* ---- models without weights ------------------------------------------------------------------ */

enum { MOST = 64 };

struct sketch {
    struct arena arena;
    struct meta_list keys;
    struct gguf_tensor tensors[MOST];
    uint32_t n;
};

static void add(struct sketch *s, const char *name, enum dtype d, uint64_t nmats, uint64_t nrows,
                uint64_t ncols)
{
    uint64_t *dims = ARENA_NEW(&s->arena, uint64_t, 3);
    dims[0] = nmats;
    dims[1] = nrows;
    dims[2] = ncols;
    s->tensors[s->n++] =
        (struct gguf_tensor){.name = arena_str(&s->arena, str_from(name)),
                             .dims = nmats > 1 ? dims : dims + 1,
                             .ndims = nmats > 1 ? 3 : 2,
                             .dtype = d,
                             .nbytes = nmats * nrows * ncols * dtype_traits[d].block_bytes};
}

static struct sketch *sketch_new(uint32_t nlayers)
{
    struct sketch *s = calloc(1, sizeof *s);
    cr_assert(meta_list_copy(&s->keys, &s->arena, NULL, 0));
    cr_assert(meta_list_set_string(&s->keys, "general.architecture", STR("llama")));
    cr_assert(meta_list_set_u32(&s->keys, "llama.block_count", nlayers));
    return s;
}

static struct model *open_sketch(struct sketch *s)
{
    struct str header;
    uint64_t nbytes;
    struct quern_error e;
    struct model *m;
    cr_assert(gguf_layout(&s->arena, s->keys.items, s->keys.count, s->tensors, s->n, 32, &header,
                          &nbytes, &e) == QUERN_OK,
              "%s", e.text);
    const char *path = scratch_file("m.gguf", header);
    cr_assert(truncate(path, (off_t)nbytes) == 0);
    cr_assert(model_open(path, &m, &e) == QUERN_OK, "%s", e.text);
    arena_free(&s->arena);
    free(s);
    return m;
}

/* A .dat with one entry of n ones. */
static const char *matrix(const char *weight, int32_t n)
{
    char bytes[8192];
    size_t used = 0;
    const int32_t head[] = {1, (int32_t)strlen(weight)}, tail[] = {1, n};
    memcpy(bytes, head, sizeof head);
    used += sizeof head;
    memcpy(bytes + used, weight, strlen(weight));
    used += strlen(weight);
    memcpy(bytes + used, tail, sizeof tail);
    used += sizeof tail;
    for (int32_t i = 0; i < n; i++, used += sizeof(float))
        memcpy(bytes + used, &(float){1.0f}, sizeof(float));
    return scratch_file("m.dat", (struct str){bytes, used});
}

static enum quern_status plan_it(struct model *m, const struct quern_quantize *q, struct plan **p,
                                 struct quern_error *e)
{
    return plan_quantize(m, scratch("out.gguf"), q, p, e);
}

static const struct step *find_step(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (str_is(p->steps[i].name, name))
            return &p->steps[i];
    return NULL;
}

/* ---- importance ------------------------------------------------------------------------------ */

Test(quantize, experts_of_a_dat_lie_in_one_row)
{
    struct quern_error e;
    struct plan *p;
    struct sketch *s = sketch_new(1);
    add(s, "blk.0.ffn_up_exps.weight", DTYPE_F16, 4, 2, 256);
    struct model *m = open_sketch(s);
    const struct quern_quantize q = {.type = "Q4_K",
                                     .imatrix = matrix("blk.0.ffn_up_exps.weight", 1024)};
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    const struct imatrix_entry *given = p->steps[0].importance;
    cr_assert_not_null(given);
    cr_assert(given->ncols == 256 && given->nmats == 4);
    const struct imatrix_entry *found = imatrix_find(p->imatrix, p->steps[0].name);
    cr_assert(found->ncols == 1024 && found->nmats == 1, "the matrix itself is as it was");
    float v[300];
    cr_assert_eq(imatrix_read(p->imatrix, given, 700, 300, v, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(v[299], 1.0f);
    plan_free(p);

    const struct quern_quantize wrong = {.type = "Q4_K",
                                         .imatrix = matrix("blk.0.ffn_up_exps.weight", 256)};
    cr_assert_eq(plan_it(m, &wrong, &p, &e), QUERN_EUSAGE);
    cr_assert(strstr(e.text, "256 values") && strstr(e.text, "1024 (256 columns of 4 matrices)"),
              "%s", e.text);
    model_close(m);
    CHECK_LEAKS();
}

/* Embeddings may have an entry that does not fit. */
Test(quantize, importance_is_given_where_it_counts)
{
    struct quern_error e;
    struct plan *p;
    struct sketch *s = sketch_new(1);
    add(s, "token_embd.weight", DTYPE_F16, 1, 2, 256);
    add(s, "output.weight", DTYPE_F16, 1, 2, 256);
    struct model *m = open_sketch(s);
    struct quern_quantize q = {.type = "Q4_K", .imatrix = matrix("token_embd.weight", 255)};
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_null(find_step(p, "token_embd.weight")->importance);
    cr_assert_null(find_step(p, "output.weight")->importance);
    plan_free(p);
    q.imatrix = matrix("output.weight", 256);
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_not_null(find_step(p, "output.weight")->importance);
    cr_assert_eq(p->nmodels, 2u, "the matrix is an input: it is watched and counted");
    plan_free(p);
    q.type = "Q8_0"; /* makes nothing of it, but stats weigh errors by it */
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_not_null(find_step(p, "output.weight")->importance);
    plan_free(p);
    model_close(m);
    CHECK_LEAKS();
}

Test(quantize, a_plan_without_its_matrix_does_not_run)
{
    struct quern_error e;
    struct plan *p;
    struct sketch *s = sketch_new(1);
    add(s, "blk.0.attn_q.weight", DTYPE_F16, 1, 2, 256);
    struct model *m = open_sketch(s);
    const struct quern_quantize q = {.type = "IQ2_XXS"};
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(p->steps[0].dtype, DTYPE_IQ2_XXS);
    cr_assert_eq(plan_run(p, NULL, NULL, &e), QUERN_EUSAGE);
    cr_assert_str_eq(e.tensor, "blk.0.attn_q.weight");
    cr_assert_eq(plan_run(p, NULL, NULL, NULL), QUERN_EUSAGE);
    cr_assert_neq(access(p->files[0].path, F_OK), 0);
    plan_free(p);
    model_close(m);
    CHECK_LEAKS();
}

/* ---- pruning --------------------------------------------------------------------------------- */

/* Names by which byte order is not the order of layers. */
static struct model *encoder(uint32_t nlayers, uint64_t odd_row)
{
    struct sketch *s = sketch_new(nlayers);
    for (uint32_t i = 0; i < nlayers; i++) {
        char name[64];
        snprintf(name, sizeof name, "enc.blk.%" PRIu32 ".attn_q.weight", i);
        add(s, name, DTYPE_F16, 1, 2, i == 3 ? odd_row : 256);
    }
    return open_sketch(s);
}

static const char *const one_layer[] = {"9"}, *const first_layer[] = {"0"};

Test(quantize, layers_are_numbered_in_their_own_order)
{
    struct quern_error e;
    struct plan *p;
    struct model *m = encoder(12, 256);
    struct quern_quantize q = {.type = "COPY", .prune_layers = one_layer, .nprune_layers = 1};
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(p->nsteps, 11u);
    cr_assert_eq(p->ndropped, 1u);
    cr_assert_str_eq(p->dropped[0], "enc.blk.9.attn_q.weight: its layer is pruned");
    for (uint32_t i = 0; i < 11; i++) {
        char now[64], was[64];
        snprintf(now, sizeof now, "enc.blk.%" PRIu32 ".attn_q.weight", i);
        snprintf(was, sizeof was, "enc.blk.%" PRIu32 ".attn_q.weight", i + (i >= 9));
        const struct step *s = find_step(p, now);
        cr_assert_not_null(s, "%s", now);
        cr_assert(str_is(s->sources[0].tensor->name, was));
    }
    plan_free(p);
    /* llama-quantize numbers 10 and 11 after 1, and then has two layers called 2. */
    q.reference_bugs = true;
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_EUNSUPPORTED);
    cr_assert(strstr(e.text, "two tensors"), "%s", e.text);
    model_close(m);
    CHECK_LEAKS();
}

Test(quantize, misplaced_data_must_have_the_same_shape)
{
    struct quern_error e;
    struct plan *p;
    struct model *m = encoder(5, 512);
    struct quern_quantize q = {.type = "COPY", .prune_layers = first_layer, .nprune_layers = 1};
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_OK, "%s", e.text);
    plan_free(p);
    q.reference_bugs = true;
    cr_assert_eq(plan_it(m, &q, &p, &e), QUERN_EUNSUPPORTED);
    cr_assert(strstr(e.text, "another type or size"), "%s", e.text);
    model_close(m);
    CHECK_LEAKS();
}
