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
#define DEVIATION 0.16
#define CHANCE 3.0
#define NONE -1.0
#define LEVER 0.5
#define MOST_UNSEEN 0.95

typedef struct {           /* `FusionArguments` of features/fusion.py */
    const double *motions; /* (R, 4, 4), since the pictures before */
    const double *seen;    /* (R, 4, 4), of the last pictures, */
    double *poses;         /* and of those before; the fused ones, out */
    double *covariances;   /* (R, 6, 6), of the last pictures; of the fused poses, out */
    double *own, *alike;   /* (R, 6, 6), in and out, */
    double *shares, *lags; /* as are (R) and (R, 6) */
    double *pictures;      /* (R), */
    double *first, *first_now, *first_covariances; /* (R, 4, 4) twice, (R, 6, 6) */
    double *last_unseen, *unseen; /* and (R) */
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

/* out = A d. */
static void times(Six A, const double *d, double *out) {
    for (int i = 0; i < 6; i++) {
        out[i] = 0;
        for (int j = 0; j < 6; j++)
            out[i] += A[i][j] * d[j];
    }
}

static double squared(const double *d) {
    double total = 0;
    for (int i = 0; i < 6; i++)
        total += d[i] * d[i];
    return total;
}

static double place_variance(Six C) { return C[0][0] + C[1][1] + C[2][2]; }

/* T = exp(K d) predicted, with K = P V^T V. */
static void move(Six P, Six V, const double *d, const double *predicted, double *T, Six K) {
    Six PV;
    double step[6], R[3][3], p[3], moved[12];
    product(P, V, 1, PV);
    product(PV, V, 0, K);
    times(K, d, step);
    rigid_exp(step, R, p);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            moved[4 * i + j] = j == 3 ? p[i] : R[i][j];
    compose(moved, predicted, T);
}

/* stays = 1 - K, shown = K L, own = stays P stays^T + share shown shown^T. (Rounding leaves
 * `stays P` negative where P is far larger.) */
static void weigh(Six P, Six K, Six L, double share, Six stays, Six shown, Six own) {
    Six SP, S;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            stays[i][j] = (i == j) - K[i][j];
    product(K, L, 0, shown);
    product(stays, P, 0, SP);
    product(SP, stays, 1, own);
    product(shown, shown, 1, S);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            own[i][j] += share * S[i][j];
}

/* A = M M^T, M = stays root + shown. */
static void mix(Six root, Six stays, Six shown, Six A) {
    Six M;
    product(stays, root, 0, M);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            M[i][j] += shown[i][j];
    product(M, M, 1, A);
}

/* Whether the motion since the first picture begins anew: the share of it that the last picture,
 * with the covariance C, does not show is then written. whole: of the fused pose. */
static int shows(const Fusing *a, int64_t run, Six C, Six whole) {
    const double *now = a->first_now + 16 * run, *before = a->first_covariances + 36 * run,
                 G[6] = {1, 1, 1, LEVER * LEVER, LEVER * LEVER, LEVER * LEVER};
    double m[6], n[6], way[6], moved = 0, hidden = 0, left = 0, variance = 0;
    between(now, a->first + 16 * run, m);
    between(a->seen + 16 * run, now, n);
    twist_of(a->poses + 16 * run, way);
    for (int i = 0; i < 6; i++) {
        moved += G[i] * m[i] * m[i];
        hidden -= G[i] * m[i] * n[i];
        left += G[i] * (way[i] * way[i] + whole[i][i]);
        for (int j = 0; j < 6; j++)
            variance += G[i] * m[i] * (C[i][j] + before[6 * i + j]) * G[j] * m[j];
    }
    variance *= a->shares[run];
    hidden = hidden > CHANCE * sqrt(variance) ? fmin(hidden / moved, MOST_UNSEEN) : 0;
    const int far = sqrt(moved) * (1 - a->unseen[run]) >= sqrt(left);
    double *last = a->last_unseen + run;
    const int ready = sqrt(variance) < DEVIATION * moved && (far || hidden >= a->unseen[run]);
    if (!ready || *last < 0) {
        *last = ready ? hidden : NONE;
        return 0;
    }
    a->unseen[run] = fmin(hidden, *last);
    *last = NONE;
    return 1;
}

static void fuse(const Fusing *a, int64_t run) {
    const double *seen = a->seen + 16 * run, *motion = a->motions + 16 * run;
    double *T = a->poses + 16 * run, *covariance = a->covariances + 36 * run,
           *kept = a->own + 36 * run, *before = a->alike + 36 * run, *share = a->shares + run,
           *lag = a->lags + 6 * run, *pictures = a->pictures + run;
    double *first_now = a->first_now + 16 * run, predicted[12], d[6], z[6], done[6], late[6], w[6],
           moved[12];
    Six C, P, both, L, root, root_before, own, alike, K, stays, shown;
    memcpy(C, covariance, sizeof C);
    memcpy(alike, before, sizeof alike);
    compose(T, motion, predicted);
    between(seen, predicted, d);
    twist_of(motion, done);
    const int used = root_of(C, L) && a->used[run];
    *pictures = used ? *pictures + 1 : 0;
    const double rate = fmax(1 / fmax(*pictures, 1), RATE);
    double next = FIRST_SHARE;
    if (used) {
        inverse_of_root(L, root);
        times(root, d, z);
        next = *share + rate * (fmin(squared(z) / 6, 2 * MOST_SHARE) - *share);
    }
    for (int i = 0; i < 6; i++)
        lag[i] = used ? lag[i] + rate * (z[i] - lag[i]) : 0;
    *share = fmin(fmax(next, LEAST_SHARE), MOST_SHARE);
    const int lags = squared(lag) / 6 > MIN_LAG * *share * rate / (2 - rate);
    const int less_sure =
        used && place_variance(C) > place_variance(alike) && root_of(alike, root_before);
    const double *surer = less_sure ? before : covariance;
    times(less_sure ? root_before : L, lag, late);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            const double R = *share * C[i][j], moved = MOTION_ERROR * done[i];
            P[i][j] = kept[6 * i + j] + FORGOTTEN * *share * surer[6 * i + j] +
                      (i == j) * moved * moved + lags * late[i] * late[j];
            both[i][j] = P[i][j] + R;
            own[i][j] = R;
        }
    memcpy(T, seen, 16 * sizeof *T);
    int fused = used && inverse_root(both, root);
    if (fused) {
        times(root, d, z);
        fused = squared(z) < SURPRISE;
    }
    if (fused) {
        move(P, root, d, predicted, T, K);
        weigh(P, K, L, *share, stays, shown, own);
    }
    if (fused && less_sure)
        mix(root_before, stays, shown, alike);
    else
        memcpy(alike, C, sizeof alike);
    const double common = fmax(1 - *share, LEAST_COMMON * fmax(*share, 1));
    memcpy(kept, own, sizeof own);
    memcpy(before, alike, sizeof alike);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            both[i][j] = own[i][j] + common * alike[i][j] + lags * LAG * late[i] * late[j];
    if (fused) {
        compose(first_now, motion, moved);
        memcpy(first_now, moved, sizeof moved);
    } else {
        a->unseen[run] = 0;
        a->last_unseen[run] = NONE;
    }
    if (!fused || shows(a, run, C, both)) {
        memcpy(first_now, T, 16 * sizeof *T);
        memcpy(a->first + 16 * run, T, 16 * sizeof *T);
        memcpy(a->first_covariances + 36 * run, C, sizeof C);
    }
    twist_of(T, w);
    const double hidden = a->unseen[run], left = (1 - hidden) * (1 - hidden);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            covariance[6 * i + j] = (both[i][j] + hidden * hidden * w[i] * w[j]) / left;
}

/* Runs [begin, end). arguments: a Fusing. */
void fusion_runs(const void *arguments, int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; run++)
        fuse(arguments, run);
}
