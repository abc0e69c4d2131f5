/* Which of the triangles before a camera is nearest at each sample of an image.
 *
 * Vertices are projected in double precision and not rounded to a grid, so that a picture follows
 * the least motion. 1/Z and texel/Z are linear over the picture on each triangle.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Triangles reach so much farther [samples], so that no sample falls between two of them. */
#define MARGIN 1e-10
/* From this many samples on a row's part inside the triangle is found before it is visited. */
#define WIDE 12

/* A vertex in the picture: its place [samples] and 1/Z, which is 0 nearer than the near plane. */
typedef struct {
    double x, y, w;
} Seen;

typedef double double4 __attribute__((vector_size(32)));

/* A triangle that some sample shows. (texel u, texel v, 1) / Z at a pixel is first + along dx +
 * down dy, dx and dy from pixel (x, y), where the fourth of each three are x, y and det, texels a
 * pixel at Z = 1. Then the least u and v of its texels, and the greatest. */
typedef struct {
    float along[4], down[4], first[4], least[2], most[2];
} Face;

/* What one image is drawn on: per x per samples a pixel, so many across and down; how far those of
 * a row lie to the right of whole numbers, and those of a column below; the number of faces so far;
 * 1/Z of each sample, and its face. */
typedef struct {
    int32_t per, across, down;
    const double *right, *below;
    int32_t faces;
    float *nearest;
    int32_t *shown;
    Face *face;
    Seen *seen;
} Canvas;

/* Edges of a triangle in the picture: e[i] = a[i] x + b[i] y + .. is positive on the side of corner
 * i, and twice the area there. */
typedef struct {
    double a[3], b[3], area;
} Edges;

static inline double least(const double a, const double b, const double c) {
    return fmin(fmin(a, b), c);
}

static inline double most(const double a, const double b, const double c) {
    return fmax(fmax(a, b), c);
}

static inline Edges edges_of(const Seen *const p[3]) {
    Edges e;
    const double area = (p[1]->x - p[0]->x) * (p[2]->y - p[0]->y) -
                        (p[1]->y - p[0]->y) * (p[2]->x - p[0]->x);
    const double side = area < 0 ? -1.0 : 1.0; /* both faces are seen */
    e.area = side * area;
    for (int i = 0; i < 3; i++) {
        const Seen *const j = p[(i + 1) % 3], *const k = p[(i + 2) % 3];
        e.a[i] = side * (j->y - k->y);
        e.b[i] = side * (k->x - j->x);
    }
    return e;
}

/* texels: of the corners, two each. (x, y): a pixel near by, from which it is counted. */
static inline void describe(Face *f, const Edges *e, const Seen *const p[3], const float *texels,
                            const double per, const double x, const double y) {
    const double *const a = e->a, *const b = e->b, scale = 1.0 / e->area, half = 0.5 * (per - 1),
                        dx = per * x + half - p[0]->x, dy = per * y + half - p[0]->y;
    const double u0 = texels[0], v0 = texels[1], u1 = texels[2], v1 = texels[3], u2 = texels[4],
                 v2 = texels[5], texture = (u1 - u0) * (v2 - v0) - (v1 - v0) * (u2 - u0);
    const double4 q0 = (double4){u0, v0, 1, 0} * p[0]->w, q1 = (double4){u1, v1, 1, 0} * p[1]->w,
                  q2 = (double4){u2, v2, 1, 0} * p[2]->w;
    double4 along = (a[0] * q0 + a[1] * q1 + a[2] * q2) * scale,
            down = (b[0] * q0 + b[1] * q1 + b[2] * q2) * scale,
            first = q0 + along * dx + down * dy;
    along *= per;
    down *= per;
    along[3] = x;
    down[3] = y;
    first[3] = fabs(texture) * p[0]->w * p[1]->w * p[2]->w * per * per * scale;
    const float4 floats[3] = {__builtin_convertvector(along, float4),
                              __builtin_convertvector(down, float4),
                              __builtin_convertvector(first, float4)};
    memcpy(f, floats, sizeof floats);
    for (int k = 0; k < 2; k++) {
        f->least[k] = fminf(fminf(texels[k], texels[2 + k]), texels[4 + k]);
        f->most[k] = fmaxf(fmaxf(texels[k], texels[2 + k]), texels[4 + k]);
    }
}

/* The samples [*from, *to] of a row for which all of e[i] + a[i] x + b[i] below may be positive,
 * with side = 1, or surely are, with side = -1. */
static inline void narrow(const Edges *edges, const double e[3], const double side, int32_t *from,
                          int32_t *to) {
    double first = *from, last = *to;
    for (int i = 0; i < 3; i++) {
        const double a = edges->a[i], bound = e[i] + side * 0.5 * fabs(edges->b[i]);
        if (a > 0)
            first = fmax(first, ceil(-bound / a - side * 1e-6));
        else if (a < 0)
            last = fmin(last, floor(-bound / a + side * 1e-6));
        else if (bound < 0)
            last = -1;
    }
    *to = (int32_t)fmax(last, *from - 1.0);
    *from = (int32_t)fmin(first, *to + 1.0);
}

