/* How two pictures of the same place are lit against each other: gain and bias, lamps and shadows,
 * and overexposed pixels.
 *
 * The arithmetic is that of features/lighting.py, its slow plain twin. Sums are float along a row
 * and double over the rows.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "grey.h"
#include "rank.h"

/* A residual of this many standard deviations has a quarter of the full Geman-McClure weight. */
#define ROBUST_SCALE 2.385f
/* About this many pixels of a picture are sampled for a median. */
#define MEDIAN_SAMPLES 4096

/* The first gain is estimated from this many windows across the picture. */
#define GAIN_WINDOWS 10
/* A window is used when more than this share of its pixels is compared. */
#define MIN_WINDOW_SHARE 0.6
/* Least and greatest first gain: a ratio beyond them is no change of the light. */
#define MIN_GAIN 0.02f
#define MAX_GAIN 50.0f
/* The gain stays within this factor of the first one: a flat picture explains any other picture,
 * given enough gain. */
#define MAX_GAIN_DRIFT 1.5f

/* Smooth light is estimated in this many cells across the picture and as many down it. */
#define LIGHT_CELLS 5
/* A cell is at least this many pixels wide: in a smaller one, motion looks like light. */
#define MIN_CELL_WIDTH 8
/* About this many rows of a cell are sampled. */
#define CELL_ROWS 12
/* A cell is used when at least this many of its sampled pixels are informative. */
#define MIN_CELL_PIXELS 16
/* A cell is used when the pictures in it are correlated more than this. */
#define MIN_CELL_CORRELATION 0.9f
/* A cell is used when its residual deviates at most this many times as much as the median cell's.
 */
#define MAX_CELL_ROUGHNESS 3
/* Light is removed when it reaches this grey level in some cell. */
#define MIN_LIGHT 0.002f

/* Two pictures of w x h pixels. */
typedef struct {
    const float *goal, *values; /* grey levels of the goal and of the warped view */
    const float *valid;         /* 1 where the two are compared, 0 elsewhere */
    int32_t w, h;
} Pictures;

/* The distance between the pixels that are sampled for a median. */
static inline int32_t median_stride(int32_t pixels) {
    return pixels / MEDIAN_SAMPLES > 1 ? pixels / MEDIAN_SAMPLES : 1;
}

/* The lower median of n > 0 values. */
static float median(const float *v, int32_t n) {
    return of_rank(v, n, (n - 1) / 2);
}

/* Of the windows of which enough is compared: the goal's variance without that of its noise, and
 * the ratio of the view's deviation to the goal's. Returns how many there are. */
static int32_t window_ratios(const Pictures *p, float goal_noise, float noise, int32_t side,
                             float *variance, float *ratio) {
    const float *goal = p->goal, *values = p->values, *valid = p->valid;
    const int32_t w = p->w, h = p->h;
    int32_t n = 0;
    for (int32_t top = 0; top + side <= h; top += side)
        for (int32_t left = 0; left + side <= w; left += side) {
            double m = 0, a = 0, b = 0, aa = 0, bb = 0;
            for (int32_t y = top; y < top + side; y++)
                for (int32_t i = y * w + left; i < y * w + left + side; i++)
                    m += valid[i], a += valid[i] * goal[i], b += valid[i] * values[i],
                        aa += valid[i] * goal[i] * goal[i], bb += valid[i] * values[i] * values[i];
            if (m <= MIN_WINDOW_SHARE * side * side)
                continue;
            variance[n] = (float)(aa / m - a / m * (a / m)) - goal_noise * goal_noise;
            ratio[n] = sqrtf(fmaxf((float)(bb / m - b / m * (b / m)) - noise * noise, 0) /
                             fmaxf(variance[n], 1e-9f));
            n++;
        }
    return n;
}

/* Gain and bias between two pictures that need not be aligned yet nor wholly visible.
 *
 * The gain is the median over windows of the ratio of deviations, among the half of the windows in
 * which the goal has most structure; the bias is the median of what is left. A cover degrades the
 * windows that it meets, and no others. fit: gain, bias and first gain, to write. */
