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

/* The bilinear values of n points; two neighbours are loaded at once, half the loads of a gather. */
static inline void fetch(const Taps *t, const float *plane, int32_t n, float *value) {
    float above[2 * SPAN], below[2 * SPAN];
    for (int32_t i = 0; i < n; i++) {
        __asm__ volatile(""); /* as it stands: compilers make gathers of it, which are slower */
        memcpy(above + 2 * i, plane + t->top[i], 8);
        memcpy(below + 2 * i, plane + t->bottom[i], 8);
    }
    for (int32_t i = 0; i < n; i++) {
        const float upper = above[2 * i] + (above[2 * i + 1] - above[2 * i]) * t->fu[i];
        const float lower = below[2 * i] + (below[2 * i + 1] - below[2 * i]) * t->fu[i];
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
            for (int32_t i = 0; i < n; i++) {
                const float x = (float)(start + i), den = m[6] * x + dm;
                front[i] = den > 0.0f ? 1.0f : 0.0f;
                inv[i] = 1.0f / (den > 0.0f ? den : 1.0f);
                u[i] = clampf((m[0] * x + um) * inv[i], -1e6f, 1e6f);
                v[i] = clampf((m[3] * x + vm) * inv[i], -1e6f, 1e6f);
            }
            const float first = inv[0] * front[0], last = inv[n - 1] * front[n - 1];
            const float longest = fmaxf(first, last), farthest = det * longest * longest * longest; /* texels a pixel */
            const int all_front = first > 0 && last > 0, flat = levels == 1 || (all_front && farthest <= 1.0f);
            for (int32_t i = 0; i < n; i++) lod[i] = flat ? 0.0f : clampf(0.5f * log2_positive(det * inv[i] * inv[i] * inv[i]), 0.0f, most);
            for (int32_t i = 0; i < n; i++) blend[i] = lod[i] - (float)(int32_t)lod[i];
            const int32_t base = (int32_t)lod[0], at_end = (int32_t)lod[n - 1];
            const int uniform = flat || (all_front && base == at_end);
            /* all of it is farther from the picture's edges than the coarser of its levels has texels, and so than half its widest pixel */
            const float room = 2.0f * sqrtf(fmaxf(farthest, 1.0f));
            const int whole = all_front && fminf(u[0], u[n - 1]) + 0.5f >= room && right - fmaxf(u[0], u[n - 1]) >= room &&
                              fminf(v[0], v[n - 1]) + 0.5f >= room && below - fmaxf(v[0], v[n - 1]) >= room;
            if (uniform) {
                const int32_t up = base + 1 < levels ? base + 1 : base;
                const float scale = power_of_two(-base), half = power_of_two(-up);
                const int32_t fine_w = padded_w >> base, fine_h = padded_h >> base, next_w = padded_w >> up, next_h = padded_h >> up;
                if (whole)
                    for (int32_t i = 0; i < n; i++) tap_inside(&fine, i, u[i], v[i], scale, fine_w, offsets[base]);
                else
                    for (int32_t i = 0; i < n; i++) tap(&fine, i, u[i], v[i], scale, fine_w, fine_h, offsets[base]);
                if (!flat && whole)
                    for (int32_t i = 0; i < n; i++) tap_inside(&next, i, u[i], v[i], half, next_w, offsets[up]);
                else if (!flat)
                    for (int32_t i = 0; i < n; i++) tap(&next, i, u[i], v[i], half, next_w, next_h, offsets[up]);
            } else
                for (int32_t i = 0; i < n; i++) {
                    const int32_t l = (int32_t)lod[i], up = l + 1 < levels ? l + 1 : l;
                    tap(&fine, i, u[i], v[i], power_of_two(-l), padded_w >> l, padded_h >> l, offsets[l]);
                    tap(&next, i, u[i], v[i], power_of_two(-up), padded_w >> up, padded_h >> up, offsets[up]);
                }
            if (!whole)
                for (int32_t i = 0; i < n; i++) {
                    /* width of the edge in texels, linear within an octave: exact at powers of two, and no square root */
                    const float k = 1.0f / (power_of_two((int32_t)lod[i]) * (1.0f + blend[i]));
                    cover[i] = front[i] * clampf((u[i] + 0.5f) * k + 0.5f, 0.0f, 1.0f) * clampf((right - u[i]) * k + 0.5f, 0.0f, 1.0f) *
                               clampf((v[i] + 0.5f) * k + 0.5f, 0.0f, 1.0f) * clampf((below - v[i]) * k + 0.5f, 0.0f, 1.0f);
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
