/* reference_grid.c - scalar encoders of the IQ1, IQ2 and IQ3 types, byte for byte those of
 * llama.cpp.
 *
 * Sums run in index order in one float and every operation rounds once. */
#include "reference.h"

#include <float.h>
#include <math.h>

#include "grid_neighbours.h"
#include "searches.h"

#define X(id, block) DEFINE_ENCODE(id, block)
GRID_ENCODE_LIST(X)
#undef X
#define X(id, block) DEFINE_ENCODE_IM(id, block)
GRID_ENCODE_IM_LIST(X)
#undef X

static float larger(float a, float b)
{
    return a > b ? a : b;
}

/* The level of 0..top whose 2 * level + 1 is nearest to x / scale. */
static int odd_level(float inverse, float x, int top)
{
    return clamp_int(nearest(0.5f * (inverse * x - 1.0f)), 0, top);
}

static float sum_of_squares(const float *x)
{
    float sum = 0.0f;
    for (int i = 0; i < SUPER; i++)
        sum += x[i] * x[i];
    return sum;
}

/* What an error at each weight counts for, as importance has it. */
static void weigh(const float *x, const float *qw, float sigma2, int n, float *w)
{
    for (int i = 0; i < n; i++)
        w[i] = qw[i] * sqrtf(sigma2 + x[i] * x[i]);
}

/* ... and without. */
static void weigh_plainly(const float *x, float more, int n, float *w)
{
    for (int i = 0; i < n; i++)
        w[i] = more + x[i] * x[i];
}

/* ---- IQ2 and IQ3: the search ---------------------------------------------------------------- */

/* After the best scale is found, which points are chosen anew for it. */
enum again {
    AGAIN_OFF_GRID,       /* those that had to be moved to a neighbour */
    AGAIN_ALL_IF_ANY_OFF, /* all when there is one */
    AGAIN_ALWAYS,         /* all */
};

struct search {
    enum grid_id grid;
    int nweights;    /* of a sub-block */
    bool even_signs; /* per eight weights, so that seven need storing */
    float tiny;      /* a sub-block whose largest weight is below this counts as zero */
    int top;         /* value of the highest level */
    int nsteps;      /* scales tried: largest / (top + step * is), is = -nsteps..nsteps */
    float step;
    enum again again;
};

static const struct search iq2_xxs = {GRID_IQ2_XXS, 32, true, 1e-15f, 5, 6, 0.1f, AGAIN_ALWAYS};
static const struct search iq2_xs = {GRID_IQ2_XS, 16, true, 1e-15f, 5, 9, 0.1f, AGAIN_OFF_GRID};
static const struct search iq2_s = {GRID_IQ2_S, 16, false, 1e-8f, 5, 9, 0.1f, AGAIN_OFF_GRID};
static const struct search iq3_xxs = {GRID_IQ3_XXS, 32, true, 1e-8f, 15, 15, 0.2f, AGAIN_OFF_GRID};
/* Only zero itself is below the smallest float. */
static const struct search iq3_s = {GRID_IQ3_S, 32, false, 1e-45f,
                                    15,         9,  0.2f,  AGAIN_ALL_IF_ANY_OFF};

enum { MAX_SUB = 32, MAX_GROUPS = 8 };

/* A sub-block: weights that share a scale. */
struct sub {
    const struct search *search;
    const struct grid *grid;
    float x[MAX_SUB]; /* magnitudes; with even signs, some are negative */
    float w[MAX_SUB];
    float root[MAX_SUB]; /* of w: what counts in the choice of neighbours */
    float scale;         /* 0 for a tiny one */
    uint16_t codes[MAX_GROUPS];
    bool on_grid[MAX_GROUPS];
    uint8_t signs[MAX_SUB / 8]; /* bit set: minus */
};

static int ngroups(const struct sub *s)
{
    return s->search->nweights / s->grid->ndims;
}

static int level(const struct grid *g, uint16_t code, int i)
{
    return code >> i * g->nbits & ((1 << g->nbits) - 1);
}

