/* What two registered pictures say of the pose between them, for one run after another: the twin of
 * features/evidence.py, where the formulas are. */
#include "blocks.h"
#include "gradient.h"
#include "six.h"

#define INTERPOLATION 0.0125
#define MODEL 0.04
#define RELATIVE 0.15
#define LEAST_PX 8e-6
#define LEAST_PX_BY_DEPTH 7e-4
#define LEAST_INFORMATION 0.02
#define LEAST_STEEPNESS 0.2
#define POINTS 12
#define MIN_BLOCK_SHARE 0.5
#define MIN_TEXTURE 4.0
#define TEXTURE_FLOOR 1e-3
#define MIN_CORRELATION_SHARE 0.7
#define MIN_EXPECTED 0.3
enum { UNKNOWN, DIFFERS, AGREES, FLAT }; /* what is known of a block */
#define SWEEPS 12 /* of Jacobi's rotations: six rows need fewer */

typedef struct {                        /* `EvidenceArguments` of features/evidence.py */
    const double *H, *g;                /* (R, 8, 8), (R, 8) */
    const double *scatters, *poses;     /* (R, 8, 8), (R, 4, 4) */
    const float *moments;               /* (R, GRID, GRID, MOMENTS) */
    const double *totals;               /* (R, 2), see blocks.h */
    const float *fits;                  /* (R, 3), gain first */
    const float *goal_noises, *noises;  /* deviations */
    const float *planes, *inverse_depths; /* as in registration.c */
    int64_t depth_step;
    const float *camera; /* fx, fy, cx, cy of the goal's pixels */
    double *covariances; /* (R, 6, 6) */
    float *agree, *blocks, *excess;
    int8_t *alike; /* (R, GRID * GRID) */
    int32_t w, h;
} Evidence;

/* Eigenvalues on the diagonal of A, and eigenvectors in the columns of V, by Jacobi's rotations. */
static void eigen(Six A, Six V) {
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            V[i][j] = i == j;
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (int p = 0; p < 5; p++)
            for (int q = p + 1; q < 6; q++) {
                if (fabs(A[p][q]) < 1e-300)
                    continue;
                const double theta = (A[q][q] - A[p][p]) / (2 * A[p][q]),
                             t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)),
                             c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < 6; k++) {
                    const double x = A[k][p], y = A[k][q];
                    A[k][p] = c * x - s * y, A[k][q] = s * x + c * y;
                }
                for (int k = 0; k < 6; k++) {
                    const double x = A[p][k], y = A[q][k];
                    A[p][k] = c * x - s * y, A[q][k] = s * x + c * y;
                }
                for (int k = 0; k < 6; k++) {
                    const double x = V[k][p], y = V[k][q];
                    V[k][p] = c * x - s * y, V[k][q] = s * x + c * y;
                }
            }
}

/* The mean of L^T L over points of the goal, L in pixels. */
static void mean_information(const Evidence *a, int64_t run, Six out) {
    const float *plane = a->planes + 3 * run, *k = a->camera,
                *map = a->inverse_depths ? a->inverse_depths + run * a->depth_step : NULL;
    double count = 0;
    memset(out, 0, sizeof(Six));
    for (int32_t v = a->h / POINTS / 2; v < a->h; v += a->h / POINTS)
        for (int32_t u = a->w / POINTS / 2; u < a->w; u += a->w / POINTS) {
            const double x = (u - k[2]) / k[0], y = (v - k[3]) / k[1];
            double iz = map ? map[(int64_t)v * a->w + u] : plane[0] * x + plane[1] * y + plane[2];
            if (!(iz > 0))
                continue;
            iz = fmax(iz, 1e-6);
            const double rows[2][6] = {{-iz, 0, x * iz, x * y, -(1 + x * x), y},
                                       {0, -iz, y * iz, 1 + y * y, -x * y, -x}};
            for (int row = 0; row < 2; row++)
                for (int i = 0; i < 6; i++)
                    for (int j = 0; j < 6; j++)
                        out[i][j] += k[row] * k[row] * rows[row][i] * rows[row][j];
            count += 1;
        }
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            out[i][j] /= fmax(count, 1);
}

/* What the noise of the gradients adds to H of the twist, from the mean of L^T L. */
static void of_noise(const Evidence *a, int64_t run, Six mean, Six out) {
    double taps = 0; /* what the gradient's taps make of the variance of noise */
    for (int i = 0; i < 3; i++)
        taps += 2.0 * derivative[i] * derivative[i];
    const double goal = a->goal_noises[run], view = a->noises[run], gain = a->fits[3 * run],
                 ratio = fmin(fmax(view * view / (goal * goal), 1e-4), 1e4),
                 share = ratio / (ratio + gain * gain), rest = (1 - share) / gain,
                 variance = (share * share * goal * goal + rest * rest * view * view) * taps *
                            a->H[64 * run + 63];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            out[i][j] = variance * mean[i][j];
}

/* What noise makes of the sum of w r^2. */
static double noise_energy(const Evidence *a, int64_t run) {
    const double goal = a->goal_noises[run], view = a->noises[run] / a->fits[3 * run];
    return a->H[64 * run + 63] * (goal * goal + view * view);
}

