/* One pass over a planar view: homography, level of detail, two bilinear taps, antialiased edge.
 *
 * The arithmetic is that of `sample_reference` in images/sampler.py, its slow plain twin; the loops
 * are split so that a compiler vectorises each. Along a row the denominator is linear, so
 * coordinates and level are monotone: what holds at both ends of a span of pixels holds in it, so
 * spans are cut to lie in one level, before the camera or behind it, and most lie inside the
 * picture.
 */
#include "sampler.h"

#include <math.h>
#include <string.h>

/* A span has at most this many pixels. */
#define MAX_SPAN 128
/* A pyramid has at most this many levels. */
#define MAX_LEVELS 32

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

/* One row of one image: its homography, and the parts of it that are constant along the row. */
typedef struct {
    const float *m;
    float um, vm, dm, det;
} Row;

/* Pixels [start, start + n) of a row, all between the levels `near` (number `base`) and `far`.
 * flat: one level is enough; whole: they lie inside the picture, far enough from its edge. */
typedef struct {
    int32_t start, n, base;
    Level near, far;
    int flat, whole;
} Span;

/* A row's pixels from x = start on, at most MAX_SPAN of them, that lie in level `base`, before the
 * camera or behind it with the first. Where levels meet they agree, so a pixel more or less does no
 * harm. limits[k]: the denominator at which level k begins. */
static inline int32_t span_length(const float *limits, int32_t levels, int32_t base, const Row *row,
                                  int32_t start, int32_t w) {
    const float slope = row->m[6], at_zero = row->dm, first = slope * (float)start + at_zero;
    const int32_t most = w - start < MAX_SPAN ? w - start : MAX_SPAN;
    float limit = 0.0f; /* the horizon */
    if (slope == 0.0f || (first > 0.0f && slope > 0.0f && base == 0) ||
        (first <= 0.0f && slope < 0.0f))
        return most;
    if (first > 0.0f && slope > 0.0f)
        limit = limits[base];
    else if (first > 0.0f && base + 1 < levels)
        limit = limits[base + 1];
    int32_t n = (int32_t)clampf(ceilf((limit - at_zero) / slope) - (float)start, 1.0f, (float)most);
    while (n > 1 && (first > 0.0f) != (slope * (float)(start + n - 1) + at_zero > 0.0f))
        n--;
    return n;
}

/* Finds the rest of a span whose start, n and base are set; 0 where it shows nothing of the
 * picture: behind the camera or outside. */
static inline int reaches_picture(const Sampling *a, const Row *r, Span *s) {
    const float *m = r->m, right = (float)a->texture_w - 0.5f, below = (float)a->texture_h - 0.5f;
    const float x0 = (float)s->start, x1 = (float)(s->start + s->n - 1), d0 = m[6] * x0 + r->dm,
                i0 = 1.0f / d0, i1 = 1.0f / (m[6] * x1 + r->dm);
    const float u0 = (m[0] * x0 + r->um) * i0, u1 = (m[0] * x1 + r->um) * i1,
                v0 = (m[3] * x0 + r->vm) * i0, v1 = (m[3] * x1 + r->vm) * i1;
    const float left_end = fminf(u0, u1), right_end = fmaxf(u0, u1), upper_end = fminf(v0, v1),
                lower_end = fmaxf(v0, v1);
    /* texels a pixel */
    const float longest = fmaxf(i0, i1), farthest = r->det * longest * longest * longest;
    /* the coarser level's texel, and more than half of the widest pixel */
    const float room = 2.0f * sqrtf(fmaxf(farthest, 1.0f));
    if (!(d0 > 0.0f) || (a->background && (right_end + 0.5f <= -room || left_end - right >= room ||
                                           lower_end + 0.5f <= -room || upper_end - below >= room)))
        return 0;
    const int32_t base = s->base, up = base + 1 < a->levels ? base + 1 : base;
    s->near =
        (Level){a->padded_w >> base, a->padded_h >> base, a->offsets[base], power_of_two(-base)};
    s->far = (Level){a->padded_w >> up, a->padded_h >> up, a->offsets[up], power_of_two(-up)};
    s->flat = a->levels == 1 || farthest <= 1.0f;
    s->whole = left_end + 0.5f >= room && right - right_end >= room && upper_end + 0.5f >= room &&
               below - lower_end >= room;
    return 1;
}

/* Where a span's pixels lie in its levels; the share of the far one (unless flat), and how much of
 * each pixel the picture fills (unless whole). `restrict` lets compilers vectorise the loops even
 * where they do not inline them. */