/* Makes the number of minus signs among eight even, at the weight where that costs least. */
static void flip_cheapest(const float *x, const float *w, float *magnitude, uint8_t *signs)
{
    int at = 0;
    float least = w[0] * x[0] * x[0];
    for (int i = 1; i < 8; i++) {
        const float cost = w[i] * x[i] * x[i];
        if (cost < least) {
            least = cost;
            at = i;
        }
    }
    magnitude[at] = -magnitude[at];
    *signs ^= (uint8_t)(1 << at);
}

static void split_signs(const float *x, struct sub *s)
{
    for (int g = 0; g < s->search->nweights; g += 8) {
        uint8_t signs = 0;
        for (int i = 0; i < 8; i++) {
            const bool plus = x[g + i] >= 0.0f;
            s->x[g + i] = plus ? x[g + i] : -x[g + i];
            signs |= (uint8_t)(!plus << i);
        }
        if (s->search->even_signs && __builtin_parity(signs))
            flip_cheapest(x + g, s->w + g, s->x + g, &signs);
        s->signs[g / 8] = s->search->even_signs ? signs & 127 : signs;
    }
}

/* The levels of one group for 1/scale = inverse, on the grid or not. */
static uint16_t round_group(const struct grid *g, const float *x, float inverse)
{
    int code = 0;
    for (int i = 0; i < g->ndims; i++)
        code |= odd_level(inverse, x[i], g->nlevels - 1) << i * g->nbits;
    return (uint16_t)code;
}

/* The neighbour with the least error, the first one when there are several. */
static uint16_t best_neighbour(const struct grid *g, uint32_t place, const float *x, const float *w,
                               float scale)
{
    const uint16_t *list = g->neighbours + place_start(place);
    uint16_t best = list[0];
    float least = FLT_MAX;
    for (unsigned k = 0; k < place_count(place); k++) {
        float error = 0.0f;
        for (int i = 0; i < g->ndims; i++) {
            const float diff = scale * (float)(2 * level(g, list[k], i) + 1) - x[i];
            error += w[i] * diff * diff;
        }
        if (error < least) {
            least = error;
            best = list[k];
        }
    }
    return best;
}

/* The grid point for group k. */
static uint16_t choose_point(const struct sub *s, int k, float inverse, float scale, bool *on_grid)
{
    const int first = k * s->grid->ndims;
    const uint16_t code = round_group(s->grid, s->x + first, inverse);
    const uint32_t place = s->grid->places[grid_key(s->grid, code)];
    *on_grid = !place_is_list(place);
    return *on_grid ? code : best_neighbour(s->grid, place, s->x + first, s->root + first, scale);
}

/* Sums for given codes: qx / q2 is the scale with the least error, qx * qx / q2 how much error it
 * removes. */
struct sums {
    float qx, q2;
};

static struct sums fit(const struct sub *s, const uint16_t *codes)
{
    const int ndims = s->grid->ndims;
    struct sums sum = {0.0f, 0.0f};
    for (int i = 0; i < s->search->nweights; i++) {
        const float w = s->w[i], q = (float)(2 * level(s->grid, codes[i / ndims], i % ndims) + 1);
        sum.qx += w * s->x[i] * q;
        sum.q2 += w * q * q;
    }
    return sum;
}

/* Tries scales around the one that maps largest to the highest level. */
static void try_scales(struct sub *s, float largest)
{
    float best = 0.0f;
    for (int is = -s->search->nsteps; is <= s->search->nsteps; is++) {
        const float inverse = ((float)s->search->top + (float)is * s->search->step) / largest;
        uint16_t codes[MAX_GROUPS];
        bool on_grid[MAX_GROUPS];
        for (int k = 0; k < ngroups(s); k++)
            codes[k] = choose_point(s, k, inverse, 1.0f / inverse, &on_grid[k]);
        const struct sums sum = fit(s, codes);
        if (sum.q2 > 0.0f && sum.qx * sum.qx > best * sum.q2) {
            s->scale = sum.qx / sum.q2;
            best = s->scale * sum.qx;
            memcpy(s->codes, codes, sizeof codes);
            memcpy(s->on_grid, on_grid, sizeof on_grid);
        }
    }
}

