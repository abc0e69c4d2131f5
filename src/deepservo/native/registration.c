/* Photometric registration for one run after another: warp, residual, robust scale, cost, normal
 * equations, and steps from these.
 *
 * The arithmetic is that of `step_reference` in features/registration_step.py and
 * `align_reference` in features/alignment.py, the slow plain twins. A run's pictures stay in the
 * cache from the warp to the last sum; sums are float along a row and double over the rows.
 */
#include "agreement.h"
#include "blocks.h"
#include "depth_warp.h"
#include "gradient.h"
#include "products.h"
#include "rigid.h"
#include "sampler.h"

/* The gradient reaches over the picture's border from pixels nearer to it than this. */
#define GRADIENT_MARGIN 3
/* A pixel that the view covers less than this is not compared. */
#define MIN_COVERAGE 0.999f
/* A cost is finite when more than this share of the goal's pixels is compared. */
#define MIN_OVERLAP 0.05
/* The view's centre counts as no nearer to the plane than this share of the goal's distance. */
#define MIN_DISTANCE_RATIO 0.05f
/* A step is kept up to this ratio of the costs: each warp blurs a little differently. */
#define COST_TOLERANCE 1.02
#define MAX_STEP 0.2 /* no component of a step's twist is larger [m, rad] */
/* The damping of the first step is at least the first, that of all at most the second. */
#define FIRST_DAMPING 1e-4
#define MAX_DAMPING 1e3

typedef struct {                              /* `StepArguments` of features/registration_step.py */
    const float *views, *homographies, *dets; /* (R, view_h, view_w); goal pixels to view pixels */
    const float *goal_image, *goal_gx, *goal_gy; /* one for all runs (goal_step 0) or one each */
    int64_t goal_step;
    const float *planes; /* (R, 3), inverse depth = a x + b y + c at normalised x, y */
    /* NULL, or (h, w) for all runs (depth_step 0) or each, inverse depths that are not a plane's;
     * then `homographies` are of points at infinity, and `shifts` (R, 3) the view's pixels of a
     * translation: see depth_warp.h */
    const float *inverse_depths, *shifts;
    int64_t depth_step;
    /* (R, 3), `c / (1 - plane . c)` of the view's centre c in the goal's frame */
    const float *centres;
    const float *camera;                        /* fx, fy, cx, cy of the goal's pixels */
    const float *goal_noises, *noises, *floors; /* deviations */
    float *scales, *fits;                       /* (R, 3; gain, bias, first gain): in and out */
    float *costs;  /* (R, 2), under the scale given and under the new one */
    double *H, *g; /* (R, 8, 8), (R, 8), of J = [L, I, 1] */
    /* (R, 8, 8), (R, GRID, GRID, MOMENTS) and (R, 2): see blocks.h; or all NULL */
    double *scatters;
    float *moments;
    double *totals;
    int32_t view_w, view_h, w, h, first;
} Registering;

typedef struct { /* pictures of one run, written anew for each; `buffer` has the view's size */
    float *warped, *cover, *valid, *residual, *informative, *sorted, *shown, *buffer;
    float *memory; /* that all of these lie in */
} Scratch;

static Scratch scratch_of(const Registering *a) {
    const int64_t size = (int64_t)a->w * a->h, view_size = (int64_t)a->view_w * a->view_h;
    float *const m = working_memory(a->inverse_depths ? 7 * size + view_size : 6 * size);
    return (Scratch){m,
                     m + size,
                     m + 2 * size,
                     m + 3 * size,
                     m + 4 * size,
                     m + 5 * size,
                     m + 6 * size,
                     m + 7 * size,
                     m};
}

static inline DepthWarp depth_warp_of(const Registering *a, int64_t run) {
    return (DepthWarp){a->homographies + 9 * run, a->shifts + 3 * run,
                       a->inverse_depths + run * a->depth_step, a->w, a->h};
}

/* Inverse depths of a row of the run's goal: its map's, or its plane's. */
static inline void row_inverse_depth(const Registering *a, int64_t run, int32_t y, float *iz) {
    const float fx = a->camera[0], cx = a->camera[2], *plane = a->planes + 3 * run,
                yn = (y - a->camera[3]) / a->camera[1], row_depth = plane[1] * yn + plane[2];
    const float *map =
        a->inverse_depths ? a->inverse_depths + run * a->depth_step + (int64_t)y * a->w : NULL;
    for (int32_t x = 0; x < a->w; x++)
        iz[x] = map ? map[x] : plane[0] * ((x - cx) / fx) + row_depth;
}

