/* One look of photometric registration at one run: warp, residual, robust scale, cost and normal
 * equations.
 *
 * The arithmetic is that of `step_reference` in features/registration_step.py, the slow plain twin.
 * A run's pictures stay in the cache from the warp to the last sum; sums are float along a row and
 * double over the rows.
 */
#ifndef REGISTRATION_STEP_H
#define REGISTRATION_STEP_H

#include "agreement.h"
#include "blocks.h"
#include "depth_warp.h"
#include "gradient.h"
#include "products.h"
#include "sampler.h"

/* The gradient reaches over the picture's border from pixels nearer to it than this. */
#define GRADIENT_MARGIN 3
/* A pixel that the view covers less than this is not compared. */
#define MIN_COVERAGE 0.999f
/* A cost is finite when more than this share of the goal's pixels is compared. */
#define MIN_OVERLAP 0.05

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

#endif