/* Chooses points anew for the scale found. */
static void choose_again(struct sub *s)
{
    bool any_off = false, on_grid;
    for (int k = 0; k < ngroups(s); k++)
        any_off |= !s->on_grid[k];
    if (!(s->scale > 0.0f) || !(any_off || s->search->again == AGAIN_ALWAYS))
        return;

    const float inverse = 1.0f / s->scale;
    for (int k = 0; k < ngroups(s); k++)
        if (s->search->again != AGAIN_OFF_GRID || !s->on_grid[k])
            s->codes[k] = choose_point(s, k, inverse, s->scale, &on_grid);
    const struct sums sum = fit(s, s->codes);
    if (sum.q2 > 0.0f)
        s->scale = sum.qx / sum.q2;
}

/* A scale is stored without sign. */
static void make_scale_positive(struct sub *s)
{
    if (s->scale < 0.0f) {
        s->scale = -s->scale;
        for (int g = 0; g < s->search->nweights / 8; g++)
            s->signs[g] = (uint8_t)~s->signs[g] & (s->search->even_signs ? 127 : 255);
    }
}

/* x and s->w to codes, signs and scale. */
static void search_sub(const float *x, struct sub *s)
{
    const int n = s->search->nweights;
    memset(s->codes, 0, sizeof s->codes);
    memset(s->on_grid, s->search->again != AGAIN_ALL_IF_ANY_OFF, sizeof s->on_grid);
    for (int i = 0; i < n; i++)
        s->root[i] = sqrtf(s->w[i]);
    split_signs(x, s);

    float largest = s->x[0];
    for (int i = 1; i < n; i++)
        largest = larger(largest, s->x[i]);
    bool is_zero = largest < s->search->tiny;
    s->scale = largest / (float)s->search->top;
    if (s->search->grid == GRID_IQ2_XXS && !is_zero) {
        uint8_t unused[MAX_SUB];
        s->scale = fit_scales(s->x, s->w, n, 4, unused);
        largest = s->scale * 3.0f;
        is_zero = largest <= 0.0f;
    }
    if (is_zero) {
        s->scale = 0.0f;
        memset(s->signs, 0, sizeof s->signs);
        return;
    }
    try_scales(s, largest);
    choose_again(s);
    make_scale_positive(s);
}

/* All sub-blocks of a block. qw is NULL where there is no importance. */
static void search_block(const struct search *search, const float *x, const float *qw,
                         struct sub *subs)
{
    const int n = search->nweights;
    const bool doubled = search != &iq2_xxs && search != &iq2_xs;
    const float sum = sum_of_squares(x);
    const float sigma2 = (doubled ? 2.0f * sum : sum) / (float)SUPER;
    for (int i = 0; i < SUPER; i += n) {
        struct sub *s = &subs[i / n];
        s->search = search;
        s->grid = grid_of(search->grid);
        if (qw)
            weigh(x + i, qw + i, sigma2, n, s->w);
        else
            weigh_plainly(x + i, search == &iq2_s ? 0.25f * sigma2 : 0.0f, n, s->w);
        search_sub(x + i, s);
    }
}

static unsigned point_index(const struct sub *s, int k)
{
    return place_index(s->grid->places[grid_key(s->grid, s->codes[k])]);
}

/* Scales become odd multiples of *d, 1 to 2 * top + 1. False for a block without any: all 0. */
static bool store_scales(const float *scales, int n, int top, float *d, uint8_t *codes)
{
    float max = 0.0f;
    for (int s = 0; s < n; s++)
        max = larger(max, scales[s]);
    *d = 0.0f;
    for (int s = 0; s < n; s++)
        codes[s] = 0;
    if (max == 0.0f)
        return false;
    *d = max / (float)(2 * top + 1);
    const float inverse = 1.0f / *d;
    for (int s = 0; s < n; s++)
        codes[s] = (uint8_t)odd_level(inverse, scales[s], top);
    return true;
}

static bool store_sub_scales(const struct sub *subs, float *d, uint8_t *codes)
{
    float scales[SUPER / 16];
    const int n = SUPER / subs->search->nweights;
    for (int s = 0; s < n; s++)
        scales[s] = subs[s].scale;
    return store_scales(scales, n, 15, d, codes);
}

static void pack_nibbles(const uint8_t *codes, int n, uint8_t *to)
{
    for (int i = 0; i < n; i += 2)
        to[i / 2] = (uint8_t)(codes[i] | codes[i + 1] << 4);
}

