/* Views lit as their goals are, one after another: the twin of features/relighting.py, where the
 * formulas are. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "grey.h"
#include "rank.h"

#define CELLS 28 /* along each side of a picture */
#define GRID (CELLS * CELLS)
#define WINDOW 3
#define MIN_SHOWN_SHARE 0.6f
#define MIN_CORRELATION 0.8f
#define MIN_VARIANCE 1e-5f
#define MIN_SNR 64
#define MAX_GAIN 10
#define MIN_SPREAD 0.25f
#define MIN_USED 0.1f
#define FILL 1e-3f

typedef struct {               /* `LightArguments` of features/relighting.py */
    const float *goals, *views; /* (B, h, w), one goal for all where goal_step is 0 */
    int64_t goal_step;
    const float *goal_noises, *noises; /* deviations */
    int8_t *differs;                   /* to write, as all that follows */
    float *gains, *biases, *medians;   /* (B, CELLS, CELLS), (B,): where it differs */
    int32_t w, h;
} Lights;

typedef struct {                 /* `RelitArguments` of features/relighting.py */
    const float *views;          /* (B, h, w) */
    const float *gains, *biases; /* (B, CELLS, CELLS) */
    float *relit;                /* (B, h, w), to write */
    int32_t w, h;
} Relit;

enum { SHOWN, A, B, AA, BB, AB, SUMS };

/* Means over the pixels of each cell; cells share a pixel where their sides are no whole ones. */
static void of_cells(const Lights *p, const int64_t run, float (*cells)[GRID]) {
    const int32_t w = p->w, h = p->h;
    const float *const goal = p->goals + run * p->goal_step,
                *const view = p->views + run * (int64_t)w * h;
    for (int32_t row = 0; row < CELLS; row++)
        for (int32_t column = 0; column < CELLS; column++) {
            const int32_t top = row * h / CELLS, bottom = ((row + 1) * h + CELLS - 1) / CELLS,
                          left = column * w / CELLS,
                          right = ((column + 1) * w + CELLS - 1) / CELLS;
            float sums[SUMS] = {0};
            for (int32_t y = top; y < bottom; y++)
                for (int32_t i = y * w + left; i < y * w + right; i++) {
                    const float a = goal[i], b = view[i];
                    if (fminf(a, b) <= MIN_SHOWN || fmaxf(a, b) >= SATURATED)
                        continue;
                    sums[SHOWN] += 1, sums[A] += a, sums[B] += b;
                    sums[AA] += a * a, sums[BB] += b * b, sums[AB] += a * b;
                }
            const float pixels = (float)((bottom - top) * (right - left));
            for (int k = 0; k < SUMS; k++)
                cells[k][row * CELLS + column] = sums[k] / pixels;
        }
}

/* Means over side x side cells, of those that are in the picture. */
static void surroundings(const float *values, const int32_t side, float *means) {
    float across[GRID];
    for (int32_t row = 0; row < CELLS; row++)
        for (int32_t column = 0; column < CELLS; column++) {
            const int32_t from = column > side / 2 ? column - side / 2 : 0,
                          to = column + side / 2 < CELLS ? column + side / 2 + 1 : CELLS;
            float sum = 0;
            for (int32_t i = from; i < to; i++)
                sum += values[row * CELLS + i];
            across[row * CELLS + column] = sum / (float)(to - from);
        }
    for (int32_t row = 0; row < CELLS; row++) {
        const int32_t from = row > side / 2 ? row - side / 2 : 0,
                      to = row + side / 2 < CELLS ? row + side / 2 + 1 : CELLS;
        float sums[CELLS] = {0};
        for (int32_t i = from; i < to; i++)
            for (int32_t column = 0; column < CELLS; column++)
                sums[column] += across[i * CELLS + column];
        for (int32_t column = 0; column < CELLS; column++)
            means[row * CELLS + column] = sums[column] / (float)(to - from);
    }
}

/* What is smoothed of each window: 1, the logarithm of the gain, and the means, where it counts;
 * and in `known` the logarithms of these. Returns how many count. */
