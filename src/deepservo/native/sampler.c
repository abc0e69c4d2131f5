/* One pass over a planar view: homography, level of detail, two bilinear taps, antialiased edge.
 *
 * The arithmetic is that of `sample_reference` in images/sampler.py, its slow plain twin; the loops
 * are split so that a compiler vectorises each. Along a row the denominator is linear, so
 * coordinates and level are monotone: what holds at both ends of a span of pixels holds in it, so
 * spans are cut to lie in one level, before the camera or behind it, and most lie inside the
 * picture.
 */
#include "sampler.h"

#include "taps.h"

/* A pyramid has at most this many levels. */
#define MAX_LEVELS 32

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