/* Warps the run's view onto the goal's pixels, and marks those that are compared. */
static void warp(const Registering *a, int64_t run, const float *goal, const Scratch *s) {
    const int32_t w = a->w, h = a->h, size = w * h, offset = 0;
    const int64_t view_size = (int64_t)a->view_w * a->view_h;
    const float *picture = a->views + run * view_size;
    const Sampling view = {
        .textures = picture,
        .stride = view_size,
        .offsets = &offset,
        .levels = 1,
        .padded_w = a->view_w,
        .padded_h = a->view_h,
        .texture_w = a->view_w,
        .texture_h = a->view_h,
        .homographies = a->homographies + 9 * run,
        .dets = a->dets + run,
        .out = s->warped,
        .inside = s->cover,
        .channels = 1,
        .h = h,
        .w = w,
    };
    if (a->inverse_depths) {
        const DepthWarp by_depth = depth_warp_of(a, run);
        mark_shown(&by_depth, a->view_w, a->view_h, s->buffer, s->shown);
        warp_by_depth(&by_depth, picture, a->view_w, a->view_h, s->shown, s->warped, s->cover);
    } else {
        sample_rows(&view, 0, h);
    }
    /* An unseen pixel takes the goal's level: the slope beside it is then as right as the pictures
     * are alike. */
    for (int32_t i = 0; i < size; i++)
        if (s->warped[i] < MIN_SHOWN) {
            s->cover[i] = 0;
            s->warped[i] = fmaxf(goal[i], 0);
        }
    memset(s->valid, 0, sizeof(float) * size);
    float inverse_depth[w];
    for (int32_t y = GRADIENT_MARGIN; y < h - GRADIENT_MARGIN; y++) {
        row_inverse_depth(a, run, y, inverse_depth);
        for (int32_t x = GRADIENT_MARGIN; x < w - GRADIENT_MARGIN; x++) {
            const float *p = s->cover + y * w + x;
            float least = fminf(fminf(fminf(p[-w - 1], p[-w]), fminf(p[-w + 1], p[-1])),
                                fminf(fminf(p[0], p[1]), fminf(p[w - 1], p[w])));
            least = fminf(least, p[w + 1]);
            const int counts =
                least >= MIN_COVERAGE && inverse_depth[x] > 0 && goal[y * w + x] >= MIN_SHOWN;
            s->valid[y * w + x] = counts ? 1.0f : 0.0f;
        }
    }
}

/* The mean robust loss; FLT_MAX where the pictures hardly overlap. */
static float cost_of(const Pictures *p, const float *residual, float scale) {
    const float k = 1 / (ROBUST_SCALE * scale);
    const int32_t w = p->w, h = p->h;
    double loss = 0, total = 0;
    for (int32_t y = 0; y < h; y++) {
        const float *r = residual + y * w, *m = p->valid + y * w;
        float sum = 0, count = 0;
#pragma omp simd reduction(+ : sum, count)
        for (int32_t x = 0; x < w; x++) {
            const float r2 = r[x] * r[x] * k * k;
            sum += r2 / (1 + r2);
            count += m[x];
        }
        loss += sum, total += count;
    }
    return total > MIN_OVERLAP * (double)w * h ? (float)(loss / fmax(total, 1)) : FLT_MAX;
}

/* Gain, bias, residual, its scale, and the cost under the scale given and under the new one.
 * ratio: of the pictures' noise variances. */
static void compare(const Registering *a, int64_t run, const Pictures *p, float ratio,
                    const Scratch *s) {
    const int32_t size = p->w * p->h, stride = median_stride(size);
    float *fit = a->fits + 3 * run, *scale = a->scales + run, *costs = a->costs + 2 * run;
    if (a->first)
        first_gain_bias(p, a->goal_noises[run], a->noises[run], s->residual, s->sorted, fit);
    for (int pass = 0; pass < 2; pass++)
        next_gain_bias(p, *scale, ratio, fit);
    const float inv_gain = 1 / fit[0], bias = fit[1];
    for (int32_t i = 0; i < size; i++) {
        float informative;
        s->residual[i] =
            difference(p->goal[i], p->values[i], inv_gain, bias, &informative) * p->valid[i];
        s->informative[i] = informative * p->valid[i];
    }
    if (p->w >= LIGHT_CELLS * MIN_CELL_WIDTH)
        subtract_light(p, s->informative, s->residual);
    costs[0] = cost_of(p, s->residual, *scale);
    int32_t n = 0;
    for (int32_t i = 0; i < size; i += stride)
        if (s->informative[i] > 0)
            s->sorted[n++] = fabsf(s->residual[i]);
    /* 1.4826 medians of absolute values are one standard deviation of Gaussian noise. */
    *scale = fmaxf(n ? fmaxf(1.4826f * median(s->sorted, n), 1e-4f) : 1.0f, a->floors[run]);
    costs[1] = cost_of(p, s->residual, *scale);
}

/* H and g of J = [L, I, 1], from the gradients of both pictures, each counted by its noise. Not
 * inlined: compilers make slower loops of it within its caller. */