static void first_gain_bias(const Pictures *p, float goal_noise, float noise, float *variance,
                            float *sorted, float *fit) {
    const int32_t side = p->w / GAIN_WINDOWS > 4 ? p->w / GAIN_WINDOWS : 4, size = p->w * p->h,
                  stride = median_stride(size);
    float *ratio = variance + (p->w / side) * (p->h / side);
    const int32_t windows = window_ratios(p, goal_noise, noise, side, variance, ratio);
    int32_t n = 0, k = 0;
    fit[0] = 1;
    fit[1] = 0;
    if (windows) {
        memcpy(sorted, variance, windows * sizeof(float));
        const float least = fmaxf(median(sorted, windows), FLT_MIN);
        for (int32_t i = 0; i < windows; i++)
            if (variance[i] >= least)
                sorted[k++] = ratio[i];
        if (k)
            fit[0] = fminf(fmaxf(median(sorted, k), MIN_GAIN), MAX_GAIN);
    }
    for (int32_t i = 0; i < size; i += stride)
        if (p->valid[i] > 0)
            sorted[n++] = p->values[i] - fit[0] * p->goal[i];
    if (n)
        fit[1] = median(sorted, n);
    fit[2] = fit[0];
}

/* (value - bias) / gain - goal, where either may be overexposed: what is brighter than white is
 * white in the goal, and what is white in the view may be brighter. `informative` becomes 1 where
 * the residual changes when the camera moves, else 0. (Black is not treated so: things that cover
 * are dark.) */
static inline float difference(float goal, float value, float inv_gain, float bias,
                               float *informative) {
    const float p = (value - bias) * inv_gain, r = fminf(p, 1) - goal;
    const int hidden = value >= SATURATED && r < 0;
    *informative = p <= 1 && !hidden ? 1.0f : 0.0f;
    return hidden ? 0 : r;
}

/* Deming's regression of the view's grey levels on the goal's, with Geman-McClure's weights about
 * the fit so far. scale: deviation of the residuals; ratio: of the pictures' noise variances; fit:
 * gain, bias and first gain, in and out. */
static void next_gain_bias(const Pictures *p, float scale, float ratio, float *fit) {
    const float inv_gain = 1 / fit[0], bias = fit[1], k = 1 / (ROBUST_SCALE * scale);
    const int32_t w = p->w, h = p->h;
    double W = 0, A = 0, B = 0, AA = 0, BB = 0, AB = 0;
    for (int32_t y = 0; y < h; y++) {
        const float *a = p->goal + y * w, *b = p->values + y * w, *m = p->valid + y * w;
        float sw = 0, sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
#pragma omp simd reduction(+ : sw, sa, sb, saa, sbb, sab)
        for (int32_t x = 0; x < w; x++) {
            float informative;
            const float r = difference(a[x], b[x], inv_gain, bias, &informative) * k,
                        q = 1 / (1 + r * r), weight = m[x] * informative * q * q;
            sw += weight, sa += weight * a[x], sb += weight * b[x];
            saa += weight * a[x] * a[x], sbb += weight * b[x] * b[x], sab += weight * a[x] * b[x];
        }
        W += sw, A += sa, B += sb, AA += saa, BB += sbb, AB += sab;
    }
    const double total = fmax(W, 1e-6), a = A / total, b = B / total;
    const double aa = AA - A * a, bb = BB - B * b, ab = AB - A * b, q = bb - ratio * aa;
    double gain = ab > 0 ? (q + sqrt(q * q + 4 * ratio * ab * ab)) / fmax(2 * ab, 1e-9) : 0.0;
    gain = fmin(fmax(gain, fit[2] / MAX_GAIN_DRIFT), fit[2] * MAX_GAIN_DRIFT);
    fit[0] = (float)gain;
    fit[1] = (float)(b - gain * a);
}

/* The mean residual of each cell, and 1 where the cell is used; both 0 where it is not: where the
 * pictures are hardly correlated, or the residual is much rougher than in other cells, as where one
 * picture is covered. Returns the largest absolute mean. */