static inline void locate(const Sampling *a, const Row *r, const Span *s, Taps *restrict fine,
                          Taps *restrict next, float *restrict blend, float *restrict cover) {
    const float m0 = r->m[0], m3 = r->m[3], m6 = r->m[6], um = r->um, vm = r->vm, dm = r->dm,
                det = r->det;
    const float right = (float)a->texture_w - 0.5f, below = (float)a->texture_h - 0.5f,
                most = (float)(a->levels - 1);
    const int32_t start = s->start, n = s->n, base = s->base;
    const Level near = s->near, far = s->far;
    if (s->whole && s->flat)
        for (int32_t i = 0; i < n; i++) {
            const float x = (float)(start + i), inv = 1.0f / (m6 * x + dm);
            tap_inside(fine, i, (m0 * x + um) * inv, (m3 * x + vm) * inv, near);
        }
    else if (s->whole)
        for (int32_t i = 0; i < n; i++) {
            const float x = (float)(start + i), inv = 1.0f / (m6 * x + dm), u = (m0 * x + um) * inv,
                        v = (m3 * x + vm) * inv;
            blend[i] = level_of(det, inv, most) - (float)base;
            tap_inside(fine, i, u, v, near);
            tap_inside(next, i, u, v, far);
        }
    else if (s->flat)
        for (int32_t i = 0; i < n; i++) {
            const float x = (float)(start + i), inv = 1.0f / (m6 * x + dm);
            const float u = clampf((m0 * x + um) * inv, -1e6f, 1e6f),
                        v = clampf((m3 * x + vm) * inv, -1e6f, 1e6f);
            cover[i] = covered(u, v, 1.0f, right, below);
            tap(fine, i, u, v, near);
        }
    else
        for (int32_t i = 0; i < n; i++) {
            const float x = (float)(start + i), inv = 1.0f / (m6 * x + dm);
            const float u = clampf((m0 * x + um) * inv, -1e6f, 1e6f),
                        v = clampf((m3 * x + vm) * inv, -1e6f, 1e6f);
            blend[i] = level_of(det, inv, most) - (float)base;
            /* the edge's width is linear within an octave: exact at powers of two, and no square
             * root */
            cover[i] = covered(u, v, near.scale / (1.0f + blend[i]), right, below);
            tap(fine, i, u, v, near);
            tap(next, i, u, v, far);
        }
}

void sample_rows(const void *arguments, int64_t begin, int64_t end) {
    const Sampling *const a = arguments;
    const int32_t channels = a->channels, h = a->h, w = a->w, levels = a->levels;
    float cover[MAX_SPAN], blend[MAX_SPAN], limits[MAX_LEVELS];
    Taps fine, next;
    int64_t of = -1; /* the image that the limits are of */
    for (int64_t r = begin; r < end; r++) {
        const int64_t b = r / h;
        const float y = (float)(r % h), *m = a->homographies + 9 * b;
        const Row row = {m, m[1] * y + m[2], m[4] * y + m[5], m[7] * y + m[8], a->dets[b]};
        const float *texture = a->textures + b * a->texture_step;
        for (int32_t k = 0; k < levels && b != of; k++)
            limits[k] = cbrtf(row.det * power_of_two(-2 * k));
        of = b;
        Span s;
        for (s.start = 0; s.start < w; s.start += s.n) {
            const float d0 = m[6] * (float)s.start + row.dm;
            for (s.base = 0; s.base + 1 < levels && d0 <= limits[s.base + 1];)
                s.base++;
            s.n = span_length(limits, levels, s.base, &row, s.start, w);
            const int seen = reaches_picture(a, &row, &s);
            if (seen)
                locate(a, &row, &s, &fine, &next, blend, cover);
            for (int32_t c = 0; c < channels; c++) {
                const float *plane = texture + c * a->stride;
                const float grey = a->background ? a->background[b * channels + c] : 0.0f;
                float *out = a->out + ((b * channels + c) * h + r % h) * (int64_t)w + s.start;
                if (!seen) {
                    for (int32_t i = 0; i < s.n; i++)
                        out[i] = grey;
                    continue;
                }
                fetch(&fine, plane, s.near.wl, s.n, 0, out);
                if (!s.flat)
                    fetch(&next, plane, s.far.wl, s.n, blend, out);
                if (a->background && !s.whole)
                    for (int32_t i = 0; i < s.n; i++)
                        out[i] = out[i] * cover[i] + grey * (1.0f - cover[i]);
            }
            if (a->inside) {
                float *const inside = a->inside + r * w + s.start;
                for (int32_t i = 0; i < s.n; i++)
                    inside[i] = !seen ? 0.0f : s.whole ? 1.0f : cover[i];
            }
        }
    }
}
