/* How well two pictures agree, window by window: see features/agreement.py, the slow plain twin. */
#ifndef AGREEMENT_H
#define AGREEMENT_H

#include "lighting.h"

/* The side of a window, and from one window to the next. */
#define WINDOW_SIDE 7
#define WINDOW_STEP 3
#define FLAT_VARIANCE_SHARE 0.01
#define FLAT_NOISE_FACTOR 4
#define MIN_WINDOW_SHARE 0.6
/* Sums of valid, a, b, a a, b b and a b, of the goal's grey levels a and the view's b. */
#define WINDOW_SUMS 6

/* The least variance of a window that is not flat; sums: of the picture's valid pixels. */
static inline double flat(double count, double sum, double squares, double noise) {
    const double mean = sum / fmax(count, 1), variance = squares / fmax(count, 1) - mean * mean;
    return FLAT_VARIANCE_SHARE * fmax(variance, 1e-9) + FLAT_NOISE_FACTOR * noise * noise;
}

/* Adds a row to the sums of each column. */
static inline void add_to_columns(const Pictures *p, int32_t y, float *columns) {
    const int32_t w = p->w;
    const float *goal = p->goal + y * w, *view = p->values + y * w, *valid = p->valid + y * w;
#pragma omp simd
    for (int32_t x = 0; x < w; x++) {
        const float v = valid[x], a = v * goal[x], b = v * view[x];
        columns[x] += v, columns[w + x] += a, columns[2 * w + x] += b;
        columns[3 * w + x] += a * goal[x], columns[4 * w + x] += b * view[x];
        columns[5 * w + x] += a * view[x];
    }
}

/* Writes the mean correlation, and what noise leaves of it. noises: deviations, the goal's, the
 * view's. */
static inline void local_correlation(const Pictures *p, const double *noises, float *out) {
    const int32_t w = p->w, h = p->h;
    float columns[WINDOW_SUMS * w];
    double whole[WINDOW_SUMS] = {0}, agreed = 0, attainable = 0, counted = 0;
    memset(columns, 0, sizeof columns);
    for (int32_t y = 0; y < h; y++)
        add_to_columns(p, y, columns);
    for (int i = 0; i < 5; i++)
        for (int32_t x = 0; x < w; x++)
            whole[i] += columns[i * w + x];
    const double flat_a = flat(whole[0], whole[1], whole[3], noises[0]),
                 flat_b = flat(whole[0], whole[2], whole[4], noises[1]);
    for (int32_t top = 0; top + WINDOW_SIDE <= h; top += WINDOW_STEP) {
        memset(columns, 0, sizeof columns);
        for (int32_t y = top; y < top + WINDOW_SIDE; y++)
            add_to_columns(p, y, columns);
        for (int32_t left = 0; left + WINDOW_SIDE <= w; left += WINDOW_STEP) {
            double s[WINDOW_SUMS] = {0};
            for (int i = 0; i < WINDOW_SUMS; i++)
                for (int32_t x = left; x < left + WINDOW_SIDE; x++)
                    s[i] += columns[i * w + x];
            if (!(s[0] > MIN_WINDOW_SHARE * WINDOW_SIDE * WINDOW_SIDE))
                continue;
            const double a = s[1] / s[0], b = s[2] / s[0], aa = fmax(s[3] / s[0] - a * a, 0),
                         bb = fmax(s[4] / s[0] - b * b, 0), ab = s[5] / s[0] - a * b,
                         pure = fmax(bb - noises[1] * noises[1], 0),
                         weight = fmax(aa / (aa + flat_a), bb / (bb + flat_b));
            agreed += ab / sqrt((aa + flat_a) * (bb + flat_b));
            attainable += weight * sqrt(pure / (bb + flat_b));
            counted += weight;
        }
    }
    out[0] = (float)(agreed / fmax(counted, 1)), out[1] = (float)(attainable / fmax(counted, 1));
}

#endif