static float cell_light(const Pictures *p, const float *informative, const float *residual,
                        float *level, float *used) {
    const float *goal = p->goal, *values = p->values;
    const int32_t w = p->w, h = p->h, rows = w / (LIGHT_CELLS * CELL_ROWS),
                  stride = rows > 1 ? rows : 1;
    float rough[LIGHT_CELLS * LIGHT_CELLS], sorted[LIGHT_CELLS * LIGHT_CELLS];
    int32_t cells = 0;
    for (int32_t i = 0; i < LIGHT_CELLS; i++)
        for (int32_t j = 0; j < LIGHT_CELLS; j++) {
            const int32_t k = i * LIGHT_CELLS + j, left = j * w / LIGHT_CELLS,
                          right = (j + 1) * w / LIGHT_CELLS;
            float n = 0, A = 0, B = 0, R = 0, AA = 0, BB = 0, AB = 0, RR = 0;
            for (int32_t y = i * h / LIGHT_CELLS; y < (i + 1) * h / LIGHT_CELLS; y += stride)
                for (int32_t x = y * w + left; x < y * w + right; x++) {
                    const float m = informative[x], a = m * goal[x], b = m * values[x],
                                r = m * residual[x];
                    n += m, A += a, B += b, R += r, AA += a * a, BB += b * b, AB += a * b,
                        RR += r * r;
                }
            const float aa = AA - A * A / n, bb = BB - B * B / n, ab = AB - A * B / n;
            const int correlated =
                ab > 0 && ab * ab > MIN_CELL_CORRELATION * MIN_CELL_CORRELATION * aa * bb;
            used[k] = n >= MIN_CELL_PIXELS && correlated ? 1.0f : 0.0f;
            level[k] = used[k] > 0 ? R / n : 0;
            rough[k] = RR / fmaxf(n, 1) - level[k] * level[k];
            if (used[k] > 0)
                sorted[cells++] = rough[k];
        }
    const float most = cells ? MAX_CELL_ROUGHNESS * MAX_CELL_ROUGHNESS * median(sorted, cells) : 0;
    float highest = 0;
    for (int32_t k = 0; k < LIGHT_CELLS * LIGHT_CELLS; k++) {
        if (used[k] > 0 && rough[k] > most)
            used[k] = level[k] = 0;
        highest = fmaxf(highest, fabsf(level[k]));
    }
    return highest;
}

/* Where pixel x of n lies between the middles of two cells: the first of them, and how far beyond
 * its middle. */
static inline int32_t between_cells(int32_t x, int32_t n, float *beyond) {
    const float at = fminf(fmaxf((x + 0.5f) * LIGHT_CELLS / n - 0.5f, 0), LIGHT_CELLS - 1);
    const int32_t first = at < LIGHT_CELLS - 2 ? (int32_t)at : LIGHT_CELLS - 2;
    *beyond = at - first;
    return first;
}

/* Takes from the residual what is smooth about it, as the light of a lamp is: the means of the
 * cells, bilinear between their middles. */
static void subtract_light(const Pictures *p, const float *informative, float *residual) {
    const int32_t w = p->w, h = p->h;
    float level[LIGHT_CELLS * LIGHT_CELLS], used[LIGHT_CELLS * LIGHT_CELLS];
    if (cell_light(p, informative, residual, level, used) < MIN_LIGHT)
        return;
    float wide[LIGHT_CELLS][w], share[LIGHT_CELLS][w], b;
    for (int32_t x = 0; x < w; x++) {
        const int32_t left = between_cells(x, w, &b);
        for (int32_t i = 0; i < LIGHT_CELLS; i++) {
            const int32_t k = i * LIGHT_CELLS + left;
            wide[i][x] = level[k] * (1 - b) + level[k + 1] * b;
            share[i][x] = used[k] * (1 - b) + used[k + 1] * b;
        }
    }
    for (int32_t y = 0; y < h; y++) {
        const int32_t top = between_cells(y, h, &b);
        const float a = 1 - b, *m = p->valid + y * w;
        float *r = residual + y * w;
        for (int32_t x = 0; x < w; x++)
            r[x] -= m[x] * (wide[top][x] * a + wide[top + 1][x] * b) /
                    fmaxf(share[top][x] * a + share[top + 1][x] * b, 1e-6f);
    }
}
