/* Bilinear values of pictures at many points, and the level of a pyramid that a point is read from.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* A span has at most this many pixels. */
#define MAX_SPAN 128

/* Within 1e-6 of log2 for normal x > 0. A polynomial needs no division; its coefficients are least
 * squares at Chebyshev points. */
static inline float log2_positive(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    int32_t exponent = (bits - 0x3f3504f3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    bits -= exponent << 23;
    float m;
    memcpy(&m, &bits, 4);
    const float f = m - 1.0f;
    return (float)exponent +
           f * (1.44270101f +
                f * (-0.721368399f +
                     f * (0.480402304f +
                          f * (-0.359203663f +
                               f * (0.298261073f + f * (-0.270929628f + f * 0.165176996f))))));
}

static inline float clampf(float x, float lo, float hi) { return fminf(fmaxf(x, lo), hi); }

static inline float power_of_two(int32_t n) {
    int32_t bits = (127 + n) << 23;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* The level whose texels are as large as a pixel: det inv^3 texels. */
static inline float level_of(float det, float inv, float most) {
    return clampf(0.5f * log2_positive(det * inv * inv * inv), 0.0f, most);
}

/* Where points of a level lie: the texel up and to the left of each, and how far beyond it the
 * point is. */
typedef struct {
    int32_t at[MAX_SPAN];
    float fu[MAX_SPAN], fv[MAX_SPAN];
} Taps;

/* One level of the pyramid: wl x hl texels, `scale` times as large as the first, beginning at
 * `offset`. */
typedef struct {
    int32_t wl, hl, offset;
    float scale;
} Level;

/* Of a point (u, v) of level 0. At the level's edges the last pair is wl - 2, wl - 1, whose second
 * texel counts whole. */
static inline void tap(Taps *t, int32_t i, float u, float v, Level l) {
    const float ul = clampf((u + 0.5f) * l.scale - 0.5f, 0.0f, (float)(l.wl - 1)),
                vl = clampf((v + 0.5f) * l.scale - 0.5f, 0.0f, (float)(l.hl - 1));
    const int32_t x0 = (int32_t)fminf(ul, (float)(l.wl - 2)),
                  y0 = (int32_t)fminf(vl, (float)(l.hl - 2));
    t->fu[i] = ul - (float)x0;
    t->fv[i] = vl - (float)y0;
    t->at[i] = l.offset + y0 * l.wl + x0;
}

/* The same for points at least a texel inside the level. */
static inline void tap_inside(Taps *t, int32_t i, float u, float v, Level l) {
    const float ul = (u + 0.5f) * l.scale - 0.5f, vl = (v + 0.5f) * l.scale - 0.5f;
    const int32_t x0 = (int32_t)ul, y0 = (int32_t)vl;
    t->fu[i] = ul - (float)x0;
    t->fv[i] = vl - (float)y0;
    t->at[i] = l.offset + y0 * l.wl + x0;
}

typedef float float4 __attribute__((vector_size(16)));
typedef double double2 __attribute__((vector_size(16)));
#ifdef __clang__
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD(a, b)  __builtin_shufflevector(a, b, 1, 3, 5, 7)
#else
typedef int32_t lanes __attribute__((vector_size(16)));
#define EVEN(a, b) __builtin_shuffle(a, b, (lanes){0, 2, 4, 6})
#define ODD(a, b)  __builtin_shuffle(a, b, (lanes){1, 3, 5, 7})
#endif

/* Two pairs of neighbours, as one vector: pairs are loaded as doubles are, in one piece. */
static inline float4 two_pairs(const float *first, const float *second) {
    double2 both;
    memcpy(&both, first, 8);
    double upper;
    memcpy(&upper, second, 8);
    both[1] = upper;
    return (float4)both;
}

/* The bilinear values of n points, four at a time: a pair of neighbours is one load, where a gather
 * makes two slow ones. Where there is a `blend`, they take that share of `value`. */
static inline void fetch(const Taps *t, const float *plane, int32_t wl, int32_t n,
                         const float *blend, float *value) {
    const float *under = plane + wl;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const int32_t a = t->at[i], b = t->at[i + 1], c = t->at[i + 2], d = t->at[i + 3];
        const float4 above = two_pairs(plane + a, plane + b),
                     more_above = two_pairs(plane + c, plane + d);
        const float4 below = two_pairs(under + a, under + b),
                     more_below = two_pairs(under + c, under + d);
        const float4 top = EVEN(above, more_above), bottom = EVEN(below, more_below);
        float4 fu, fv, share, old;
        memcpy(&fu, t->fu + i, 16);
        memcpy(&fv, t->fv + i, 16);
        const float4 upper = top + (ODD(above, more_above) - top) * fu,
                     lower = bottom + (ODD(below, more_below) - bottom) * fu;
        float4 found = upper + (lower - upper) * fv;
        if (blend) {
            memcpy(&share, blend + i, 16);
            memcpy(&old, value + i, 16);
            found = old + (found - old) * share;
        }
        memcpy(value + i, &found, 16);
    }
    for (; i < n; i++) {
        const float *above = plane + t->at[i], *below = under + t->at[i];
        const float upper = above[0] + (above[1] - above[0]) * t->fu[i],
                    lower = below[0] + (below[1] - below[0]) * t->fu[i];
        const float found = upper + (lower - upper) * t->fv[i];
        value[i] = blend ? value[i] + (found - value[i]) * blend[i] : found;
    }
}

/* Share of a pixel at (u, v), 1/k texels wide, that a picture of right + 0.5 by below + 0.5 texels
 * fills. */
static inline float covered(float u, float v, float k, float right, float below) {
    return clampf((u + 0.5f) * k + 0.5f, 0.0f, 1.0f) * clampf((right - u) * k + 0.5f, 0.0f, 1.0f) *
           clampf((v + 0.5f) * k + 0.5f, 0.0f, 1.0f) * clampf((below - v) * k + 0.5f, 0.0f, 1.0f);
}