static int32_t windows(const Lights *p, const int64_t run, float (*cells)[GRID],
                       float (*values)[GRID], float *known) {
    const float noise_a = p->goal_noises[run] * p->goal_noises[run],
                noise_b = p->noises[run] * p->noises[run];
    float means[SUMS][GRID];
    int32_t counted = 0;
    for (int k = 0; k < SUMS; k++)
        surroundings(cells[k], WINDOW, means[k]);
    for (int32_t i = 0; i < GRID; i++) {
        const float n = fmaxf(means[SHOWN][i], 1e-3f), a = means[A][i] / n, b = means[B][i] / n,
                    aa = fmaxf(means[AA][i] / n - a * a - noise_a, 1e-9f),
                    bb = fmaxf(means[BB][i] / n - b * b - noise_b, 1e-9f),
                    ab = means[AB][i] / n - a * b,
                    ratio = fminf(fmaxf(aa / bb, 1.0f / (MAX_GAIN * MAX_GAIN)),
                                  (float)(MAX_GAIN * MAX_GAIN));
        const int counts = means[SHOWN][i] > MIN_SHOWN_SHARE &&
                           aa > MIN_SNR * noise_a + MIN_VARIANCE &&
                           bb > MIN_SNR * noise_b + MIN_VARIANCE &&
                           ab > MIN_CORRELATION * sqrtf(aa * bb);
        const float log_gain = counts ? logf(ratio) / 2 : 0;
        values[0][i] = (float)counts, values[1][i] = log_gain;
        values[2][i] = counts ? a : 0, values[3][i] = counts ? b : 0;
        if (counts)
            known[counted++] = log_gain;
    }
    return counted;
}

/* Runs [begin, end). arguments: a Lights. */
void light_runs(const void *arguments, int64_t begin, int64_t end) {
    const Lights *const p = arguments;
    for (int64_t run = begin; run < end; run++) {
        float cells[SUMS][GRID], values[4][GRID], known[GRID], total[4][GRID], wide[GRID];
        of_cells(p, run, cells);
        const int32_t n = windows(p, run, cells, values, known);
        p->differs[run] = 0;
        if (n <= MIN_USED * GRID)
            continue;
        const float least = of_rank(known, n, (n - 1) / 10),
                    most = of_rank(known, n, 9 * (n - 1) / 10);
        p->differs[run] = most - least > MIN_SPREAD;
        if (!p->differs[run])
            continue;
        p->medians[run] = expf(of_rank(known, n, (n - 1) / 2));
        for (int k = 0; k < 4; k++) {
            surroundings(values[k], WINDOW, total[k]);
            float weight = 1;
            for (int32_t side = WINDOW; side < CELLS;) {
                weight *= FILL, side = 2 * side + 1;
                surroundings(values[k], side, wide);
                for (int32_t i = 0; i < GRID; i++)
                    total[k][i] += weight * wide[i];
            }
        }
        for (int32_t i = 0; i < GRID; i++) {
            const float whole = fmaxf(total[0][i], 1e-20f), gain = expf(total[1][i] / whole);
            p->gains[run * GRID + i] = gain;
            p->biases[run * GRID + i] = total[2][i] / whole - gain * (total[3][i] / whole);
        }
    }
}

/* Runs [begin, end). arguments: a Relit. */
void relit_runs(const void *arguments, int64_t begin, int64_t end) {
    const Relit *const p = arguments;
    const int32_t w = p->w, h = p->h;
    for (int64_t run = begin; run < end; run++)
        for (int32_t y = 0; y < h; y++) {
            const float *const gains = p->gains + run * GRID,
                        *const biases = p->biases + run * GRID;
            const float *restrict const view = p->views + (run * h + y) * w;
            float *restrict const out = p->relit + (run * h + y) * w;
            const float down = fmaxf(((float)y + 0.5f) * ((float)CELLS / (float)h) - 0.5f, 0);
            const int32_t row = (int32_t)down, next = row + (row < CELLS - 1);
            const float below = down - (float)row, step = (float)CELLS / (float)w;
            float gain[CELLS], bias[CELLS];
            for (int32_t i = 0; i < CELLS; i++) {
                gain[i] = (1 - below) * gains[row * CELLS + i] + below * gains[next * CELLS + i];
                bias[i] = (1 - below) * biases[row * CELLS + i] + below * biases[next * CELLS + i];
            }
#pragma omp simd
            for (int32_t x = 0; x < w; x++) {
                const float along = fmaxf(((float)x + 0.5f) * step - 0.5f, 0);
                const int32_t i = (int32_t)along, j = i + (i < CELLS - 1);
                const float right = along - (float)i, value = view[x],
                            g = gain[i] + right * (gain[j] - gain[i]),
                            b = bias[i] + right * (bias[j] - bias[i]);
                out[x] = value > MIN_SHOWN && value < SATURATED ? g * value + b : UNSEEN;
            }
        }
}
