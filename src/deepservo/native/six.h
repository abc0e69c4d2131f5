/* What covariances of poses take: matrices of six rows, and the twist of a pose. */
#include <math.h>
#include <string.h>

typedef double Six[6][6];

/* out = a b, or a b^T. */
static inline void product(Six a, Six b, int transposed, Six out) {
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            double sum = 0;
            for (int k = 0; k < 6; k++)
                sum += a[i][k] * (transposed ? b[j][k] : b[k][j]);
            out[i][j] = sum;
        }
}

/* L, lower triangular, of H = L L^T; 0 where H is not positive definite. */
static inline int root_of(Six H, Six L) {
    memset(L, 0, sizeof(Six));
    for (int i = 0; i < 6; i++)
        for (int j = 0; j <= i; j++) {
            double s = H[i][j];
            for (int k = 0; k < j; k++)
                s -= L[i][k] * L[j][k];
            if (i == j && !(s > 0))
                return 0;
            L[i][j] = i == j ? sqrt(s) : s / L[j][j];
        }
    return 1;
}

/* out = L^-1 of a lower triangular L. */
static inline void inverse_of_root(Six L, Six out) {
    memset(out, 0, sizeof(Six));
    for (int j = 0; j < 6; j++)
        for (int i = j; i < 6; i++) {
            double s = i == j;
            for (int k = j; k < i; k++)
                s -= L[i][k] * out[k][j];
            out[i][j] = s / L[i][i];
        }
}

/* out = L^-1 of H = L L^T; 0 where H is not positive definite. */
static inline int inverse_root(Six H, Six out) {
    Six L;
    if (!root_of(H, L)) {
        memset(out, 0, sizeof(Six));
        return 0;
    }
    inverse_of_root(L, out);
    return 1;
}

/* xi of the pose (3 or 4 rows of 4): `se3.log`, for turns of less than half a turn. */
static inline void twist_of(const double *T, double *xi) {
    const double w[3] = {T[9] - T[6], T[2] - T[8], T[4] - T[1]},
                 c = fmin(1, fmax(-1, (T[0] + T[5] + T[10] - 1) / 2)), angle = acos(c),
                 a = angle < 1e-4 ? 0.5 + angle * angle / 12 : angle / (2 * sin(angle)),
                 b = angle < 1e-3 ? 1.0 / 12
                                  : (1 - angle * sin(angle) / (2 * (1 - c))) / (angle * angle);
    double t[3] = {T[3], T[7], T[11]}, wt[3], wwt[3];
    for (int i = 0; i < 3; i++)
        xi[3 + i] = a * w[i];
    const double *o = xi + 3;
    for (int i = 0; i < 3; i++)
        wt[i] = o[(i + 1) % 3] * t[(i + 2) % 3] - o[(i + 2) % 3] * t[(i + 1) % 3];
    for (int i = 0; i < 3; i++)
        wwt[i] = o[(i + 1) % 3] * wt[(i + 2) % 3] - o[(i + 2) % 3] * wt[(i + 1) % 3];
    for (int i = 0; i < 3; i++)
        xi[i] = t[i] - 0.5 * wt[i] + b * wwt[i];
}
