/* A picture seen from another place, by the depth of each of its pixels: where each is seen in the
 * other camera's picture, what that shows there, and what is hidden from it.
 *
 * The arithmetic is that of `warp_by_depth_reference` in features/depth_warp.py, its slow plain
 * twin.
 */
#include <stdint.h>

#include "taps.h"

/* A point is hidden where another, nearer by more than this share, is seen at the same pixel: less
 * is the slope of one surface. */
#define OCCLUDER_MARGIN 0.1f

/* From goal pixels p = (x, y, 1) of inverse depth z [1/m] to view pixels: `rotation p + shift z`,
 * whose third coordinate is the depth in the view over the depth in the goal. */
typedef struct {
    const float *rotation, *shift; /* (3, 3), (3) */
    const float *inverse_depth;    /* (h, w), of goal pixels; unknown where it is not positive */
    int32_t w, h;
} DepthWarp;

/* Inverse depth [1/m] in the view, and view pixel, of n goal pixels from (start, y) on; 0 where a
 * pixel's depth is unknown or it is behind the view's camera. */
static inline void project_span(const DepthWarp *a, int32_t y, int32_t start, int32_t n,
                                float *restrict u, float *restrict v, float *restrict near) {
    const float *m = a->rotation, *t = a->shift, *z = a->inverse_depth + (int64_t)y * a->w;
    const float m0 = m[0], m3 = m[3], m6 = m[6], t0 = t[0], t1 = t[1], t2 = t[2],
                um = m[1] * y + m[2], vm = m[4] * y + m[5], dm = m[7] * y + m[8];
    for (int32_t i = 0; i < n; i++) {
        const float x = (float)(start + i), iz = z[start + i], d = m6 * x + dm + t2 * iz,
                    inv = 1.0f / d;
        u[i] = clampf((m0 * x + um + t0 * iz) * inv, -1e6f, 1e6f);
        v[i] = clampf((m3 * x + vm + t1 * iz) * inv, -1e6f, 1e6f);
        near[i] = d > 0.0f && iz > 0.0f ? iz * inv : 0.0f;
    }
}

/* Writes 1 where a goal pixel is seen in a view of view_w x view_h pixels, and 0 where something
 * nearer hides it there. buffer: (view_h, view_w), to work with. */
static void mark_shown(const DepthWarp *a, int32_t view_w, int32_t view_h, float *buffer,
                       float *shown) {
    float u[MAX_SPAN], v[MAX_SPAN], near[MAX_SPAN];
    memset(buffer, 0, sizeof(float) * view_w * view_h);
    for (int pass = 0; pass < 2; pass++)
        for (int32_t y = 0; y < a->h; y++)
            for (int32_t start = 0; start < a->w; start += MAX_SPAN) {
                const int32_t n = a->w - start < MAX_SPAN ? a->w - start : MAX_SPAN;
                project_span(a, y, start, n, u, v, near);
                float *const out = shown + (int64_t)y * a->w + start;
                for (int32_t i = 0; i < n; i++) {
                    const int32_t x = (int32_t)floorf(u[i] + 0.5f),
                                  k = (int32_t)floorf(v[i] + 0.5f);
                    const int within = x >= 0 && k >= 0 && x < view_w && k < view_h;
                    float *const nearest = buffer + (within ? k * view_w + x : 0);
                    if (pass)
                        out[i] = !within || *nearest <= near[i] * (1.0f + OCCLUDER_MARGIN);
                    else if (within)
                        *nearest = fmaxf(*nearest, near[i]);
                }
            }
}

/* Warps a view of view_w x view_h pixels to the goal's, and writes the share of each pixel that the
 * view covers: 0 where the depth is unknown, or where it is not shown. */
static void warp_by_depth(const DepthWarp *a, const float *view, int32_t view_w, int32_t view_h,
                          const float *shown, float *out, float *cover) {
    const float right = (float)view_w - 0.5f, below = (float)view_h - 0.5f;
    const Level level = {view_w, view_h, 0, 1.0f};
    float u[MAX_SPAN], v[MAX_SPAN], near[MAX_SPAN];
    Taps taps;
    for (int32_t y = 0; y < a->h; y++)
        for (int32_t start = 0; start < a->w; start += MAX_SPAN) {
            const int32_t n = a->w - start < MAX_SPAN ? a->w - start : MAX_SPAN;
            const int64_t at = (int64_t)y * a->w + start;
            project_span(a, y, start, n, u, v, near);
            for (int32_t i = 0; i < n; i++) {
                const float whole = covered(u[i], v[i], 1.0f, right, below);
                cover[at + i] = near[i] > 0.0f ? whole * shown[at + i] : 0.0f;
                tap(&taps, i, u[i], v[i], level);
            }
            fetch(&taps, view, view_w, n, 0, out + at);
        }
}
