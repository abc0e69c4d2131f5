/* Photometric registration for one run after another: steps from what each look at the pictures
 * finds, and how well they agree.
 *
 * The arithmetic is that of `align_reference` in features/alignment.py and `compare_reference` in
 * features/agreement.py, the slow plain twins.
 */
#include "agreement.h"
#include "registration_step.h"
#include "rigid.h"

/* The view's centre counts as no nearer to the plane than this share of the goal's distance. */
#define MIN_DISTANCE_RATIO 0.05f
/* A step is kept up to this ratio of the costs: each warp blurs a little differently. */
#define COST_TOLERANCE 1.02
#define MAX_STEP 0.2 /* no component of a step's twist is larger [m, rad] */
/* The damping of the first step is at least the first, that of all at most the second. */
#define FIRST_DAMPING 1e-4
#define MAX_DAMPING 1e3

/* Runs [begin, end). arguments: a Registering. */
void registration_runs(const void *arguments, int64_t begin, int64_t end) {
    const Registering *const a = arguments;
    const Scratch s = scratch_of(a);
    for (int64_t run = begin; run < end; run++)
        step_of_run(a, run, &s, 1);
    free(s.memory);
}

typedef struct {      /* `AlignmentArguments` of features/alignment.py */
    Registering step; /* its homographies, dets, shifts and centres are written here */
    const double *normals, *camera, *goal_camera_inv; /* (R, 3), n / d of the goals' planes; K of
                                                         the views; K^-1 of the goals' pixels */
    double *poses;                                    /* (R, 4, 4), `T_goal_cam`, in and out */
    double damping, small, tiny; /* the longest step kept whatever the cost, the longest last one */
    int32_t iterations;
} Aligning;

/* Writes the homography `K (R + t n^T / d) K_goal^-1` with (R, t) = T_cam_goal, or with a map of
 * inverse depths `K R K_goal^-1` and `K t`; its determinant; and `c / (1 - n . c / d)`. */
static void set_pose(const Aligning *a, int64_t run, const double *T) {
    const double *n = a->normals + 3 * run, *K = a->camera, *K_inv = a->goal_camera_inv;
    double M[3][3], KM[3][3], H[3][3], t[3] = {0}, along = 0;
    const int by_depth = a->step.inverse_depths != NULL;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++)
            t[i] -= T[4 * k + i] * T[4 * k + 3];
        for (int j = 0; j < 3; j++)
            M[i][j] = T[4 * j + i] + (by_depth ? 0 : t[i] * n[j]);
        along += n[i] * T[4 * i + 3];
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            KM[i][j] = K[3 * i] * M[0][j] + K[3 * i + 1] * M[1][j] + K[3 * i + 2] * M[2][j];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            H[i][j] = KM[i][0] * K_inv[j] + KM[i][1] * K_inv[3 + j] + KM[i][2] * K_inv[6 + j];
    const double det = H[0][0] * (H[1][1] * H[2][2] - H[1][2] * H[2][1]) -
                       H[0][1] * (H[1][0] * H[2][2] - H[1][2] * H[2][0]) +
                       H[0][2] * (H[1][0] * H[2][1] - H[1][1] * H[2][0]);
    float *homography = (float *)a->step.homographies + 9 * run,
          *centre = (float *)a->step.centres + 3 * run,
          *shift = (float *)a->step.shifts + 3 * run;
    for (int i = 0; i < 9; i++)
        homography[i] = (float)H[i / 3][i % 3];
    ((float *)a->step.dets)[run] = (float)fabs(det);
    for (int i = 0; i < 3; i++) {
        centre[i] = (float)(T[4 * i + 3] / fmax(1 - along, MIN_DISTANCE_RATIO));
        shift[i] = (float)(K[3 * i] * t[0] + K[3 * i + 1] * t[1] + K[3 * i + 2] * t[2]);
    }
}

/* T = exp(twist) T_best, no component of the twist larger than MAX_STEP. Returns the sum of the
 * lengths of its translation, over the distance of the goal's plane, and of its turn. */
