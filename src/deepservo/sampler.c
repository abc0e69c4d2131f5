/* One pass over a planar view: homography, level of detail, two bilinear taps, antialiased edge.
 *
 * The arithmetic is that of `sample_reference` in sampler.py, its slow plain twin; the loops are split so that a compiler
 * vectorises each. Rows [begin, end) count through all images, so callers split work over threads as they please.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHUNK 256

static inline float log2_positive(float x) { /* within 1e-6 of log2 for normal x > 0 */
    int32_t bits;
    memcpy(&bits, &x, 4);
    int32_t exponent = (bits - 0x3f3504f3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    bits -= exponent << 23;
    float m;
    memcpy(&m, &bits, 4);
    float t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
    return (float)exponent + 2.88539008f * t * (1.0f + t2 * (0.333333333f + t2 * (0.2f + t2 * 0.142857143f)));
}

static inline float clampf(float x, float lo, float hi) { return fminf(fmaxf(x, lo), hi); }

static inline float power_of_two(int32_t n) {
    int32_t bits = (127 + n) << 23;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* textures: (T, C, stride) floats, T = 1 shared by all images or one each (texture_step 0 or C * stride).
 * dets: |det H| of each homography, computed in double by the caller. background: NULL, where the edge goes on outside, or (B, C). inside: NULL, or (B, h, w) coverage to write. */
void sample_rows(const float *restrict textures, int64_t texture_step, int64_t stride, const int32_t *restrict offsets, int32_t levels,
                 int32_t padded_w, int32_t padded_h, int32_t texture_w, int32_t texture_h, const float *restrict homographies,
                 const float *restrict dets, const float *restrict background, float *restrict out, float *restrict inside, int32_t channels, int32_t h,
                 int32_t w, int64_t begin, int64_t end) {
    float u[CHUNK], v[CHUNK], cover[CHUNK], blend[CHUNK], fu[2][CHUNK], fv[2][CHUNK];
    int32_t level[CHUNK], i00[2][CHUNK], i01[2][CHUNK], i10[2][CHUNK], i11[2][CHUNK];
    const int taps = levels > 1 ? 2 : 1;
    for (int64_t r = begin; r < end; r++) {
        const int64_t b = r / h;
        const float y = (float)(r % h), *m = homographies + 9 * b, det = dets[b];
        const float *texture = textures + b * texture_step;
        for (int32_t start = 0; start < w; start += CHUNK) {
            const int32_t n = w - start < CHUNK ? w - start : CHUNK;
            for (int32_t i = 0; i < n; i++) {
                const float x = (float)(start + i);
                const float den = m[6] * x + (m[7] * y + m[8]);
                const float front = den > 0.0f ? 1.0f : 0.0f;
                const float inv = 1.0f / (front * den + (1.0f - front));
                u[i] = clampf((m[0] * x + (m[1] * y + m[2])) * inv, -1e6f, 1e6f);
                v[i] = clampf((m[3] * x + (m[4] * y + m[5])) * inv, -1e6f, 1e6f);
                const float lod = clampf(0.5f * log2_positive(det * inv * inv * inv), 0.0f, (float)(levels - 1));
                level[i] = (int32_t)lod;
                blend[i] = lod - (float)level[i];
                /* width of the edge in texels, linear within an octave: exact at powers of two, and no square root */
                const float print = power_of_two(level[i]) * (1.0f + blend[i]), k = 1.0f / print;
                cover[i] = front * clampf((u[i] + 0.5f) * k + 0.5f, 0.0f, 1.0f) *
                           clampf(((float)texture_w - 0.5f - u[i]) * k + 0.5f, 0.0f, 1.0f) *
                           clampf((v[i] + 0.5f) * k + 0.5f, 0.0f, 1.0f) *
                           clampf(((float)texture_h - 0.5f - v[i]) * k + 0.5f, 0.0f, 1.0f);
            }
            for (int tap = 0; tap < taps; tap++)
                for (int32_t i = 0; i < n; i++) {
                    int32_t l = level[i] + tap;
                    l -= l >= levels;
                    const float scale = power_of_two(-l);
                    const int32_t wl = padded_w >> l, hl = padded_h >> l, offset = offsets[l];
                    const float ul = clampf((u[i] + 0.5f) * scale - 0.5f, 0.0f, (float)(wl - 1));
                    const float vl = clampf((v[i] + 0.5f) * scale - 0.5f, 0.0f, (float)(hl - 1));
                    const int32_t x0 = (int32_t)ul, y0 = (int32_t)vl;
                    const int32_t x1 = x0 + (x0 + 1 < wl), y1 = y0 + (y0 + 1 < hl);
                    fu[tap][i] = ul - (float)x0;
                    fv[tap][i] = vl - (float)y0;
                    i00[tap][i] = offset + y0 * wl + x0;
                    i01[tap][i] = offset + y0 * wl + x1;
                    i10[tap][i] = offset + y1 * wl + x0;
                    i11[tap][i] = offset + y1 * wl + x1;
                }
            for (int32_t c = 0; c < channels; c++) {
                const float *restrict plane = texture + c * stride;
                float *restrict row = out + ((b * channels + c) * h + r % h) * (int64_t)w + start;
                for (int32_t i = 0; i < n; i++) {
                    float top = plane[i00[0][i]] * (1.0f - fu[0][i]) + plane[i01[0][i]] * fu[0][i];
                    float bottom = plane[i10[0][i]] * (1.0f - fu[0][i]) + plane[i11[0][i]] * fu[0][i];
                    row[i] = top * (1.0f - fv[0][i]) + bottom * fv[0][i];
                }
                if (taps == 2)
                    for (int32_t i = 0; i < n; i++) {
                        float top = plane[i00[1][i]] * (1.0f - fu[1][i]) + plane[i01[1][i]] * fu[1][i];
                        float bottom = plane[i10[1][i]] * (1.0f - fu[1][i]) + plane[i11[1][i]] * fu[1][i];
                        float coarse = top * (1.0f - fv[1][i]) + bottom * fv[1][i];
                        row[i] = row[i] * (1.0f - blend[i]) + coarse * blend[i];
                    }
                if (background)
                    for (int32_t i = 0; i < n; i++) row[i] = row[i] * cover[i] + background[b * channels + c] * (1.0f - cover[i]);
            }
            if (inside)
                for (int32_t i = 0; i < n; i++) inside[r * w + start + i] = cover[i];
        }
    }
}
