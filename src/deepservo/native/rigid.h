/* What finding a pose takes: a rigid motion's exponential, and damped normal equations. */
#include <math.h>
#include <string.h>

/* A system of normal equations has at most this many unknowns. */
#define MAX_UNKNOWNS 8

/* R, p of the motion of a twist (v, w), as `se3.exp`. */
static inline void rigid_exp(const double *twist, double R[3][3], double *p) {
    const double x = twist[3], y = twist[4], z = twist[5], t2 = x * x + y * y + z * z, t = sqrt(t2);
    const int small = t2 < 1e-3;
    const double a = small ? 1 - t2 / 6 * (1 - t2 / 20 * (1 - t2 / 42)) : sin(t) / t;
    const double b =
        small ? 0.5 * (1 - t2 / 12 * (1 - t2 / 30 * (1 - t2 / 56))) : (1 - cos(t)) / t2;
    const double c =
        small ? (1 - t2 / 20 * (1 - t2 / 42 * (1 - t2 / 72))) / 6 : (t - sin(t)) / (t2 * t);
    const double k[3][3] = {{0, -z, y}, {z, 0, -x}, {-y, x, 0}}, w[3] = {x, y, z};
    memset(p, 0, 3 * sizeof(double));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const double kk = w[i] * w[j] - (i == j) * t2;
            R[i][j] = (i == j) + a * k[i][j] + b * kk;
            p[i] += ((i == j) + b * k[i][j] + c * kk) * twist[j];
        }
}

/* Solves (H + diag(ridge)) x = g by Cholesky's factors, from the upper triangle of H (n, n); x is
 * zero where H + diag(ridge) is not positive definite. */
static inline void damped(const double *H, int n, const double *ridge, const double *g, double *x) {
    double F[MAX_UNKNOWNS][MAX_UNKNOWNS];
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double s = H[n * j + i] + (i == j) * ridge[i];
            for (int k = 0; k < j; k++)
                s -= F[i][k] * F[j][k];
            if (i == j && s <= 0) {
                memset(x, 0, n * sizeof(double));
                return;
            }
            F[i][j] = i == j ? sqrt(s) : s / F[j][j];
        }
    for (int i = 0; i < n; i++) {
        double s = g[i];
        for (int k = 0; k < i; k++)
            s -= F[i][k] * x[k];
        x[i] = s / F[i][i];
    }
    for (int i = n - 1; i >= 0; i--) {
        double s = x[i];
        for (int k = i + 1; k < n; k++)
            s -= F[k][i] * x[k];
        x[i] = s / F[i][i];
    }
}