/* Four times seven signs and a scale. */
static uint32_t signs_and_scale(const struct sub *s, uint8_t scale)
{
    uint32_t all = (uint32_t)scale << 28;
    for (int g = 0; g < 4; g++)
        all |= (uint32_t)s->signs[g] << 7 * g;
    return all;
}

/* ---- IQ2 and IQ3: the blocks ---------------------------------------------------------------- */

static void encode_im_IQ2_XXS(const float *x, const float *qw, float row_sigma2,
                              struct block_iq2_xxs *b)
{
    struct sub subs[SUPER / 32];
    uint8_t scales[SUPER / 16] = {0};
    (void)row_sigma2;
    search_block(&iq2_xxs, x, qw, subs);
    float d;
    memset(b, 0, sizeof *b);
    if (!store_sub_scales(subs, &d, scales))
        return;
    b->d = f16_from_f32(d);
    for (int s = 0; s < SUPER / 32; s++) {
        uint32_t words[2] = {0, signs_and_scale(&subs[s], scales[s])};
        for (int k = 0; k < 4; k++)
            words[0] |= point_index(&subs[s], k) << 8 * k;
        memcpy(b->qs + 4 * s, words, sizeof words);
    }
}

static void encode_im_IQ2_XS(const float *x, const float *qw, float row_sigma2,
                             struct block_iq2_xs *b)
{
    struct sub subs[SUPER / 16];
    uint8_t scales[SUPER / 16] = {0};
    (void)row_sigma2;
    search_block(&iq2_xs, x, qw, subs);
    float d;
    memset(b, 0, sizeof *b);
    if (!store_sub_scales(subs, &d, scales))
        return;
    b->d = f16_from_f32(d);
    pack_nibbles(scales, SUPER / 16, b->scales);
    for (int g = 0; g < SUPER / 8; g++) {
        const struct sub *s = &subs[g / 2];
        b->qs[g] = (uint16_t)(point_index(s, g % 2) | (unsigned)s->signs[g % 2] << 9);
    }
}

static void encode_iq2_s(const float *x, const float *qw, struct block_iq2_s *b)
{
    struct sub subs[SUPER / 16];
    uint8_t scales[SUPER / 16] = {0};
    search_block(&iq2_s, x, qw, subs);
    float d;
    memset(b, 0, sizeof *b);
    store_sub_scales(subs, &d, scales);
    b->d = f16_from_f32(d * 0.9875f);
    pack_nibbles(scales, SUPER / 16, b->scales);
    for (int g = 0; g < SUPER / 8; g++) {
        const struct sub *s = &subs[g / 2];
        const unsigned index = point_index(s, g % 2);
        b->qs[g] = (uint8_t)index;
        b->qh[g / 4] |= (uint8_t)(index >> 8 << 2 * (g % 4));
        b->signs[g] = s->signs[g % 2];
    }
}

static void encode_IQ2_S(const float *x, struct block_iq2_s *b)
{
    encode_iq2_s(x, NULL, b);
}

static void encode_im_IQ2_S(const float *x, const float *qw, float row_sigma2,
                            struct block_iq2_s *b)
{
    (void)row_sigma2;
    encode_iq2_s(x, qw, b);
}

static void encode_iq3_xxs(const float *x, const float *qw, struct block_iq3_xxs *b)
{
    struct sub subs[SUPER / 32];
    uint8_t scales[SUPER / 16] = {0};
    search_block(&iq3_xxs, x, qw, subs);
    float d;
    memset(b, 0, sizeof *b);
    if (!store_sub_scales(subs, &d, scales))
        return;
    b->d = f16_from_f32(d * 1.0125f);
    for (int s = 0; s < SUPER / 32; s++) {
        const uint32_t extra = signs_and_scale(&subs[s], scales[s]);
        memcpy(b->signs_scales + 4 * s, &extra, sizeof extra);
        for (int k = 0; k < 8; k++)
            b->qs[8 * s + k] = (uint8_t)point_index(&subs[s], k);
    }
}

static void encode_IQ3_XXS(const float *x, struct block_iq3_xxs *b)
{
    encode_iq3_xxs(x, NULL, b);
}

static void encode_im_IQ3_XXS(const float *x, const float *qw, float row_sigma2,
                              struct block_iq3_xxs *b)
{
    (void)row_sigma2;
    encode_iq3_xxs(x, qw, b);
}

