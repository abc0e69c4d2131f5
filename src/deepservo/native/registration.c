/* Photometric registration for one run after another: warp, residual, robust scale, cost, normal
 * equations, and steps from these.
 *
 * The arithmetic is that of `step_reference` and `align_reference` in features/alignment.py, the
 * slow plain twins. A run's pictures stay in the cache from the warp to the last sum; sums are
 * float along a row and double over the rows.
 */
#include <float.h>

#include "gradient.h"
#include "rigid.h"
#include "sampler.h"

#define CUT       2.385f /* deviations at which a residual's weight has fallen to a quarter */
#define MARGIN    3      /* pixels whose gradient would reach over the border */
#define SUBSAMPLE 4096   /* pixels that estimate a scale */
#define WINDOWS   10     /* across the picture, for the first gain */
#define USED      0.6    /* share of a window that must be seen */
#define DRIFT                                                                                      \
    1.5f /* of the gain from its first value: flat pictures explain anything, given gain enough */
#define WHOLE 0.999f /* coverage of a pixel that the view fills */
#define NEARER                                                                                     \
    0.05f /* than this part of its distance to the plane, the view's centre counts as no nearer */
#define TOLERANCE 1.02   /* of the cost */
#define LONGEST   0.2    /* of a step [m, rad] */
#define GRID      5      /* cells across the picture, of what is smooth about the residual */
#define SMALLEST  8      /* pixels across one: in fewer, what has moved looks like light */
#define DENSE     12     /* rows of one that are looked at */
#define FEWEST    16     /* pixels of them that tell */
#define TOGETHER  0.9f   /* correlation of the pictures in a cell that has a say */
#define LEAST     0.002f /* grey level that a lamp makes */
#define ROUGH     3      /* times as rough as usual, it has none */
#define SHOWN     -0.01f /* what is less takes the place of a grey level where a pixel shows nothing \
                          */
#define WHITE (1 - 0.5f / 255) /* grey level from which on a sensor tells no more */

static float median(float *v, int32_t n) { /* the lower one; reorders v */
    int32_t lo = 0, hi = n - 1, k = (n - 1) / 2;
    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int32_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            break;
    }
    return v[k];
}

typedef struct {
    float *warped, *cover, *valid, *residual, *told, *sorted;
} Scratch;

/* Gain and bias between two pictures that need not be aligned yet nor wholly visible: the median
 * over windows of the ratio of their deviations, where the goal has structure, then the median of
 * what is left. A cover spoils its windows and no more. */
static void first_fit(const float *goal, const float *values, const float *valid, int32_t w,
                      int32_t h, float goal_noise, float noise, float *variance, float *sorted,
                      float *fit) {
    const int32_t side = w / WINDOWS > 4 ? w / WINDOWS : 4, size = w * h,
                  stride = size / SUBSAMPLE > 1 ? size / SUBSAMPLE : 1;
    float *ratio = variance + (w / side) * (h / side);
    int32_t n = 0, k = 0;
    for (int32_t top = 0; top + side <= h; top += side)
        for (int32_t left = 0; left + side <= w; left += side) {
            double m = 0, a = 0, b = 0, aa = 0, bb = 0;
            for (int32_t y = top; y < top + side; y++)
                for (int32_t i = y * w + left; i < y * w + left + side; i++)
                    m += valid[i], a += valid[i] * goal[i], b += valid[i] * values[i],
                        aa += valid[i] * goal[i] * goal[i], bb += valid[i] * values[i] * values[i];
            if (m <= USED * side * side)
                continue;
            variance[n] = (float)(aa / m - a / m * (a / m)) - goal_noise * goal_noise;
            ratio[n] = sqrtf(fmaxf((float)(bb / m - b / m * (b / m)) - noise * noise, 0) /
                             fmaxf(variance[n], 1e-9f));
            n++;
        }
    fit[0] = 1;
    fit[1] = 0;
    if (n) {
        memcpy(sorted, variance, n * sizeof(float));
        const float least = fmaxf(median(sorted, n), FLT_MIN);
        for (int32_t i = 0; i < n; i++)
            if (variance[i] >= least)
                sorted[k++] = ratio[i];
        if (k)
            fit[0] = fminf(fmaxf(median(sorted, k), 0.02f), 50.0f);
    }
    n = 0;
    for (int32_t i = 0; i < size; i += stride)
        if (valid[i] > 0)
            sorted[n++] = values[i] - fit[0] * goal[i];
    if (n)
        fit[1] = median(sorted, n);
    fit[2] = fit[0];
}

