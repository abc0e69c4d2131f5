/* One pass over a planar view: homography, level of detail, two bilinear taps, antialiased edge.
 *
 * The arithmetic is that of `sample_reference` in sampler.py, its slow plain twin; the loops are split so that a compiler
 * vectorises each. Along a row the denominator is linear, so coordinates and level are monotone: what holds at both ends of a
 * span of pixels holds in it, and most spans lie in one level and inside the picture. Rows [begin, end) count through all images,
 * so callers split work over threads as they please.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define SPAN 128

static inline float log2_positive(float x) { /* within 1e-6 of log2 for normal x > 0 */
    int32_t bits;
    memcpy(&bits, &x, 4);
    int32_t exponent = (bits - 0x3f3504f3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    bits -= exponent << 23;
    float m;
    memcpy(&m, &bits, 4);
    const float f = m - 1.0f; /* a polynomial needs no division; least squares at Chebyshev points */
    return (float)exponent + f * (1.44270101f + f * (-0.721368399f + f * (0.480402304f + f * (-0.359203663f +
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
static inline float level_of(float det, float inv, float most) { return clampf(0.5f * log2_positive(det * inv * inv * inv), 0.0f, most); }

/* Pairs of neighbouring texels above and below a point, and where between them it lies. */
typedef struct {
    int32_t top[SPAN], bottom[SPAN];
    float fu[SPAN], fv[SPAN];
} Taps;

/* Of points (u, v) in a level of wl x hl texels that is `scale` times as large as the first and begins at `offset`. */
static inline void tap(Taps *t, int32_t i, float u, float v, float scale, int32_t wl, int32_t hl, int32_t offset) {
    const float ul = clampf((u + 0.5f) * scale - 0.5f, 0.0f, (float)(wl - 1)), vl = clampf((v + 0.5f) * scale - 0.5f, 0.0f, (float)(hl - 1));
    /* the last pair is wl - 2, wl - 1: at the edge its second texel counts whole */
    const int32_t x0 = (int32_t)fminf(ul, (float)(wl - 2)), y0 = (int32_t)fminf(vl, (float)(hl - 2));
    t->fu[i] = ul - (float)x0;
    t->fv[i] = vl - (float)y0;
    t->top[i] = offset + y0 * wl + x0;
    t->bottom[i] = t->top[i] + wl;
}

/* The same for points at least a texel inside the level. */
static inline void tap_inside(Taps *t, int32_t i, float u, float v, float scale, int32_t wl, int32_t offset) {
    const float ul = (u + 0.5f) * scale - 0.5f, vl = (v + 0.5f) * scale - 0.5f;
    const int32_t x0 = (int32_t)ul, y0 = (int32_t)vl;
    t->fu[i] = ul - (float)x0;
    t->fv[i] = vl - (float)y0;
    t->top[i] = offset + y0 * wl + x0;
    t->bottom[i] = t->top[i] + wl;
}

typedef float float4 __attribute__((vector_size(16)));
typedef double double2 __attribute__((vector_size(16)));
#ifdef __clang__
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#else
typedef int32_t lanes __attribute__((vector_size(16)));
#define EVEN(a, b) __builtin_shuffle(a, b, (lanes){0, 2, 4, 6})
#define ODD(a, b) __builtin_shuffle(a, b, (lanes){1, 3, 5, 7})
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

/* The bilinear values of n points, four at a time: a pair of neighbours is one load, where a gather makes two slow ones. */
static inline void fetch(const Taps *t, const float *plane, int32_t n, float *value) {
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const int32_t *top = t->top + i, *bottom = t->bottom + i;
        const float4 above = two_pairs(plane + top[0], plane + top[1]), more_above = two_pairs(plane + top[2], plane + top[3]);
        const float4 below = two_pairs(plane + bottom[0], plane + bottom[1]), more_below = two_pairs(plane + bottom[2], plane + bottom[3]);
        const float4 top_left = EVEN(above, more_above), bottom_left = EVEN(below, more_below);
        float4 fu, fv;
        memcpy(&fu, t->fu + i, 16);
        memcpy(&fv, t->fv + i, 16);
        const float4 upper = top_left + (ODD(above, more_above) - top_left) * fu, lower = bottom_left + (ODD(below, more_below) - bottom_left) * fu;
        const float4 found = upper + (lower - upper) * fv;
        memcpy(value + i, &found, 16);
    }
    for (; i < n; i++) {
        const float *above = plane + t->top[i], *below = plane + t->bottom[i];
        const float upper = above[0] + (above[1] - above[0]) * t->fu[i], lower = below[0] + (below[1] - below[0]) * t->fu[i];
        value[i] = upper + (lower - upper) * t->fv[i];
    }
}

/* textures: (T, C, stride) floats, T = 1 shared by all images or one each (texture_step 0 or C * stride).
 * dets: |det H| of each homography, computed in double by the caller. background: NULL, where the edge goes on outside, or (B, C). inside: NULL, or (B, h, w) coverage to write. */
void sample_rows(const float *restrict textures, int64_t texture_step, int64_t stride, const int32_t *restrict offsets, int32_t levels,
                 int32_t padded_w, int32_t padded_h, int32_t texture_w, int32_t texture_h, const float *restrict homographies,
                 const float *restrict dets, const float *restrict background, float *restrict out, float *restrict inside, int32_t channels, int32_t h,
                 int32_t w, int64_t begin, int64_t end) {
    float u[SPAN], v[SPAN], inv[SPAN], front[SPAN], lod[SPAN], blend[SPAN], cover[SPAN], coarse[SPAN];
    Taps fine, next;
    const float most = (float)(levels - 1), right = (float)texture_w - 0.5f, below = (float)texture_h - 0.5f;
    for (int64_t r = begin; r < end; r++) {
        const int64_t b = r / h;
        const float y = (float)(r % h), *m = homographies + 9 * b, det = dets[b];
        const float um = m[1] * y + m[2], vm = m[4] * y + m[5], dm = m[7] * y + m[8];
        const float *texture = textures + b * texture_step;
        for (int32_t start = 0; start < w; start += SPAN) {
            const int32_t n = w - start < SPAN ? w - start : SPAN;
            const float x0 = (float)start, x1 = (float)(start + n - 1), d0 = m[6] * x0 + dm, d1 = m[6] * x1 + dm;
            const int all_front = d0 > 0.0f && d1 > 0.0f;
            const float i0 = 1.0f / d0, i1 = 1.0f / d1, longest = fmaxf(i0, i1);
            const float u0 = (m[0] * x0 + um) * i0, u1 = (m[0] * x1 + um) * i1, v0 = (m[3] * x0 + vm) * i0, v1 = (m[3] * x1 + vm) * i1;
            const float farthest = det * longest * longest * longest; /* texels a pixel */
            const int flat = levels == 1 || (all_front && farthest <= 1.0f);
            /* all of it is farther from the picture's edges than the coarser of its levels has texels, and so than half its widest pixel */
            const float room = 2.0f * sqrtf(fmaxf(farthest, 1.0f));
            const int whole = all_front && fminf(u0, u1) + 0.5f >= room && right - fmaxf(u0, u1) >= room &&
                              fminf(v0, v1) + 0.5f >= room && below - fmaxf(v0, v1) >= room;
            const int32_t base = flat ? 0 : (int32_t)level_of(det, i0, most), last = flat ? 0 : (int32_t)level_of(det, i1, most);
            const int32_t up = base + 1 < levels ? base + 1 : base;
            if (whole && base == last) {
                const float scale = power_of_two(-base), half = power_of_two(-up);
                const int32_t fine_w = padded_w >> base, next_w = padded_w >> up, fine_at = offsets[base], next_at = offsets[up];
                if (flat)
                    for (int32_t i = 0; i < n; i++) {
                        const float x = (float)(start + i), near = 1.0f / (m[6] * x + dm);
                        tap_inside(&fine, i, (m[0] * x + um) * near, (m[3] * x + vm) * near, 1.0f, padded_w, 0);
                    }
                else
                    for (int32_t i = 0; i < n; i++) {
                        const float x = (float)(start + i), near = 1.0f / (m[6] * x + dm), at_u = (m[0] * x + um) * near, at_v = (m[3] * x + vm) * near;
                        blend[i] = level_of(det, near, most) - (float)base;
                        tap_inside(&fine, i, at_u, at_v, scale, fine_w, fine_at);
                        tap_inside(&next, i, at_u, at_v, half, next_w, next_at);
                    }
            } else {
                for (int32_t i = 0; i < n; i++) {
                    const float x = (float)(start + i), den = m[6] * x + dm;
                    front[i] = den > 0.0f ? 1.0f : 0.0f;
                    inv[i] = 1.0f / (den > 0.0f ? den : 1.0f);
                    u[i] = clampf((m[0] * x + um) * inv[i], -1e6f, 1e6f);
                    v[i] = clampf((m[3] * x + vm) * inv[i], -1e6f, 1e6f);
                }
                for (int32_t i = 0; i < n; i++) lod[i] = flat ? 0.0f : level_of(det, inv[i], most);
                for (int32_t i = 0; i < n; i++) blend[i] = lod[i] - (float)(int32_t)lod[i];
                if (flat || (all_front && base == last)) {
                    const float scale = power_of_two(-base), half = power_of_two(-up);
                    for (int32_t i = 0; i < n; i++) tap(&fine, i, u[i], v[i], scale, padded_w >> base, padded_h >> base, offsets[base]);
                    if (!flat)
                        for (int32_t i = 0; i < n; i++) tap(&next, i, u[i], v[i], half, padded_w >> up, padded_h >> up, offsets[up]);
                } else
                    for (int32_t i = 0; i < n; i++) {
                        const int32_t l = (int32_t)lod[i], above = l + 1 < levels ? l + 1 : l;
                        tap(&fine, i, u[i], v[i], power_of_two(-l), padded_w >> l, padded_h >> l, offsets[l]);
                        tap(&next, i, u[i], v[i], power_of_two(-above), padded_w >> above, padded_h >> above, offsets[above]);
                    }
                if (!whole)
                    for (int32_t i = 0; i < n; i++) {
                        /* width of the edge in texels, linear within an octave: exact at powers of two, and no square root */
                        const float k = 1.0f / (power_of_two((int32_t)lod[i]) * (1.0f + blend[i]));
                        cover[i] = front[i] * clampf((u[i] + 0.5f) * k + 0.5f, 0.0f, 1.0f) * clampf((right - u[i]) * k + 0.5f, 0.0f, 1.0f) *
                                   clampf((v[i] + 0.5f) * k + 0.5f, 0.0f, 1.0f) * clampf((below - v[i]) * k + 0.5f, 0.0f, 1.0f);
                    }
            }
            for (int32_t c = 0; c < channels; c++) {
                float *restrict row = out + ((b * channels + c) * h + r % h) * (int64_t)w + start;
                fetch(&fine, texture + c * stride, n, row);
                if (!flat) {
                    fetch(&next, texture + c * stride, n, coarse);
                    for (int32_t i = 0; i < n; i++) row[i] += (coarse[i] - row[i]) * blend[i];
                }
                if (background && !whole)
                    for (int32_t i = 0; i < n; i++) row[i] = row[i] * cover[i] + background[b * channels + c] * (1.0f - cover[i]);
            }
            if (inside)
                for (int32_t i = 0; i < n; i++) inside[r * w + start + i] = whole ? 1.0f : cover[i];
        }
    }
}
