/* test_experts.c - mixtures whose experts are stacked, merged with those that have them one by one.
 */
#include "tests/merge_fixture.h"

TestSuite(experts, .init = begin, .fini = end);

#define E 3
#define I 2
#define H 4

/* write_model() knows two dimensions only. */
static void write_stacked(const char *name, const float *gate_up, const float *down,
                          const float *gate)
{
    const uint64_t up_dims[3] = {E, 2 * I, H}, down_dims[3] = {E, H, I}, gate_dims[2] = {E, H};
    struct st_tensor t[] = {
        {.name = STR("l.0.mlp.experts.down_proj"),
         .dims = down_dims,
         .ndims = 3,
         .dtype = DTYPE_F32,
         .nbytes = E * H * I * 4    },
        {.name = STR("l.0.mlp.experts.gate_up_proj"),
         .dims = up_dims,
         .ndims = 3,
         .dtype = DTYPE_F32,
         .nbytes = E * 2 * I * H * 4},
        {.name = STR("l.0.mlp.gate.weight"),
         .dims = gate_dims,
         .ndims = 2,
         .dtype = DTYPE_F32,
         .nbytes = E * H * 4        }
    };
    const void *const bytes[] = {down, gate_up, gate};
    struct str header;
    uint64_t file_bytes;
    struct quern_error err;
    cr_assert(safetensors_layout(&arena, NULL, 0, t, 3, &header, &file_bytes, &err) == QUERN_OK);
    FILE *f = fopen(in_dir(name), "w");
    cr_assert(f && fwrite(header.p, 1, header.n, f) == header.n);
    for (size_t i = 0; i < 3; i++)
        cr_assert(fseek(f, (long)t[i].offset, SEEK_SET) == 0 &&
                  fwrite(bytes[i], 1, t[i].nbytes, f) == t[i].nbytes);
    cr_assert(fclose(f) == 0);
}

static void write_singles(const char *name, const char *experts, const char *const ends[3],
                          const char *router, const float *gate_up, const float *down,
                          const float *gate)
{
    struct blob b[3 * E + 1];
    size_t n = 0;
    for (unsigned i = 0; i < E; i++) {
        const char *stem = text("l.0.%s.%u", experts, i);
        b[n++] = (struct blob){
            text("%s.%s.weight", stem, ends[0]), DTYPE_F32, {I, H},
                gate_up + i * 2 * I * H
        };
        b[n++] = (struct blob){
            text("%s.%s.weight", stem, ends[1]), DTYPE_F32, {I, H},
                gate_up + (i * 2 + 1) * I * H
        };
        b[n++] = (struct blob){
            text("%s.%s.weight", stem, ends[2]), DTYPE_F32, {H, I},
                down + i * H * I
        };
    }
    b[n++] = (struct blob){
        text("l.0.%s", router), DTYPE_F32, {E, H},
           gate
    };
    write_model(name, b, n);
}

static const float *ramp(float first, size_t n)
{
    float *x = arena_alloc(&arena, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = first + (float)i;
    return x;
}

#define LINEAR(x, y) \
    "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: " x "}, {model: " y "}]\n"

static void expect(const char *name, float first, size_t n)
{
    uint64_t count;
    const float *x = load(in_dir("out.safetensors"), name, &count);
    cr_assert(count == n, "%s", name);
    for (size_t i = 0; i < n; i++)
        cr_assert(x[i] == first + (float)i, "%s[%zu] = %g", name, i, (double)x[i]);
}

Test(experts, are_paired_in_the_layout_of_the_first)
{
    static const char *const names[2][3] = {
        {"gate_proj", "up_proj", "down_proj"},
        {"w1",        "w3",      "w2"       }
    };
    static const char *const stems[] = {"mlp.experts", "block_sparse_moe.experts"};
    static const char *const routers[] = {"mlp.gate.weight", "block_sparse_moe.gate.weight"};
    const size_t n = E * I * H;
    write_stacked("s.safetensors", ramp(1000, 2 * n), ramp(2000, n), ramp(3000, E * H));
    for (size_t k = 0; k < 2; k++) {
        write_singles("o.safetensors", stems[k], names[k], routers[k], ramp(0, 2 * n), ramp(100, n),
                      ramp(200, E * H));
        merge("s o", LINEAR("s", "o"));
        expect("l.0.mlp.experts.gate_up_proj", 500, 2 * n);
        expect("l.0.mlp.experts.down_proj", 1050, n);
        expect("l.0.mlp.gate.weight", 1600, E * H);
        merge("s o", LINEAR("o", "s"));
        for (unsigned i = 0; i < E; i++) {
            const char *stem = text("l.0.%s.%u", stems[k], i);
            expect(text("%s.%s.weight", stem, names[k][0]), 500 + (float)(i * 2 * I * H), I * H);
            expect(text("%s.%s.weight", stem, names[k][1]), 500 + (float)((i * 2 + 1) * I * H),
                   I * H);
            expect(text("%s.%s.weight", stem, names[k][2]), 1050 + (float)(i * I * H), I * H);
        }
        expect(text("l.0.%s", routers[k]), 1600, E * H);
    }
    CHECK_LEAKS();
}

Test(experts, other_shapes_are_refused)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    const size_t n = E * I * H;
    write_stacked("s.safetensors", ramp(0, 2 * n), ramp(0, n), ramp(0, E * H));
    write_singles("o.safetensors", "mlp.experts", names, "mlp.gate.weight", ramp(0, 2 * n),
                  ramp(0, n), ramp(0, E * H));
    struct blob b[] = {
        {"l.0.mlp.experts.0.gate_proj.weight", DTYPE_F32, {I, H}, ramp(0, I * H)},
        {"l.0.mlp.experts.0.up_proj.weight",   DTYPE_F32, {I, H}, ramp(0, I * H)},
        {"l.0.mlp.experts.0.down_proj.weight", DTYPE_F32, {H, I}, ramp(0, I * H)},
        {"l.0.mlp.gate.weight",                DTYPE_F32, {E, H}, ramp(0, E * H)}
    };
    write_model("few.safetensors", b, 4);
    REFUSED("s few", LINEAR("s", "few"), QUERN_EUSAGE, "[1, 4, 2]", "[3, 4, 2]");
    b[1].dims[0] = 1;
    write_model("few.safetensors", b, 4);
    REFUSED("s few", LINEAR("s", "few"), QUERN_EUSAGE, "[1, 4, 2]", "1 more mistake");
    CHECK_LEAKS();
}
