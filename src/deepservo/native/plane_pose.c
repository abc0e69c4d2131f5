/* The camera's pose from points of the plane z = 0 that its rays meet: Levenberg-Marquardt
 * reweighted for the L1 norm, one run after another.
 *
 * The arithmetic is that of `refined_reference` in geometry/pnp.py, its slow plain twin.
 */
#include <float.h>
#include <stdint.h>

#include "rigid.h"

typedef struct {                           /* `Arguments` of geometry/pnp.py */
    const double *rays, *points, *weights; /* (n, 3), (R, n, 2), (R, n) */
    double *poses, *costs;                 /* (R, 4, 4), in and out; (R), to write */
    int32_t n, iterations;
    /* least cosine between a ray and the plane's normal; the distance [m] under which residuals
     * have equal weights; the largest component of a step [m, rad] */
    double min_cosine, floor, max_step;
} Posing;

/* T <- T exp(twist) for the upper three rows of a rigid T. */
static void move(double *T, const double *twist) {
    double R[3][3], p[3];
    rigid_exp(twist, R, p);
    for (int i = 0; i < 3; i++) {
        double *row = T + 4 * i, r[3] = {row[0], row[1], row[2]};
        for (int j = 0; j < 3; j++)
            row[j] = r[0] * R[0][j] + r[1] * R[1][j] + r[2] * R[2][j];
        row[3] += r[0] * p[0] + r[1] * p[1] + r[2] * p[2];
    }
}

/* Cost at T, and the upper triangle of H and g of the distances there. */
static double equations(const Posing *a, const double *points, const double *weights,
                        const double *T, double H[6][6], double *g) {
    double cost = 0;
    memset(H, 0, 36 * sizeof(double));
    memset(g, 0, 6 * sizeof(double));
    for (int32_t n = 0; n < a->n; n++) {
        const double *r = a->rays + 3 * n, z = T[11];
        double d[3], J[2][6];
        for (int i = 0; i < 3; i++)
            d[i] = T[4 * i] * r[0] + T[4 * i + 1] * r[1] + T[4 * i + 2] * r[2];
        const double down = fmax(d[2], a->min_cosine), k = -z / down,
                     steep = d[2] > a->min_cosine ? z / (down * down) : 0;
        const double e[2] = {T[3] + k * d[0] - points[2 * n], T[7] + k * d[1] - points[2 * n + 1]},
                     distance = sqrt(e[0] * e[0] + e[1] * e[1]);
        for (int j = 0; j < 3; j++) {
            const double *one = T + (j + 1) % 3, *two = T + (j + 2) % 3, r1 = r[(j + 1) % 3],
                         r2 = r[(j + 2) % 3];
            const double turned[3] = {two[0] * r1 - one[0] * r2, two[4] * r1 - one[4] * r2,
                                      two[8] * r1 - one[8] * r2}; /* R (e_j x ray) */
            for (int i = 0; i < 2; i++) {
                J[i][j] = T[4 * i + j] - d[i] * T[8 + j] / down;
                J[i][3 + j] = k * turned[i] + d[i] * steep * turned[2];
            }
        }
        const double w = weights[n] / fmax(distance, a->floor);
        cost += weights[n] * distance;
        for (int i = 0; i < 6; i++) {
            for (int j = i; j < 6; j++)
                H[i][j] += w * (J[0][i] * J[0][j] + J[1][i] * J[1][j]);
            g[i] += w * (J[0][i] * e[0] + J[1][i] * e[1]);
        }
    }
    return cost;
}

/* Runs [begin, end). arguments: a Posing. */
void plane_pose_runs(const void *arguments, int64_t begin, int64_t end) {
    const Posing *const a = arguments;
    for (int64_t run = begin; run < end; run++) {
        double *best = a->poses + 16 * run, T[12], H[6][6] = {0}, g[6] = {0}, now_H[6][6], now_g[6],
               ridge[6], step[6], cost = DBL_MAX, mu = 1e-3;
        memcpy(T, best, sizeof T);
        for (int32_t iteration = 0; iteration < a->iterations; iteration++) {
            const double now =
                equations(a, a->points + 2 * a->n * run, a->weights + a->n * run, T, now_H, now_g);
            if (now < cost) {
                cost = now, mu *= 0.3;
                memcpy(best, T, sizeof T);
                memcpy(H, now_H, sizeof H);
                memcpy(g, now_g, sizeof g);
            } else {
                mu *= 10;
                memcpy(T, best, sizeof T);
            }
            for (int i = 0; i < 6; i++)
                ridge[i] = mu * H[i][i] + 1e-9;
            damped(&H[0][0], 6, ridge, g, step);
            for (int i = 0; i < 6; i++)
                step[i] = -fmin(fmax(step[i], -a->max_step), a->max_step);
            move(T, step);
        }
        a->costs[run] = cost;
    }
}
