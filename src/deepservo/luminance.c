/* Normal equations of the luminance: H = L^T L and g = L^T e, one run after another, without L in memory.
 *
 * The arithmetic is that of `NormalEquations.reference` in features/luminance.py. Sums are float along a row and double over
 * the rows.
 */
#include "gradient.h"

/* images: (R, h, w). goals: one for all runs (goal_step 0) or one each. L is that of `now` image + `there` goal. inverse_depth:
 * (h, w). camera: fx, fy, cx, cy. border: at least 3. sums: (R, 27), the upper triangle of H row by row, each row followed by
 * its element of g. scratch: h w floats. */
void luminance_runs(const float *images, const float *goals, int64_t goal_step, float now, float there, const float *inverse_depth,
                    const float *camera, int32_t w, int32_t h, int32_t border, double *sums, float *mixed, int64_t begin, int64_t end) {
    const float fx = camera[0], fy = camera[1], cx = camera[2], cy = camera[3];
    for (int64_t run = begin; run < end; run++) {
        const float *image = images + run * w * h, *goal = goals + run * goal_step;
        double *out = sums + 27 * run;
        for (int32_t i = 0; i < w * h; i++) mixed[i] = now * image[i] + there * goal[i];
        for (int32_t m = 0; m < 27; m++) out[m] = 0;
        for (int32_t y = border; y < h - border; y++) {
            const float yn = (y - cy) / fy;
            float s00 = 0, s01 = 0, s02 = 0, s03 = 0, s04 = 0, s05 = 0, s0e = 0, s11 = 0, s12 = 0, s13 = 0, s14 = 0, s15 = 0, s1e = 0, s22 = 0,
                  s23 = 0, s24 = 0, s25 = 0, s2e = 0, s33 = 0, s34 = 0, s35 = 0, s3e = 0, s44 = 0, s45 = 0, s4e = 0, s55 = 0, s5e = 0;
#pragma omp simd reduction(+ : s00, s01, s02, s03, s04, s05, s0e, s11, s12, s13, s14, s15, s1e, s22, s23, s24, s25, s2e, s33, s34, s35, s3e, s44, s45, s4e, s55, s5e)
            for (int32_t x = border; x < w - border; x++) {
                const float *p = mixed + y * w + x;
                const float xn = (x - cx) / fx, iz = inverse_depth[y * w + x], e = image[y * w + x] - goal[y * w + x];
                const float gx = fx * slope(p, 1), gy = fy * slope(p, w), turn = gx * xn + gy * yn;
                const float l0 = gx * iz, l1 = gy * iz, l2 = -turn * iz, l3 = -(gy + yn * turn), l4 = gx + xn * turn, l5 = gy * xn - gx * yn;
                s00 += l0 * l0, s01 += l0 * l1, s02 += l0 * l2, s03 += l0 * l3, s04 += l0 * l4, s05 += l0 * l5, s0e += l0 * e;
                s11 += l1 * l1, s12 += l1 * l2, s13 += l1 * l3, s14 += l1 * l4, s15 += l1 * l5, s1e += l1 * e;
                s22 += l2 * l2, s23 += l2 * l3, s24 += l2 * l4, s25 += l2 * l5, s2e += l2 * e;
                s33 += l3 * l3, s34 += l3 * l4, s35 += l3 * l5, s3e += l3 * e;
                s44 += l4 * l4, s45 += l4 * l5, s4e += l4 * e;
                s55 += l5 * l5, s5e += l5 * e;
            }
            const float row[27] = {s00, s01, s02, s03, s04, s05, s0e, s11, s12, s13, s14, s15, s1e, s22,
                                   s23, s24, s25, s2e, s33, s34, s35, s3e, s44, s45, s4e, s55, s5e};
            for (int32_t m = 0; m < 27; m++) out[m] += row[m];
        }
    }
}
