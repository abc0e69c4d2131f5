/* Normal equations of the luminance, one run after another, by moments: no L in memory.
 *
 * At one depth every element of L is gx or gy times a polynomial in the pixel's x and y, so that H
 * = L^T L and g = L^T e follow from sums of gx gx, gx gy, gy gy, gx e and gy e times x^k y^m, for k
 * < POWERS_X and m < POWERS_Y: 58 of them. `NormalEquations` in features/luminance.py has the
 * polynomials, and the slow plain twin. Sums are float along a row and double over the rows.
 */
#include <math.h>

#include "gradient.h"
#include "sampler.h"

/* The number of sums x^k y^m: over the five products, POWERS_X times POWERS_Y. */
#define MOMENTS 58
static const int32_t POWERS_X[5] = {5, 4, 3, 3, 2}, POWERS_Y[5] = {3, 4, 5, 2, 3};

typedef struct {                 /* `Arguments` of features/luminance.py */
    const float *images, *goals; /* (R, h, w); goals: one for all runs (goal_step 0) or one each */
    int64_t goal_step;
    float now, there;     /* the gradient is that of now * image + there * goal */
    const float *camera;  /* fx, fy, cx, cy */
    int32_t w, h, border; /* border: at least 3 */
    double *moments;      /* (R, MOMENTS), to write */
} Luminance;

/* Runs [begin, end). arguments: a Luminance. */
void luminance_runs(const void *arguments, int64_t begin, int64_t end) {
    const Luminance *const a = arguments;
    const int32_t w = a->w, h = a->h, border = a->border;
    const float now = a->now, there = a->there, fx = a->camera[0], fy = a->camera[1],
                cx = a->camera[2], cy = a->camera[3], ix = 1.0f / fx;
    float *mixed = now != 0 && there != 0 ? working_memory((int64_t)w * h) : NULL;
    for (int64_t run = begin; run < end; run++) {
        const float *image = a->images + run * w * h, *goal = a->goals + run * a->goal_step;
        const float *source = mixed ? mixed : now != 0 ? image : goal;
        double *out = a->moments + MOMENTS * run;
        if (mixed)
            for (int32_t i = 0; i < w * h; i++)
                mixed[i] = now * image[i] + there * goal[i];
        for (int32_t m = 0; m < MOMENTS; m++)
            out[m] = 0;
        for (int32_t row = border; row < h - border; row++) {
            float xx0 = 0, xx1 = 0, xx2 = 0, xx3 = 0, xx4 = 0, xy0 = 0, xy1 = 0, xy2 = 0, xy3 = 0,
                  yy0 = 0, yy1 = 0, yy2 = 0, xe0 = 0, xe1 = 0, xe2 = 0, ye0 = 0, ye1 = 0;
#pragma omp simd reduction(+ : xx0, xx1, xx2, xx3, xx4, xy0, xy1, xy2, xy3, yy0, yy1, yy2, xe0,    \
                               xe1, xe2, ye0, ye1)
            for (int32_t column = border; column < w - border; column++) {
                const int32_t i = row * w + column;
                const float x = ((float)column - cx) * ix, e = image[i] - goal[i],
                            gx = fx * slope(source + i, 1), gy = fy * slope(source + i, w);
                float xx = gx * gx, xy = gx * gy, yy = gy * gy, xe = gx * e, ye = gy * e;
                xx0 += xx, xx *= x, xx1 += xx, xx *= x, xx2 += xx, xx *= x, xx3 += xx,
                    xx4 += xx * x;
                xy0 += xy, xy *= x, xy1 += xy, xy *= x, xy2 += xy, xy3 += xy * x;
                yy0 += yy, yy *= x, yy1 += yy, yy2 += yy * x;
                xe0 += xe, xe *= x, xe1 += xe, xe2 += xe * x;
                ye0 += ye, ye1 += ye * x;
            }
            const float sums[17] = {xx0, xx1, xx2, xx3, xx4, xy0, xy1, xy2, xy3,
                                    yy0, yy1, yy2, xe0, xe1, xe2, ye0, ye1};
            const double y = ((double)row - cy) / fy;
            for (int32_t product = 0, s = 0, m = 0; product < 5; product++)
                for (int32_t k = 0; k < POWERS_X[product]; k++, s++) {
                    double value = sums[s];
                    for (int32_t power = 0; power < POWERS_Y[product]; power++, value *= y)
                        out[m++] += value;
                }
        }
    }
    free(mixed);
}

typedef struct {           /* `UndrawnArguments` of features/luminance.py */
    Luminance luminance;   /* its images are the ones that are drawn here */
    Sampling sampling;     /* of one channel, without where it writes to */
    const float *compared; /* what errors are told of: (R, h, w), or one (compared_step 0) */
    int64_t compared_step;
    float *errors, *some; /* (R): root mean square; (R, rows, columns): each `stride`-th pixel */
    int32_t stride;
} Undrawn;

/* Runs [begin, end), each drawn into the cache and read there. arguments: an Undrawn. */
void undrawn_luminance_runs(const void *arguments, int64_t begin, int64_t end) {
    const Undrawn *const a = arguments;
    const int32_t w = a->luminance.w, h = a->luminance.h, stride = a->stride;
    const int64_t kept = (int64_t)((h + stride - 1) / stride) * ((w + stride - 1) / stride);
    float *const image = working_memory((int64_t)w * h);
    for (int64_t run = begin; run < end; run++) {
        Sampling view = a->sampling;
        view.textures += run * view.texture_step, view.homographies += 9 * run, view.dets += run;
        view.out = image;
        sample_rows(&view, 0, h);
        Luminance one = a->luminance;
        one.images = image, one.goals += run * one.goal_step, one.moments += MOMENTS * run;
        luminance_runs(&one, 0, 1);
        const float *there = a->compared + run * a->compared_step;
        float *some = a->some + run * kept;
        double squares = 0;
        for (int32_t row = 0; row < h; row++) {
            const float *here = image + row * w, *goal = there + row * w;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int32_t i = 0; i < w; i++)
                sum += (here[i] - goal[i]) * (here[i] - goal[i]);
            squares += sum;
            for (int32_t i = 0; i < w && row % stride == 0; i += stride)
                *some++ = here[i];
        }
        a->errors[run] = (float)sqrt(squares / ((double)w * h));
    }
    free(image);
}
