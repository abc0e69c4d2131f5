/* Weighted sums of products of rows of pixels: what normal equations are made of. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include <stdint.h>
#include <string.h>

#define LANES 16
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Adds the sums of `weight J_i J_j`, for i of [from, to) and j from i on, to nine sums of each i.
 * One reading of a pixel serves all its products. */
static inline __attribute__((always_inline)) void
add_some(const int from, const int to, int32_t w, const float *J, const float *weight,
         double *sums) {
    Lanes s[3][9];
    memset(s, 0, sizeof s);
    for (int32_t x = 0; x < w; x += LANES) {
        const Lanes by = *(const Lanes *)(weight + x);
#pragma GCC unroll 3
        for (int i = from; i < to; i++) {
            const Lanes weighted = by * *(const Lanes *)(J + i * w + x);
#pragma GCC unroll 9
            for (int j = i; j < 9; j++)
                s[i - from][j] += weighted * *(const Lanes *)(J + j * w + x);
        }
    }
#pragma GCC unroll 3
    for (int i = from; i < to; i++)
#pragma GCC unroll 9
        for (int j = i; j < 9; j++) {
            float sum = 0;
            for (int k = 0; k < LANES; k++)
                sum += s[i - from][j][k];
            sums[9 * i + j] += sum;
        }
}

/* The same of all eight i, as many at a time as stay in registers. J: nine rows of w pixels, w a
 * multiple of LANES. */
static inline void add_products(int32_t w, const float *J, const float *weight, double *sums) {
    add_some(0, 2, w, J, weight, sums);
    add_some(2, 5, w, J, weight, sums);
    add_some(5, 8, w, J, weight, sums);
}

#endif
