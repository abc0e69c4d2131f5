/* Pictures halved, and halved again, and how much noise is in them, for one run after another: the
 * twins of `pyramid_reference` and `noise_reference` in features/pyramid.py. */
#include <math.h>
#include <stdint.h>

#include "rank.h"

typedef struct {           /* `PyramidArguments` of features/pyramid.py */
    const float *pictures; /* (R, h, w) */
    float *half, *quarter, *eighth; /* of each side; NULL from where on none is wanted */
    float *noises;                  /* (R), deviations */
    int32_t w, h, apart;            /* rows and columns of which noise is measured */
} Pyramids;

/* The means of four pixels, of rows and columns that are twice as many. */
static void halve(const float *picture, int32_t w, int32_t h, float *half) {
    for (int32_t y = 0; y < h / 2; y++) {
        const float *above = picture + 2 * y * w, *below = above + w;
        for (int32_t x = 0; x < w / 2; x++)
            half[y * (w / 2) + x] =
                ((above[2 * x] + below[2 * x]) + (above[2 * x + 1] + below[2 * x + 1])) / 4;
    }
}

/* See `noise_reference`. rough: memory for every value. */
static float noise_of(const float *picture, int32_t w, int32_t h, int32_t apart, float *rough) {
    int32_t n = 0;
    for (int32_t y = 0; y < h - 2; y += apart)
        for (int32_t x = 0; x < w - 2; x += apart) {
            const float *a = picture + y * w + x, *b = a + w, *c = b + w;
            const float left = a[0] - 2 * b[0] + c[0], middle = a[1] - 2 * b[1] + c[1],
                        right = a[2] - 2 * b[2] + c[2];
            rough[n++] = fabsf(left - 2 * middle + right) / 6;
        }
    return of_rank(rough, n, (n - 1) / 2);
}

/* Runs [begin, end). arguments: Pyramids. */
void pyramid_runs(const void *arguments, int64_t begin, int64_t end) {
    const Pyramids *const a = arguments;
    const int32_t w = a->w, h = a->h, size = w * h;
    float rough[((w - 3) / a->apart + 1) * ((h - 3) / a->apart + 1)];
    for (int64_t run = begin; run < end; run++) {
        const float *picture = a->pictures + run * size;
        float *const half = a->half + run * (size / 4),
                     *const quarter = a->quarter + run * (size / 16);
        if (a->half)
            halve(picture, w, h, half);
        if (a->quarter)
            halve(half, w / 2, h / 2, quarter);
        if (a->eighth)
            halve(quarter, w / 4, h / 4, a->eighth + run * (size / 64));
        a->noises[run] = noise_of(picture, w, h, a->apart, rough);
    }
}