/* (value - bias) / gain - goal, where either may be overexposed: what is brighter than white shows
 * as white in the goal, and white in the view may be any brighter. `tells`: whether it changes when
 * the camera moves. (Black is not treated so: things that cover are dark.) */
static inline float difference(float goal, float value, float inv_gain, float bias, float *tells) {
    const float p = (value - bias) * inv_gain, r = fminf(p, 1) - goal;
    const int hidden = value >= WHITE && r < 0;
    *tells = p <= 1 && !hidden ? 1.0f : 0.0f;
    return hidden ? 0 : r;
}

/* Deming's regression of `values` on `goal` with Geman-McClure's weights about the fit so far. */
static void refit(const float *goal, const float *values, const float *valid, int32_t w, int32_t h,
                  float scale, float ratio, float *fit) {
    const float inv_gain = 1 / fit[0], bias = fit[1], k = 1 / (CUT * scale);
    double W = 0, A = 0, B = 0, AA = 0, BB = 0, AB = 0;
    for (int32_t y = 0; y < h; y++) {
        const float *a = goal + y * w, *b = values + y * w, *m = valid + y * w;
        float sw = 0, sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
#pragma omp simd reduction(+ : sw, sa, sb, saa, sbb, sab)
        for (int32_t x = 0; x < w; x++) {
            float tells;
            const float r = difference(a[x], b[x], inv_gain, bias, &tells) * k, q = 1 / (1 + r * r),
                        weight = m[x] * tells * q * q;
            sw += weight, sa += weight * a[x], sb += weight * b[x];
            saa += weight * a[x] * a[x], sbb += weight * b[x] * b[x], sab += weight * a[x] * b[x];
        }
        W += sw, A += sa, B += sb, AA += saa, BB += sbb, AB += sab;
    }
    const double total = fmax(W, 1e-6), a = A / total, b = B / total;
    const double aa = AA - A * a, bb = BB - B * b, ab = AB - A * b, q = bb - ratio * aa;
    double gain = ab > 0 ? (q + sqrt(q * q + 4 * ratio * ab * ab)) / fmax(2 * ab, 1e-9) : 0.0;
    gain = fmin(fmax(gain, fit[2] / DRIFT), fit[2] * DRIFT);
    fit[0] = (float)gain;
    fit[1] = (float)(b - gain * a);
}

/* Takes from the residual what is smooth about it, as a lamp is: the mean of each of GRID x GRID
 * cells, bilinear between their middles. Cells in which the pictures do not go together, or much
 * less than usual, as where one is covered, have no say. */
static void evened(const float *goal, const float *values, const float *told, const float *valid,
                   int32_t w, int32_t h, float *residual) {
    float level[GRID * GRID], sure[GRID * GRID], rough[GRID * GRID], known[GRID * GRID];
    int32_t cells = 0;
    const int32_t apart = w / (GRID * DENSE) > 1 ? w / (GRID * DENSE) : 1;
    for (int32_t i = 0; i < GRID; i++)
        for (int32_t j = 0; j < GRID; j++) {
            const int32_t k = i * GRID + j;
            float n = 0, A = 0, B = 0, R = 0, AA = 0, BB = 0, AB = 0, RR = 0;
            for (int32_t y = i * h / GRID; y < (i + 1) * h / GRID; y += apart)
                for (int32_t x = y * w + j * w / GRID; x < y * w + (j + 1) * w / GRID; x++) {
                    const float m = told[x], a = m * goal[x], b = m * values[x],
                                r = m * residual[x];
                    n += m, A += a, B += b, R += r, AA += a * a, BB += b * b, AB += a * b,
                        RR += r * r;
                }
            const float aa = AA - A * A / n, bb = BB - B * B / n, ab = AB - A * B / n;
            sure[k] =
                n >= FEWEST && ab > 0 && ab * ab > TOGETHER * TOGETHER * aa * bb ? 1.0f : 0.0f;
            level[k] = sure[k] > 0 ? R / n : 0;
            rough[k] = RR / fmaxf(n, 1) - level[k] * level[k];
            if (sure[k] > 0)
                known[cells++] = rough[k];
        }
    const float most = cells ? ROUGH * ROUGH * median(known, cells) : 0;
    float highest = 0;
    for (int32_t i = 0; i < GRID * GRID; i++) {
        if (sure[i] > 0 && rough[i] > most)
            sure[i] = level[i] = 0;
        highest = fmaxf(highest, fabsf(level[i]));
    }
    if (highest < LEAST)
        return;
    float wide[GRID][w], share[GRID][w];
    for (int32_t x = 0; x < w; x++) {
        const float at = fminf(fmaxf((x + 0.5f) * GRID / w - 0.5f, 0), GRID - 1);
        const int32_t left = at < GRID - 2 ? (int32_t)at : GRID - 2;
        for (int32_t i = 0; i < GRID; i++) {
            const int32_t k = i * GRID + left;
            wide[i][x] = level[k] * (1 - (at - left)) + level[k + 1] * (at - left);
            share[i][x] = sure[k] * (1 - (at - left)) + sure[k + 1] * (at - left);
        }
    }
    for (int32_t y = 0; y < h; y++) {
        const float at = fminf(fmaxf((y + 0.5f) * GRID / h - 0.5f, 0), GRID - 1);
        const int32_t top = at < GRID - 2 ? (int32_t)at : GRID - 2;
        const float b = at - top, a = 1 - b, *m = valid + y * w;
        float *r = residual + y * w;
        for (int32_t x = 0; x < w; x++)
            r[x] -= m[x] * (wide[top][x] * a + wide[top + 1][x] * b) /
                    fmaxf(share[top][x] * a + share[top + 1][x] * b, 1e-6f);
    }
}