static void encode_iq3_s(const float *x, const float *qw, struct block_iq3_s *b)
{
    struct sub subs[SUPER / 32];
    uint8_t scales[SUPER / 16] = {0};
    search_block(&iq3_s, x, qw, subs);
    float d;
    memset(b, 0, sizeof *b);
    store_sub_scales(subs, &d, scales);
    b->d = f16_from_f32(d * 1.033f);
    pack_nibbles(scales, SUPER / 32, b->scales);
    for (int s = 0; s < SUPER / 32; s++) {
        for (int k = 0; k < 8; k++) {
            const unsigned index = point_index(&subs[s], k);
            b->qs[8 * s + k] = (uint8_t)index;
            b->qh[s] |= (uint8_t)(index >> 8 << k);
        }
        memcpy(b->signs + 4 * s, subs[s].signs, 4);
    }
}

static void encode_IQ3_S(const float *x, struct block_iq3_s *b)
{
    encode_iq3_s(x, NULL, b);
}

static void encode_im_IQ3_S(const float *x, const float *qw, float row_sigma2,
                            struct block_iq3_s *b)
{
    (void)row_sigma2;
    encode_iq3_s(x, qw, b);
}

/* ---- IQ1: the best of all ways to cut -------------------------------------------------------- */

/* The three values of a group: -1, 0, 1, all moved by an eighth up or down. */
static const float moved[2][3] = {
    {-0.875f, 0.125f,  1.125f},
    {-1.125f, -0.125f, 0.875f}
};

/* Numbers of weights in ascending order; equal ones keep theirs. */
static void sort_weights(const float *x, int n, int *order)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && x[i] < x[order[at - 1]]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static float largest_magnitude(const float *x, int n)
{
    float max = fabsf(x[0]);
    for (int i = 1; i < n; i++)
        max = larger(max, fabsf(x[i]));
    return max;
}

/* In ascending order, the weights before low become level 0, those from high on level 2. down says
 * of every half of the sub-block which values it takes; IQ1_S has the same for both. */
struct cut {
    int low, high;
    bool down[2];
    float scale, score;
};

/* Keeps the better cut, the older one when there is no difference. */
static void take_if_better(struct cut *best, int low, int high, bool down0, bool down1,
                           struct sums sum)
{
    if (sum.q2 > 0.0f && sum.qx * sum.qx > best->score * sum.q2) {
        const float scale = sum.qx / sum.q2;
        *best = (struct cut){
            low, high, {down0, down1},
              scale, scale * sum.qx
        };
    }
}

/* Neighbour with the least error, as best_neighbour(), for the values of a group that has moved. */
static uint16_t best_moved_neighbour(const struct grid *g, uint32_t place, const float *x,
                                     const float *w, float scale, const float *values)
{
    const uint16_t *list = g->neighbours + place_start(place);
    uint16_t best = list[0];
    float least = FLT_MAX;
    for (unsigned k = 0; k < place_count(place); k++) {
        float error = 0.0f;
        for (int i = 0; i < 8; i++) {
            const float diff = scale * values[level(g, list[k], i)] - x[i];
            error += w[i] * diff * diff;
        }
        if (error < least) {
            least = error;
            best = list[k];
        }
    }
    return best;
}

/* Adds n weights to sums, as fit(). */
static struct sums fit_moved(const struct grid *g, const float *x, const float *w, int n,
                             const uint16_t *codes, const bool *down, float times, struct sums sum)
{
    for (int i = 0; i < n; i++) {
        const float *values = moved[down[i * 2 / n]];
        const float q = values[level(g, codes[i / 8], i % 8)] * times;
        sum.qx += w[i] * q * x[i];
        sum.q2 += w[i] * q * q;
    }
    return sum;
}

