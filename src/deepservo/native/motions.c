/* Rigid motions of twists, and rotation vectors of rotations: the twins of `exp_reference` and
 * `so3_log_reference` in geometry/se3.py. */
#include <stdint.h>

#include "rigid.h"

typedef struct {      /* `MotionArguments` of geometry/se3.py */
    const double *of; /* (R, 6) twists; or (R, 3, 3) rotations */
    double *found;    /* (R, 4, 4); or (R, 3) */
} Motions;

/* Runs [begin, end). arguments: Motions of twists. */
void exp_runs(const void *arguments, int64_t begin, int64_t end) {
    const Motions *const a = arguments;
    for (int64_t run = begin; run < end; run++) {
        double R[3][3], p[3], *T = a->found + 16 * run;
        rigid_exp(a->of + 6 * run, R, p);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                T[4 * i + j] = i == 3 ? j == 3 : j == 3 ? p[i] : R[i][j];
    }
}

/* Runs [begin, end). arguments: Motions of rotations. */
void so3_log_runs(const void *arguments, int64_t begin, int64_t end) {
    const Motions *const a = arguments;
    for (int64_t run = begin; run < end; run++) {
        const double *R = a->of + 9 * run;
        /* Row i is 4 q_i q, of the quaternion q; the largest is well-conditioned. */
        const double wx = R[7] - R[5], wy = R[2] - R[6], wz = R[3] - R[1], xy = R[3] + R[1],
                     xz = R[6] + R[2], yz = R[7] + R[5];
        const double rows[4][4] = {{1 + R[0] + R[4] + R[8], wx, wy, wz},
                                   {wx, 1 + R[0] - R[4] - R[8], xy, xz},
                                   {wy, xy, 1 - R[0] + R[4] - R[8], yz},
                                   {wz, xz, yz, 1 - R[0] - R[4] + R[8]}};
        int best = 0;
        for (int i = 1; i < 4; i++)
            best = rows[i][i] > rows[best][best] ? i : best;
        const double *q = rows[best];
        const double n2 = q[1] * q[1] + q[2] * q[2] + q[3] * q[3],
                     size = copysign(sqrt(q[0] * q[0] + n2), q[0]), n = sqrt(n2),
                     sine2 = n2 / (size * size);
        /* Near 0: 2 asin(n) / n = 2 + n^2 / 3 + 3 n^4 / 20. */
        const double scale = sine2 < 1e-6 ? (2 + sine2 / 3 * (1 + 0.45 * sine2)) / size
                                          : 2 * atan2(n, fabs(q[0])) / copysign(n, q[0]);
        for (int i = 0; i < 3; i++)
            a->found[3 * run + i] = scale * q[1 + i];
    }
}