/* Samples [from, to] of a row, all within the triangle: shows it where it is nearest. w: 1/Z at 0,
 * and its slopes. */
static int draw_row(const Canvas *c, const double w[3], const int32_t from, const int32_t to,
                    const int64_t row) {
    const double w0 = w[0], along = w[1], down = w[2];
    const double *restrict const below = c->below;
    float *restrict const nearest = c->nearest + row * c->across;
    int32_t *restrict const shown = c->shown + row * c->across;
    const int32_t face = c->faces;
    int hit = 0;
#pragma omp simd reduction(| : hit)
    for (int32_t i = from; i <= to; i++) {
        const float near = (float)(w0 + along * (double)i + down * below[i]);
        const int in = near > nearest[i];
        nearest[i] = in ? near : nearest[i];
        shown[i] = in ? face : shown[i];
        hit |= in;
    }
    return hit;
}

/* The same for the samples that are within the edges; e: of the edges at 0. */
static inline int draw_few(const Canvas *c, const Edges *edges, const double e[3],
                           const double w[3], const int32_t from, const int32_t to,
                           const int64_t row) {
    const double *const a = edges->a, *const b = edges->b;
    const double *const below = c->below;
    float *const nearest = c->nearest + row * c->across;
    int32_t *const shown = c->shown + row * c->across;
    const int32_t face = c->faces;
    int hit = 0;
    for (int32_t i = from; i <= to; i++) {
        const double x = i, y = below[i];
        const float near = (float)(w[0] + w[1] * x + w[2] * y);
        const double inside = fmin(fmin(e[0] + a[0] * x + b[0] * y, e[1] + a[1] * x + b[1] * y),
                                   e[2] + a[2] * x + b[2] * y);
        const int in = (inside >= 0) & (near > nearest[i]);
        nearest[i] = in ? near : nearest[i]; /* faster than a branch: half of them are inside */
        shown[i] = in ? face : shown[i];
        hit |= in;
    }
    return hit;
}

/* Draws a triangle that lies before the near plane. texels: of its corners, two each. */
static inline void draw(Canvas *c, const Seen *const p[3], const float *texels) {
    const double left = least(p[0]->x, p[1]->x, p[2]->x), right = most(p[0]->x, p[1]->x, p[2]->x),
                 top = least(p[0]->y, p[1]->y, p[2]->y), bottom = most(p[0]->y, p[1]->y, p[2]->y);
    const int32_t across = c->across, per = c->per;
    if (left > across || top > c->down || right < -1 || bottom < -1)
        return;
    const int32_t y0 = (int32_t)ceil(fmax(top - 0.5 - MARGIN, 0)),
                  y1 = (int32_t)floor(fmin(bottom + 0.5 + MARGIN, c->down - 1));
    const Edges edges = edges_of(p);
    if (!(edges.area > 0))
        return;
    const double *const a = edges.a, *const b = edges.b, scale = 1.0 / edges.area;
    const double along = (a[0] * p[0]->w + a[1] * p[1]->w + a[2] * p[2]->w) * scale,
                 down = (b[0] * p[0]->w + b[1] * p[1]->w + b[2] * p[2]->w) * scale;
    const int32_t origin = (int32_t)fmax(left, 0);
    double start[3]; /* of the edges at (0, y0) */
    for (int i = 0; i < 3; i++) {
        const Seen *const j = p[(i + 1) % 3];
        start[i] = b[i] * (y0 - j->y) - a[i] * j->x + MARGIN * (fabs(a[i]) + fabs(b[i]));
    }
    const double first = p[0]->w - along * p[0]->x + down * (y0 - p[0]->y);
    int hit = 0;
    for (int32_t y = y0; y <= y1; y++) {
        const double shift = c->right[y], row = y - y0;
        int32_t from = (int32_t)ceil(fmax(left - shift - MARGIN, 0)),
                to = (int32_t)floor(fmin(right - shift + MARGIN, across - 1));
        const double e[3] = {start[0] + b[0] * row + a[0] * shift,
                             start[1] + b[1] * row + a[1] * shift,
                             start[2] + b[2] * row + a[2] * shift};
        const double w[3] = {first + down * row + along * shift, along, down};
        if (to - from < WIDE) {
            hit |= draw_few(c, &edges, e, w, from, to, y);
            continue;
        }
        narrow(&edges, e, 1.0, &from, &to);
        int32_t whole_from = from, whole_to = to;
        narrow(&edges, e, -1.0, &whole_from, &whole_to);
        hit |= draw_few(c, &edges, e, w, from, whole_from - 1, y);
        hit |= draw_row(c, w, whole_from, whole_to, y);
        hit |= draw_few(c, &edges, e, w, whole_to + 1, to, y);
    }
    if (hit && c->face)
        describe(c->face + c->faces++, &edges, p, texels, per, origin / per, y0 / per);
}