/* The points of a sub-block of n weights after the cut, and its scale made positive. */
static void cut_to_points(const struct grid *g, const float *x, const float *w, int n,
                          const int *order, struct cut *cut, uint16_t *codes)
{
    uint8_t levels[MAX_SUB] = {0};
    for (int i = 0; i < n; i++)
        levels[order[i]] = i < cut->low ? 0 : i < cut->high ? 1 : 2;
    if (cut->scale < 0.0f) {
        for (int i = 0; i < n; i++)
            levels[i] = (uint8_t)(2 - levels[i]);
        cut->scale = -cut->scale;
        cut->down[0] = !cut->down[0];
        cut->down[1] = !cut->down[1];
    }

    bool any_off = false;
    for (int k = 0; k < n / 8; k++) {
        int code = 0;
        for (int i = 0; i < 8; i++)
            code |= levels[8 * k + i] << 2 * i;
        const uint32_t place = g->places[grid_key(g, (unsigned)code)];
        codes[k] = (uint16_t)code;
        if (place_is_list(place)) {
            any_off = true;
            codes[k] = best_moved_neighbour(g, place, x + 8 * k, w + 8 * k, cut->scale,
                                            moved[cut->down[16 * k / n]]);
        }
    }
    if (!any_off)
        return;
    const struct sums sum =
        fit_moved(g, x, w, n, codes, cut->down, 1.0f, (struct sums){0.0f, 0.0f});
    if (sum.qx > 0.0f && sum.q2 > 0.0f)
        cut->scale = sum.qx / sum.q2;
}

static const struct cut no_cut = {
    -1, -1, {false, false},
      0.0f, -FLT_MAX
};

/* IQ1_S: all cuts by way of running sums. */
static struct cut best_cut_of_32(const float *x, const float *w, const int *order)
{
    float wx[33], ww[33]; /* sums before each place */
    wx[0] = ww[0] = 0.0f;
    for (int i = 0; i < 32; i++) {
        wx[i + 1] = wx[i] + w[order[i]] * x[order[i]];
        ww[i + 1] = ww[i] + w[order[i]];
    }
    struct cut best = no_cut;
    for (int low = 0; low <= 32; low++) {
        for (int high = low; high <= 32; high++) {
            for (int down = 0; down < 2; down++) {
                const float *v = moved[down];
                const struct sums sum = {
                    wx[low] * v[0] + (wx[high] - wx[low]) * v[1] + (wx[32] - wx[high]) * v[2],
                    ww[low] * v[0] * v[0] + (ww[high] - ww[low]) * v[1] * v[1] +
                        (ww[32] - ww[high]) * v[2] * v[2]};
                take_if_better(&best, low, high, down, down, sum);
            }
        }
    }
    return best;
}

/* IQ1_M: sums of one cut, in ascending order of the weights. */
static struct sums sums_of_cut(const float *x, const float *w, const int *order,
                               const struct cut *cut)
{
    struct sums sum = {0.0f, 0.0f};
    for (int i = 0; i < 16; i++) {
        const int at = order[i], value = i < cut->low ? 0 : i < cut->high ? 1 : 2;
        const float q = moved[cut->down[at / 8]][value];
        sum.qx += w[at] * q * x[at];
        sum.q2 += w[at] * q * q;
    }
    return sum;
}

static struct cut best_cut_of_16(const float *x, const float *w, const int *order)
{
    struct cut best = no_cut;
    for (int low = 0; low <= 16; low++) {
        for (int high = low; high <= 16; high++) {
            for (int k = 0; k < 4; k++) {
                const struct cut cut = {
                    low, high, {k >= 2, k % 2},
                      0.0f, 0.0f
                };
                take_if_better(&best, low, high, cut.down[0], cut.down[1],
                               sums_of_cut(x, w, order, &cut));
            }
        }
    }
    return best;
}

/* A sub-block of IQ1_S (32 weights) or IQ1_M (16). */
struct iq1_sub {
    float w[32];
    float scale; /* 0 for a tiny one */
    uint16_t codes[4];
    bool down[2];
};

static void search_iq1(const struct grid *g, const float *x, int n, float tiny, struct iq1_sub *s)
{
    int order[32];
    s->scale = 0.0f;
    s->down[0] = s->down[1] = false;
    for (int k = 0; k < n / 8; k++)
        s->codes[k] = g->codes[0];
    if (largest_magnitude(x, n) < tiny)
        return;

    sort_weights(x, n, order);
    struct cut cut = n == 32 ? best_cut_of_32(x, s->w, order) : best_cut_of_16(x, s->w, order);
    if (cut.low < 0)
        return;
    cut_to_points(g, x, s->w, n, order, &cut, s->codes);
    s->scale = cut.scale;
    s->down[0] = cut.down[0];
    s->down[1] = cut.down[1];
}

