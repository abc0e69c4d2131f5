/* Grey levels and their interaction matrix on a linear basis: P I and P L_I of one run after
 * another, L_I never in memory.
 *
 * The arithmetic is that of `Projection.reference` in features/projection.py. The basis is read
 * once for LANES columns and two runs at a time; sums are float along a row and added up over the
 * rows.
 */
#include <string.h>

#include "gradient.h"

/* This many columns of the basis are worked on at a time. */
#define LANES 16
/* The grey level and the six columns of L_I. */
#define MAPS 7
/* A row inside the border has at most this many pixels. */
#define MAX_ROW 4096

typedef float lanes __attribute__((vector_size(4 * LANES)));

/* One row of a picture: grey levels and columns of L_I, from x = border on. */
static void measure_row(const float *image, const float *inverse_depth, const float *camera,
                        int32_t w, int32_t y, int32_t border, float *maps, int32_t n) {
    const float fx = camera[0], fy = camera[1], cx = camera[2], cy = camera[3], yn = (y - cy) / fy;
    for (int32_t i = 0; i < n; i++) {
        const int32_t x = border + i;
        const float *p = image + y * w + x;
        const float xn = (x - cx) / fx, iz = inverse_depth[y * w + x], gx = fx * slope(p, 1),
                    gy = fy * slope(p, w), turn = gx * xn + gy * yn;
        maps[i] = *p;
        maps[n + i] = gx * iz;
        maps[2 * n + i] = gy * iz;
        maps[3 * n + i] = -turn * iz;
        maps[4 * n + i] = -(gy + yn * turn);
        maps[5 * n + i] = gx + xn * turn;
        maps[6 * n + i] = gy * xn - gx * yn;
    }
}

typedef struct {         /* `Arguments` of features/projection.py */
    const float *images; /* (R, h, w) */
    const float *basis;  /* (pixels inside the border, columns), columns a multiple of LANES */
    const float *inverse_depth, *camera; /* (h, w); fx, fy, cx, cy */
    float *out;                          /* (R, MAPS, columns), aligned or not */
    int64_t runs;
    int32_t columns, w, h, border; /* border: at least 3 */
} Projecting;

/* Pairs of runs [2 begin, 2 end). arguments: a Projecting. */
void projection_runs(const void *arguments, int64_t begin, int64_t end) {
    const Projecting *const a = arguments;
    const float *images = a->images, *basis = a->basis, *inverse_depth = a->inverse_depth,
                *camera = a->camera;
    const int32_t columns = a->columns, w = a->w, h = a->h, border = a->border, n = w - 2 * border;
    const int64_t runs = a->runs;
    float *out = a->out, maps[2][MAPS * MAX_ROW];
    for (int64_t run = 2 * begin; run < 2 * end && run < runs; run += 2) {
        const int64_t other = run + 1 < runs ? run + 1 : run;
        memset(out + run * MAPS * columns, 0, sizeof(float) * MAPS * columns);
        memset(out + other * MAPS * columns, 0, sizeof(float) * MAPS * columns);
        for (int32_t y = border; y < h - border; y++) {
            measure_row(images + run * w * h, inverse_depth, camera, w, y, border, maps[0], n);
            if (other != run)
                measure_row(images + other * w * h, inverse_depth, camera, w, y, border, maps[1],
                            n);
            for (int32_t column = 0; column < columns; column += LANES) {
                lanes first[MAPS] = {0}, second[MAPS] = {0};
                const float *rows = basis + (int64_t)(y - border) * n * columns + column;
                for (int32_t i = 0; i < n; i++) {
                    lanes b;
                    memcpy(&b, rows + (int64_t)i * columns, sizeof b);
                    for (int k = 0; k < MAPS; k++) {
                        first[k] += maps[0][k * n + i] * b;
                        second[k] += maps[1][k * n + i] * b;
                    }
                }
                for (int k = 0; k < MAPS; k++)
                    for (int j = 0; j < LANES; j++) {
                        out[(run * MAPS + k) * columns + column + j] += first[k][j];
                        if (other != run)
                            out[(other * MAPS + k) * columns + column + j] += second[k][j];
                    }
            }
        }
    }
}