static void covariance(const Evidence *a, int64_t run) {
    const double *all = a->H + 64 * run, *g_all = a->g + 8 * run, *scatter = a->scatters + 64 * run,
                 e = all[54] + 1e-12, f = all[55], g = all[63] + 1e-12, det = e * g - f * f;
    double alone[6][8], left[6], xi[6], moved = 0, *out = a->covariances + 36 * run;
    Six H, S, mean, noise, unit, V, weighted, scaled, inverse, least;
    /* Whatever gain and bias are. */
    for (int i = 0; i < 6; i++) {
        const double x = all[8 * i + 6], y = all[8 * i + 7], l0 = (g * x - f * y) / det,
                     l1 = (e * y - f * x) / det;
        for (int j = 0; j < 6; j++)
            alone[i][j] = i == j, H[i][j] = all[8 * i + j] - l0 * all[48 + j] - l1 * all[56 + j];
        alone[i][6] = -l0, alone[i][7] = -l1;
        left[i] = g_all[i] - l0 * g_all[6] - l1 * g_all[7];
    }
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            S[i][j] = left[i] * left[j];
            for (int k = 0; k < 8; k++)
                for (int l = 0; l < 8; l++)
                    S[i][j] += alone[i][k] * scatter[8 * k + l] * alone[j][l];
        }
    if (!(det > 0) || !inverse_root(H, unit)) {
        for (int i = 0; i < 36; i++)
            out[i] = INFINITY;
        return;
    }
    mean_information(a, run, mean);
    of_noise(a, run, mean, noise);
    product(unit, noise, 0, scaled);
    product(scaled, unit, 1, noise);
    eigen(noise, V);
    for (int i = 0; i < 6; i++) /* columns of unit^T V, each by the root of its weight */
        for (int j = 0; j < 6; j++) {
            weighted[i][j] = 0;
            for (int k = 0; k < 6; k++)
                weighted[i][j] += unit[k][i] * V[k][j];
            weighted[i][j] /= sqrt(fmax(1 - noise[j][j], LEAST_INFORMATION));
        }
    product(weighted, weighted, 1, inverse);
    product(inverse, S, 0, scaled);
    product(scaled, inverse, 1, S);
    const double steep = fmax(a->totals[2 * run] / fmax(all[63], 1e-12), LEAST_STEEPNESS);
    twist_of(a->poses + 16 * run, xi);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            moved += xi[i] * H[i][j] * xi[j];
    const double energy = a->totals[2 * run + 1] - noise_energy(a, run),
                 everywhere = INTERPOLATION * INTERPOLATION * fmax(moved, 0) +
                              MODEL * MODEL * fmax(energy, 0);
    const double px = a->inverse_depths ? LEAST_PX_BY_DEPTH : LEAST_PX;
    memset(least, 0, sizeof least);
    if (inverse_root(mean, unit))
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++)
                for (int k = 0; k < 6; k++)
                    least[i][j] += unit[k][i] * unit[k][j];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            out[6 * i + j] = S[i][j] / (steep * steep) + everywhere * inverse[i][j] +
                             RELATIVE * RELATIVE * xi[i] * xi[j] +
                             px * px * least[i][j];
}

static void agreement(const Evidence *a, int64_t run) {
    const float *moments = a->moments + (int64_t)GRID * GRID * MOMENTS * run;
    const double noise_a = (double)a->goal_noises[run] * a->goal_noises[run],
                 noise_b = (double)a->noises[run] * a->noises[run],
                 least = TEXTURE_FLOOR * TEXTURE_FLOOR;
    int8_t *alike = a->alike + (int64_t)GRID * GRID * run;
    double whole = 1;
    int agree = 0, textured = 0;
    for (int block = 0; block < GRID * GRID; block++)
        whole = fmax(whole, moments[MOMENTS * block]);
    for (int block = 0; block < GRID * GRID; block++) {
        const float *m = moments + MOMENTS * block;
        const double n = fmax(m[0], 1), ma = m[1] / n, mb = m[2] / n, aa = m[3] / n - ma * ma,
                     bb = m[4] / n - mb * mb, ab = m[5] / n - ma * mb,
                     pure_a = fmax(aa - noise_a, 0), pure_b = fmax(bb - noise_b, 0);
        const int seen = m[0] > MIN_BLOCK_SHARE * whole;
        alike[block] = seen ? FLAT : UNKNOWN;
        if (!seen ||
            fmax(pure_a / (noise_a + least), pure_b / (noise_b + least)) <= MIN_TEXTURE)
            continue;
        const double va = fmax(aa, least), vb = fmax(bb, least),
                     expected = fmax(sqrt(pure_a / va * pure_b / vb), MIN_EXPECTED);
        const int agrees = ab / sqrt(va * vb) > MIN_CORRELATION_SHARE * expected;
        textured++, agree += agrees;
        alike[block] = agrees ? AGREES : DIFFERS;
    }
    a->excess[run] = (float)(a->totals[2 * run + 1] / fmax(noise_energy(a, run), 1e-12));
    a->agree[run] = (float)agree / (float)(textured > 1 ? textured : 1);
    a->blocks[run] = (float)textured;
}

/* Runs [begin, end). arguments: an Evidence. */
void evidence_runs(const void *arguments, int64_t begin, int64_t end) {
    const Evidence *const a = arguments;
    for (int64_t run = begin; run < end; run++) {
        covariance(a, run);
        agreement(a, run);
    }
}