static void encode_im_IQ1_S(const float *x, const float *qw, float row_sigma2,
                            struct block_iq1_s *b)
{
    const struct grid *g = grid_of(GRID_IQ1);
    const float sigma2 = 2.0f * sum_of_squares(x) / (float)SUPER;
    float scales[SUPER / 32], d;
    uint8_t codes[SUPER / 32];
    bool down[SUPER / 32];
    (void)row_sigma2;
    memset(b, 0, sizeof *b);
    for (int i = 0; i < SUPER / 32; i++) {
        struct iq1_sub s;
        weigh(x + 32 * i, qw + 32 * i, sigma2, 32, s.w);
        search_iq1(g, x + 32 * i, 32, 1e-12f, &s);
        scales[i] = s.scale;
        down[i] = s.down[0];
        for (int k = 0; k < 4; k++) {
            const unsigned index = place_index(g->places[grid_key(g, s.codes[k])]);
            b->qs[4 * i + k] = (uint8_t)index;
            b->qh[i] |= (uint16_t)(index >> 8 << 3 * k);
        }
    }
    if (!store_scales(scales, SUPER / 32, 7, &d, codes))
        return;
    b->d = f16_from_f32(d * 1.125f);
    for (int i = 0; i < SUPER / 32; i++)
        b->qh[i] |= (uint16_t)((codes[i] | (down[i] ? 8 : 0)) << 12);
}

/* The scale of a block that fits best once those of its sub-blocks are rounded. */
static float fit_block_of_iq1_m(const struct grid *g, const float *x, const struct iq1_sub *subs,
                                const uint8_t *codes, float d)
{
    struct sums sum = {0.0f, 0.0f};
    for (int i = 0; i < SUPER / 16; i++)
        sum = fit_moved(g, x + 16 * i, subs[i].w, 16, subs[i].codes, subs[i].down,
                        (float)(2 * codes[i] + 1), sum);
    return sum.q2 > 0.0f ? sum.qx / sum.q2 : d;
}

static void encode_iq1_m(const float *x, const float *qw, struct block_iq1_m *b)
{
    const struct grid *g = grid_of(GRID_IQ1);
    const float sigma2 = 2.0f * sum_of_squares(x) / (float)SUPER;
    struct iq1_sub subs[SUPER / 16];
    float scales[SUPER / 16], d;
    uint8_t codes[SUPER / 16];
    memset(b, 0, sizeof *b);
    for (int i = 0; i < SUPER / 16; i++) {
        if (qw)
            weigh(x + 16 * i, qw + 16 * i, sigma2, 16, subs[i].w);
        else
            weigh_plainly(x + 16 * i, 0.0f, 16, subs[i].w);
        search_iq1(g, x + 16 * i, 16, 1e-7f, &subs[i]);
        scales[i] = subs[i].scale;
        for (int k = 0; k < 2; k++) {
            const unsigned index = place_index(g->places[grid_key(g, subs[i].codes[k])]);
            b->qs[2 * i + k] = (uint8_t)index;
            b->qh[i] |= (uint8_t)(index >> 8 << 4 * k);
        }
    }
    if (!store_scales(scales, SUPER / 16, 7, &d, codes))
        return;

    for (int i = 0; i < SUPER / 16; i++) {
        b->scales[i / 4] |= (uint16_t)(codes[i] << 3 * (i % 4));
        b->qh[i] |= (uint8_t)((subs[i].down[0] ? 8 : 0) | (subs[i].down[1] ? 128 : 0));
    }
    const unsigned stored = f16_from_f32(fit_block_of_iq1_m(g, x, subs, codes, d) * 1.1125f);
    for (int i = 0; i < 4; i++)
        b->scales[i] |= (uint16_t)((stored >> 4 * i & 15) << 12);
}

static void encode_IQ1_M(const float *x, struct block_iq1_m *b)
{
    encode_iq1_m(x, NULL, b);
}

static void encode_im_IQ1_M(const float *x, const float *qw, float row_sigma2,
                            struct block_iq1_m *b)
{
    (void)row_sigma2;
    encode_iq1_m(x, qw, b);
}