static float cost_of(const float *residual, const float *valid, int32_t w, int32_t h, float scale) {
    const float k = 1 / (CUT * scale);
    double loss = 0, total = 0;
    for (int32_t y = 0; y < h; y++) {
        const float *r = residual + y * w, *m = valid + y * w;
        float sum = 0, count = 0;
#pragma omp simd reduction(+ : sum, count)
        for (int32_t x = 0; x < w; x++) {
            const float r2 = r[x] * r[x] * k * k;
            sum += r2 / (1 + r2);
            count += m[x];
        }
        loss += sum, total += count;
    }
    return total > 0.05 * (double)w * h ? (float)(loss / fmax(total, 1))
                                        : FLT_MAX; /* they hardly meet */
}

typedef struct {                              /* `Arguments` of features/alignment.py */
    const float *views, *homographies, *dets; /* (R, view_h, view_w); goal pixels to view pixels */
    const float *goal_image, *goal_gx, *goal_gy; /* one for all runs (goal_step 0) or one each */
    int64_t goal_step;
    const float *planes; /* (R, 3), inverse depth = a x + b y + c at normalised x, y */
    const float
        *centres; /* (R, 3), `c / (1 - plane . c)` of the view's centre c in the goal's frame */
    const float *camera;                        /* fx, fy, cx, cy of the goal's pixels */
    const float *goal_noises, *noises, *floors; /* deviations */
    float *scales, *fits;                       /* (R, 3; gain, bias, first gain): in and out */
    float *costs;  /* (R, 2), under the scale given and under the new one */
    double *H, *g; /* (R, 8, 8), (R, 8), of J = [L, I, 1] */
    int32_t view_w, view_h, w, h, first;
} Registering;

