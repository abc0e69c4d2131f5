/* Sums over the blocks of a picture, GRID along each side: how alike the two pictures are there,
 * and how their residuals would move the pose. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define GRID 16
/* Of each block: pixels compared, sums of the goal a and the view b, of aa, bb and ab. */
#define MOMENTS 6

typedef struct {
    double *scatter; /* (8, 8), the sum over the blocks of g g^T */
    float *moments;  /* (GRID, GRID, MOMENTS) */
    double totals[2]; /* sums of the derivatives of `weight r` by r, and of weight r^2 */
    float *columns;  /* (8 + MOMENTS, w), sums over the rows of the row of blocks so far */
    int32_t w, h, row;
} Blocks;

/* columns: memory for 8 + MOMENTS rows of pixels. */
static inline Blocks begin_blocks(double *scatter, float *moments, float *columns, int32_t w,
                                  int32_t h) {
    memset(scatter, 0, 64 * sizeof *scatter);
    memset(moments, 0, GRID * GRID * MOMENTS * sizeof *moments);
    memset(columns, 0, (8 + MOMENTS) * w * sizeof *columns);
    return (Blocks){scatter, moments, {0}, columns, w, h, 0};
}

/* The row of blocks is done. */
static inline void end_block_row(Blocks *b) {
    for (int block = 0; block < GRID; block++) {
        const int32_t begin = (block * b->w + GRID - 1) / GRID,
                      end = ((block + 1) * b->w + GRID - 1) / GRID;
        double sums[8 + MOMENTS];
        for (int i = 0; i < 8 + MOMENTS; i++) {
            sums[i] = 0;
            for (int32_t x = begin; x < end; x++)
                sums[i] += b->columns[i * b->w + x];
        }
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 8; j++)
                b->scatter[8 * i + j] += sums[i] * sums[j];
        for (int i = 0; i < MOMENTS; i++)
            b->moments[(b->row * GRID + block) * MOMENTS + i] = (float)sums[8 + i];
    }
    memset(b->columns, 0, (8 + MOMENTS) * b->w * sizeof *b->columns);
}

/* Adds row y, from `margin` pixels inside. J: nine rows of `wide` pixels, the last of them the
 * residual. root: of the weights, for pixels that have any. */
static inline void add_row(Blocks *b, int32_t y, int32_t margin, const float *J, int32_t wide,
                           const float *weight, const float *root, const float *goal,
                           const float *view, const float *valid) {
    const int32_t w = b->w, row = y * GRID / b->h, end = w - margin;
    const float *r = J + 8 * wide;
    float *const sums = b->columns;
    float steep = 0, energy = 0;
    if (row != b->row)
        end_block_row(b), b->row = row;
#pragma omp simd reduction(+ : steep, energy)
    for (int32_t x = margin; x < end; x++)
        steep += weight[x] * (4 * root[x] - 3), energy += weight[x] * r[x] * r[x];
    b->totals[0] += steep, b->totals[1] += energy;
    for (int i = 0; i < 8; i++) {
        const float *column = J + i * wide;
        float *sum = sums + i * w;
#pragma omp simd
        for (int32_t x = margin; x < end; x++)
            sum[x] += weight[x] * column[x] * r[x];
    }
#pragma omp simd
    for (int32_t x = margin; x < end; x++) {
        const float v = valid[x], a = v * goal[x], p = v * view[x];
        sums[8 * w + x] += v, sums[9 * w + x] += a, sums[10 * w + x] += p;
        sums[11 * w + x] += a * goal[x], sums[12 * w + x] += p * view[x];
        sums[13 * w + x] += a * view[x];
    }
}

#endif
