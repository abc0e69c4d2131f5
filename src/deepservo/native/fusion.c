/* The pose from a camera's last picture and those before, for one run after another: the twin of
 * features/fusion.py, where the formulas are. */
#include <stdint.h>

#include "rigid.h"
#include "six.h"

#define FIRST_SHARE 0.5
#define LEAST_SHARE 0.02
#define MOST_SHARE 4.0
#define RATE 0.1
#define LAG 8.0
#define MIN_LAG 2.5
#define LEAST_COMMON 0.05
#define FORGOTTEN 0.02
#define MOTION_ERROR 0.1
#define SURPRISE 40.0

typedef struct {           /* `FusionArguments` of features/fusion.py */
    const double *motions; /* (R, 4, 4), since the pictures before */
    const double *seen;    /* (R, 4, 4), of the last pictures, */
    double *poses;         /* and of those before; the fused ones, out */
    double *covariances;   /* (R, 6, 6), of the last pictures; of the fused poses, out */
    double *own, *shares;  /* (R, 6, 6) and (R), in and out, */
    double *lags;          /* as are (R, 6) */
    double *pictures;      /* and (R) */
    const int8_t *used;    /* (R), whether a picture was used before */
} Fusing;

/* out = a b, of rigid motions in 3 or 4 rows of 4. */
static void compose(const double *a, const double *b, double *out) {
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++) {
            out[4 * i + j] = j == 3 ? a[4 * i + 3] : 0;
            for (int k = 0; k < 3; k++)
                out[4 * i + j] += a[4 * i + k] * b[4 * k + j];
        }
}

/* The twist d with `a = exp(d) b`. */
static void between(const double *a, const double *b, double *d) {
    double T[12];
    for (int i = 0; i < 3; i++) {
        T[4 * i + 3] = a[4 * i + 3];
        for (int j = 0; j < 3; j++) {
            T[4 * i + j] = 0;
            for (int k = 0; k < 3; k++)
                T[4 * i + j] += a[4 * i + k] * b[4 * j + k];
            T[4 * i + 3] -= T[4 * i + j] * b[4 * j + 3];
        }
    }
    twist_of(T, d);
}

/* d^T A^-1 d, from the inverse of A's root. */
static double squared(Six root, const double *d) {
    double total = 0;
    for (int i = 0; i < 6; i++) {
        double sum = 0;
        for (int j = 0; j <= i; j++)
            sum += root[i][j] * d[j];
        total += sum * sum;
    }
    return total;
}

/* T = exp(K d) predicted, own = (1 - K) P, with K = P V^T V. */
static void update(Six P, Six V, const double *d, const double *predicted, double *T, Six own) {
    Six PV, K, KP;
    double step[6] = {0}, R[3][3], p[3], moved[12];
    product(P, V, 1, PV);
    product(PV, V, 0, K);
    product(K, P, 0, KP);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            step[i] += K[i][j] * d[j];
            own[i][j] = P[i][j] - KP[i][j];
        }
    rigid_exp(step, R, p);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            moved[4 * i + j] = j == 3 ? p[i] : R[i][j];
    compose(moved, predicted, T);
}

static void fuse(const Fusing *a, int64_t run) {
    const double *seen = a->seen + 16 * run, *motion = a->motions + 16 * run;
    double *T = a->poses + 16 * run, *covariance = a->covariances + 36 * run,
           *kept = a->own + 36 * run, *share = a->shares + run, *lag = a->lags + 6 * run,
           *pictures = a->pictures + run;
    double predicted[12], d[6], done[6];
    Six C, P, both, root, own;
    memcpy(C, covariance, sizeof C);
    compose(T, motion, predicted);
    between(seen, predicted, d);
    twist_of(motion, done);
    const int regular = inverse_root(C, root), used = a->used[run] && regular;
    *pictures = used ? *pictures + 1 : 0;
    const double apart = fmin(squared(root, d) / 6, 2 * MOST_SHARE),
                 rate = fmax(1 / fmax(*pictures, 1), RATE),
                 next = used ? *share + rate * (apart - *share) : FIRST_SHARE;
    for (int i = 0; i < 6; i++)
        lag[i] = used ? lag[i] + rate * (d[i] - lag[i]) : 0;
    *share = fmin(fmax(next, LEAST_SHARE), MOST_SHARE);
    const int lags = squared(root, lag) / 6 > MIN_LAG * *share * rate / (2 - rate);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            const double R = *share * C[i][j], moved = MOTION_ERROR * done[i];
            P[i][j] = kept[6 * i + j] + FORGOTTEN * R + (i == j) * moved * moved +
                      lags * lag[i] * lag[j];
            both[i][j] = P[i][j] + R;
            own[i][j] = R;
        }
    memcpy(T, seen, 16 * sizeof *T);
    if (used && inverse_root(both, root) && squared(root, d) < SURPRISE)
        update(P, root, d, predicted, T, own);
    const double common = fmax(1 - *share, LEAST_COMMON * fmax(*share, 1));
    memcpy(kept, own, sizeof own);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            covariance[6 * i + j] = own[i][j] + common * C[i][j] + lags * LAG * lag[i] * lag[j];
}

/* Runs [begin, end). arguments: a Fusing. */
void fusion_runs(const void *arguments, int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; run++)
        fuse(arguments, run);
}