/* Runs [begin, end). arguments: a Registering. */
void registration_runs(const void *arguments, int64_t begin, int64_t end) {
    const Registering *const a = arguments;
    const int32_t w = a->w, h = a->h, size = w * h, offset = 0,
                  stride = size / SUBSAMPLE > 1 ? size / SUBSAMPLE : 1;
    const float fx = a->camera[0], fy = a->camera[1], cx = a->camera[2], cy = a->camera[3],
                *goal_noises = a->goal_noises, *noises = a->noises;
    float *const scratch = working_memory(6 * (int64_t)size);
    Scratch s = {scratch,
                 scratch + size,
                 scratch + 2 * size,
                 scratch + 3 * size,
                 scratch + 4 * size,
                 scratch + 5 * size};
    for (int64_t run = begin; run < end; run++) {
        const float *goal = a->goal_image + run * a->goal_step,
                    *ggx = a->goal_gx + run * a->goal_step, *ggy = a->goal_gy + run * a->goal_step;
        const float *plane = a->planes + 3 * run, *c = a->centres + 3 * run;
        const float apart = noises[run] / goal_noises[run],
                    ratio = fminf(fmaxf(apart * apart, 1e-4f), 1e4f);
        float *fit = a->fits + 3 * run, *scale = a->scales + run, *costs = a->costs + 2 * run;
        double *H = a->H + 64 * run, *g = a->g + 8 * run;
        const int64_t view_size = (int64_t)a->view_w * a->view_h;
        const Sampling view = {
            .textures = a->views + run * view_size,
            .stride = view_size,
            .offsets = &offset,
            .levels = 1,
            .padded_w = a->view_w,
            .padded_h = a->view_h,
            .texture_w = a->view_w,
            .texture_h = a->view_h,
            .homographies = a->homographies + 9 * run,
            .dets = a->dets + run,
            .out = s.warped,
            .inside = s.cover,
            .channels = 1,
            .h = h,
            .w = w,
        };
        sample_rows(&view, 0, h);
        for (int32_t i = 0; i < size; i++)
            if (s.warped[i] < SHOWN) { /* the goal's level instead: the slope beside it is then as
                                          right as the pictures are alike */
                s.cover[i] = 0;
                s.warped[i] = fmaxf(goal[i], 0);
            }
        memset(s.valid, 0, sizeof(float) * size);
        for (int32_t y = MARGIN; y < h - MARGIN; y++)
            for (int32_t x = MARGIN; x < w - MARGIN; x++) {
                const float *p = s.cover + y * w + x;
                float least = fminf(fminf(fminf(p[-w - 1], p[-w]), fminf(p[-w + 1], p[-1])),
                                    fminf(fminf(p[0], p[1]), fminf(p[w - 1], p[w])));
                least = fminf(least, p[w + 1]);
                const float inverse_depth =
                    plane[0] * ((x - cx) / fx) + plane[1] * ((y - cy) / fy) + plane[2];
                s.valid[y * w + x] =
                    least >= WHOLE && inverse_depth > 0 && goal[y * w + x] >= SHOWN ? 1.0f : 0.0f;
            }
        if (a->first)
            first_fit(goal, s.warped, s.valid, w, h, goal_noises[run], noises[run], s.residual,
                      s.sorted, fit);
        for (int pass = 0; pass < 2; pass++)
            refit(goal, s.warped, s.valid, w, h, *scale, ratio, fit);
        const float inv_gain = 1 / fit[0], bias = fit[1];
        for (int32_t i = 0; i < size; i++) {
            float tells;
            s.residual[i] = difference(goal[i], s.warped[i], inv_gain, bias, &tells) * s.valid[i];
            s.told[i] = tells * s.valid[i];
        }
        if (w >= GRID * SMALLEST)
            evened(goal, s.warped, s.told, s.valid, w, h, s.residual);
        costs[0] = cost_of(s.residual, s.valid, w, h, *scale);
        int32_t n = 0;
        for (int32_t i = 0; i < size; i += stride)
            if (s.told[i] > 0)
                s.sorted[n++] = fabsf(s.residual[i]);
        *scale = fmaxf(n ? fmaxf(1.4826f * median(s.sorted, n), 1e-4f) : 1.0f, a->floors[run]);
        costs[1] = cost_of(s.residual, s.valid, w, h, *scale);

        const float k = 1 / (CUT * *scale), share = ratio / (ratio + fit[0] * fit[0]),
                    rest = (1 - share) * inv_gain;
        double sums[44] = {0};
        float J[9][w]; /* gx, gy, ... as rows of L; then I, 1 and the residual */
        float weight[w];
        for (int32_t y = MARGIN; y < h - MARGIN; y++) {
            const float yn = (y - cy) / fy, row_depth = plane[1] * yn + plane[2];
            const int32_t at = y * w;
            for (int32_t x = MARGIN; x < w - MARGIN; x++) {
                const float *p = s.warped + at + x, r = s.residual[at + x];
                const float gx = share * ggx[at + x] + rest * fx * slope(p, 1),
                            gy = share * ggy[at + x] + rest * fy * slope(p, w);
                const float xn = (x - cx) / fx, iz = fmaxf(plane[0] * xn + row_depth, 1e-6f),
                            Z = 1 / iz;
                float q0 = gx * iz, q1 = gy * iz, q2 = -(gx * xn + gy * yn) * iz;
                const float along =
                    q0 * c[0] + q1 * c[1] +
                    q2 * c[2]; /* the point moves off the plane: seen from c, it is another */
                q0 += along * plane[0], q1 += along * plane[1], q2 += along * plane[2];
                const float q = 1 / (1 + r * r * k * k);
                weight[x] = s.told[at + x] * q * q;
                J[0][x] = q0, J[1][x] = q1, J[2][x] = q2;
                J[3][x] = (yn * q2 - q1) * Z, J[4][x] = (q0 - xn * q2) * Z,
                J[5][x] = (xn * q1 - yn * q0) * Z;
                J[6][x] = share * goal[at + x] + rest * (*p - bias), J[7][x] = 1, J[8][x] = r;
            }
            for (int i = 0, m = 0; i < 8; i++)
                for (int j = i; j < 9; j++, m++) {
                    float sum = 0;
#pragma omp simd reduction(+ : sum)
                    for (int32_t x = MARGIN; x < w - MARGIN; x++)
                        sum += weight[x] * J[i][x] * J[j][x];
                    sums[m] += sum;
                }
        }
        for (int i = 0, m = 0; i < 8; i++)
            for (int j = i; j < 9; j++, m++) {
                if (j == 8)
                    g[i] = sums[m];
                else
                    H[8 * i + j] = H[8 * j + i] = sums[m];
            }
    }
    free(scratch);
}