static double take_step(const Aligning *a, int64_t run, double mu, const double *best, double *T,
                        const double *H, const double *g) {
    double ridge[8], x[8], most = 0, longest = 0, R[3][3], p[3];
    for (int i = 0; i < 8; i++)
        most = fmax(most, H[9 * i]);
    for (int i = 0; i < 8; i++)
        ridge[i] = (i < 6) * mu * H[9 * i] + 1e-12 * most + 1e-12;
    damped(H, 8, ridge, g, x);
    for (int i = 0; i < 6; i++)
        longest = fmax(longest, fabs(x[i]));
    for (int i = 0; i < 6; i++)
        x[i] /= fmax(longest / MAX_STEP, 1);
    rigid_exp(x, R, p);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            T[4 * i + j] =
                R[i][0] * best[j] + R[i][1] * best[4 + j] + R[i][2] * best[8 + j] + (j == 3) * p[i];
    const double *n = a->normals + 3 * run, d = sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
    return d * sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]) +
           sqrt(x[3] * x[3] + x[4] * x[4] + x[5] * x[5]);
}

/* Runs [begin, end): Levenberg-Marquardt. arguments: an Aligning. */
void alignment_runs(const void *arguments, int64_t begin, int64_t end) {
    const Aligning *const a = arguments;
    Registering step = a->step;
    const Scratch s = scratch_of(&step);
    for (int64_t run = begin; run < end; run++) {
        double *best = a->poses + 16 * run, T[12], H[64], g[8], cost = DBL_MAX,
               mu = fmax(FIRST_DAMPING, a->damping), way = 0;
        const double *found_H = step.H + 64 * run, *found_g = step.g + 8 * run;
        const float *costs = step.costs + 2 * run;
        float *scale = step.scales + run;
        memcpy(T, best, sizeof T);
        for (int32_t i = 0; i <= a->iterations; i++) {
            const float before = *scale;
            set_pose(a, run, T);
            step.first = a->step.first && i == 0;
            step_of_run(&step, run, &s, i < a->iterations || a->step.scatters);
            const int better = way <= a->small || costs[0] <= COST_TOLERANCE * cost;
            if (better)
                memcpy(best, T, sizeof T);
            if (i == a->iterations)
                break;
            mu = fmin(fmax(better ? mu * 0.1 : mu * 10, a->damping), MAX_DAMPING);
            if (better)
                cost = costs[1], memcpy(H, found_H, sizeof H), memcpy(g, found_g, sizeof g);
            else
                *scale = before;
            way = take_step(a, run, mu, best, T, H, g);
            if (better && way <= a->tiny) {
                memcpy(best, T, sizeof T), memset(step.g + 8 * run, 0, sizeof g);
                break;
            }
        }
    }
    free(s.memory);
}

typedef struct { /* `ComparisonArguments` of features/agreement.py */
    Aligning at;  /* no pose of which is changed */
    float *found; /* (R, 4): a `Comparison` */
} Comparing;

/* Runs [begin, end): how well the views agree with the goals. arguments: a Comparing. */
void comparison_runs(const void *arguments, int64_t begin, int64_t end) {
    const Comparing *const a = arguments;
    const Registering *const r = &a->at.step;
    const Scratch s = scratch_of(r);
    for (int64_t run = begin; run < end; run++) {
        const float *goal = r->goal_image + run * r->goal_step;
        const Pictures pictures = {goal, s.warped, s.valid, r->w, r->h};
        const double noises[2] = {r->goal_noises[run], r->noises[run]}, size = r->w * r->h;
        float *found = a->found + 4 * run, iz[r->w];
        double seen = 0, shown = 0;
        set_pose(&a->at, run, a->at.poses + 16 * run);
        warp(r, run, goal, &s);
        local_correlation(&pictures, noises, found);
        for (int32_t y = 0; y < r->h; y++) {
            const float *level = goal + y * r->w, *valid = s.valid + y * r->w;
            row_inverse_depth(r, run, y, iz);
            for (int32_t x = 0; x < r->w; x++)
                seen += valid[x], shown += iz[x] > 0 && level[x] >= MIN_SHOWN;
        }
        found[2] = (float)(seen / size), found[3] = (float)(seen / fmax(shown, 1e-6 * size));
    }
    free(s.memory);
}