static __attribute__((noinline)) void normal_equations(const Registering *a, int64_t run,
                                                       const Pictures *p, float ratio,
                                                       const Scratch *s) {
    const int32_t w = p->w, h = p->h;
    const float fx = a->camera[0], fy = a->camera[1], cx = a->camera[2], cy = a->camera[3];
    const float *goal = p->goal, *ggx = a->goal_gx + run * a->goal_step,
                *ggy = a->goal_gy + run * a->goal_step;
    const float *plane = a->planes + 3 * run, *c = a->centres + 3 * run, *fit = a->fits + 3 * run;
    const float inv_gain = 1 / fit[0], bias = fit[1], k = 1 / (ROBUST_SCALE * a->scales[run]),
                share = ratio / (ratio + fit[0] * fit[0]), rest = (1 - share) * inv_gain;
    double *H = a->H + 64 * run, *g = a->g + 8 * run, sums[72] = {0};
    const int32_t wide = (w + LANES - 1) / LANES * LANES;
    float J[9][wide]; /* six columns of L; then I, 1 and the residual */
    float weight[wide], root[w], inverse_depth[w];
    memset(J, 0, sizeof J), memset(weight, 0, sizeof weight);
    float columns[a->scatters ? (8 + MOMENTS) * w : 1];
    Blocks blocks;
    if (a->scatters)
        blocks = begin_blocks(a->scatters + 64 * run, a->moments + GRID * GRID * MOMENTS * run,
                              columns, w, h);
    for (int32_t y = GRADIENT_MARGIN; y < h - GRADIENT_MARGIN; y++) {
        const float yn = (y - cy) / fy;
        const int32_t at = y * w;
        row_inverse_depth(a, run, y, inverse_depth);
        for (int32_t x = GRADIENT_MARGIN; x < w - GRADIENT_MARGIN; x++) {
            const float *v = s->warped + at + x, r = s->residual[at + x];
            const float gx = share * ggx[at + x] + rest * fx * slope(v, 1),
                        gy = share * ggy[at + x] + rest * fy * slope(v, w);
            const float xn = (x - cx) / fx, iz = fmaxf(inverse_depth[x], 1e-6f), Z = 1 / iz;
            float q0 = gx * iz, q1 = gy * iz, q2 = -(gx * xn + gy * yn) * iz;
            /* The point moves off the plane: seen from c, it is another. */
            const float along = q0 * c[0] + q1 * c[1] + q2 * c[2];
            q0 += along * plane[0], q1 += along * plane[1], q2 += along * plane[2];
            const float q = 1 / (1 + r * r * k * k);
            root[x] = q, weight[x] = s->informative[at + x] * q * q;
            J[0][x] = q0, J[1][x] = q1, J[2][x] = q2;
            J[3][x] = (yn * q2 - q1) * Z, J[4][x] = (q0 - xn * q2) * Z,
            J[5][x] = (xn * q1 - yn * q0) * Z;
            J[6][x] = share * goal[at + x] + rest * (*v - bias), J[7][x] = 1, J[8][x] = r;
        }
        add_products(wide, J[0], weight, sums);
        if (a->scatters)
            add_row(&blocks, y, GRADIENT_MARGIN, J[0], wide, weight, root, goal + at,
                    s->warped + at, s->valid + at);
    }
    if (a->scatters) {
        end_block_row(&blocks);
        memcpy(a->totals + 2 * run, blocks.totals, sizeof blocks.totals);
    }
    for (int i = 0; i < 8; i++) {
        g[i] = sums[9 * i + 8];
        for (int j = i; j < 8; j++)
            H[8 * i + j] = H[8 * j + i] = sums[9 * i + j];
    }
}

/* equations: whether they are wanted. */
static void step_of_run(const Registering *a, int64_t run, const Scratch *s, int equations) {
    const float *goal = a->goal_image + run * a->goal_step,
                noises = a->noises[run] / a->goal_noises[run],
                ratio = fminf(fmaxf(noises * noises, 1e-4f), 1e4f);
    const Pictures pictures = {goal, s->warped, s->valid, a->w, a->h};
    warp(a, run, goal, s);
    compare(a, run, &pictures, ratio, s);
    if (equations)
        normal_equations(a, run, &pictures, ratio, s);
}

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
    double damping, small; /* a step is kept whatever the cost if it is no longer: `take_step` */
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
            step.scatters = i == a->iterations ? a->step.scatters : NULL;
            step_of_run(&step, run, &s, i < a->iterations || a->step.scatters);
            const int better = way <= a->small || costs[0] <= COST_TOLERANCE * cost;
            if (better)
                memcpy(best, T, sizeof T);
            if (i == a->iterations)
                break;
            mu = fmin(fmax(better ? mu * 0.1 : mu * 10, a->damping), MAX_DAMPING);
            if (better) {
                cost = costs[1];
                memcpy(H, found_H, sizeof H);
                memcpy(g, found_g, sizeof g);
            } else {
                *scale = before;
            }
            way = take_step(a, run, mu, best, T, H, g);
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