typedef struct {      /* `Aligning` of features/alignment.py */
    Registering step; /* its homographies, dets and centres are written here */
    const double *normals, *camera, *goal_camera_inv; /* (R, 3), n / d of the goals' planes; K of
                                                         the views; K^-1 of the goals' pixels */
    double *poses;                                    /* (R, 4, 4), `T_goal_cam`, in and out */
    double damping;
    int32_t iterations;
} Aligning;

/* `K (R + t n^T / d) K_goal^-1` with (R, t) = T_cam_goal, its determinant, and `c / (1 - n . c /
 * d)`. */
static void place(const Aligning *a, int64_t run, const double *T) {
    const double *n = a->normals + 3 * run, *K = a->camera, *K_inv = a->goal_camera_inv;
    double M[3][3], KM[3][3], H[3][3], along = 0;
    for (int i = 0; i < 3; i++) {
        double t = 0;
        for (int k = 0; k < 3; k++)
            t -= T[4 * k + i] * T[4 * k + 3];
        for (int j = 0; j < 3; j++)
            M[i][j] = T[4 * j + i] + t * n[j];
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
          *centre = (float *)a->step.centres + 3 * run;
    for (int i = 0; i < 9; i++)
        homography[i] = (float)H[i / 3][i % 3];
    ((float *)a->step.dets)[run] = (float)fabs(det);
    for (int i = 0; i < 3; i++)
        centre[i] = (float)(T[4 * i + 3] / fmax(1 - along, NEARER));
}

/* T = exp(twist) T_best, the twist at most LONGEST. */
static void moved(const double *H, const double *g, double mu, const double *best, double *T) {
    double ridge[8], x[8], most = 0, longest = 0, R[3][3], p[3];
    for (int i = 0; i < 8; i++)
        most = fmax(most, H[9 * i]);
    for (int i = 0; i < 8; i++)
        ridge[i] = (i < 6) * mu * H[9 * i] + 1e-12 * most + 1e-12;
    damped(H, 8, ridge, g, x);
    for (int i = 0; i < 6; i++)
        longest = fmax(longest, fabs(x[i]));
    for (int i = 0; i < 6; i++)
        x[i] /= fmax(longest / LONGEST, 1);
    rigid_exp(x, R, p);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            T[4 * i + j] =
                R[i][0] * best[j] + R[i][1] * best[4 + j] + R[i][2] * best[8 + j] + (j == 3) * p[i];
}

/* Runs [begin, end): Levenberg-Marquardt. arguments: an Aligning. */
void alignment_runs(const void *arguments, int64_t begin, int64_t end) {
    const Aligning *const a = arguments;
    Registering step = a->step;
    for (int64_t run = begin; run < end; run++) {
        double *best = a->poses + 16 * run, T[12], H[64], g[8], cost = DBL_MAX,
               mu = fmax(1e-4, a->damping);
        const double *found_H = step.H + 64 * run, *found_g = step.g + 8 * run;
        const float *costs = step.costs + 2 * run;
        float *scale = step.scales + run;
        memcpy(T, best, sizeof T);
        for (int32_t i = 0; i <= a->iterations; i++) {
            const float before = *scale;
            place(a, run, T);
            step.first = a->step.first && i == 0;
            registration_runs(&step, run, run + 1);
            const int better = i == 0 || costs[0] <= TOLERANCE * cost;
            if (better)
                memcpy(best, T, sizeof T);
            if (i == a->iterations)
                break;
            mu = fmin(fmax(better ? mu * 0.1 : mu * 10, a->damping), 1e3);
            if (better) {
                cost = costs[1];
                memcpy(H, found_H, sizeof H);
                memcpy(g, found_g, sizeof g);
            } else {
                *scale = before;
            }
            moved(H, g, mu, best, T);
        }
    }
}
