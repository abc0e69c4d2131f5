/* Textured triangles before a camera: which is nearest at each sample, and its texture there.
 *
 * Vertices are projected in double precision and not rounded to a grid, so that a picture follows
 * the least motion. 1/Z and texel/Z are linear over the picture on each triangle. A pixel has
 * per x per samples, which say how much of it each triangle fills; the texture is read once a
 * triangle, at the pixel's centre, so that surfaces made of many small triangles are as sharp as a
 * plane. `render_reference` of scene/solid.py is the slow plain twin.
 */
#include <stdlib.h>

#include "solid.h"
#include "taps.h"

/* A pyramid has at most this many levels. */
#define MAX_LEVELS 32
/* Triangles reach so much farther [samples], so that no sample falls between two of them. */
#define MARGIN 1e-10
/* From this many samples on a row's part inside the triangle is found before it is visited. */
#define WIDE 12

/* A vertex in the picture: its place [samples] and 1/Z, which is 0 nearer than the near plane. */
typedef struct {
    double x, y, w;
} Seen;

/* A triangle that some sample shows. Texel / Z and 1/Z at a pixel are linear, as [along x, along y,
 * at the pixel (x, y)]; det: texels a pixel at Z = 1; then the texels that it has. */
typedef struct {
    float u[3], v[3], w[3], det, x, y, u_low, u_high, v_low, v_high;
} Face;

/* What one image is drawn on: samples across and down; 1/Z of each sample and its face. */
typedef struct {
    int32_t across, down, faces;
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

/* The linear function that is q at the corners, as a Face has it; 1/scale: twice the area. */
static inline void linear(float f[3], const Edges *e, const double q[3], const double scale,
                          const Seen *first, const double per, const double x, const double y) {
    const double along = (e->a[0] * q[0] + e->a[1] * q[1] + e->a[2] * q[2]) * scale,
                 down = (e->b[0] * q[0] + e->b[1] * q[1] + e->b[2] * q[2]) * scale,
                 half = 0.5 * (per - 1);
    f[0] = (float)(along * per);
    f[1] = (float)(down * per);
    f[2] = (float)(q[0] + along * (per * x + half - first->x) + down * (per * y + half - first->y));
}

/* texels: of the corners, two each. (x, y): a pixel near by, from which it is counted. */
static void describe(Face *f, const Edges *e, const Seen *const p[3], const float texels[6],
                     const double per, const double x, const double y) {
    const double scale = 1.0 / e->area, w[3] = {p[0]->w, p[1]->w, p[2]->w},
                 u[3] = {texels[0], texels[2], texels[4]}, v[3] = {texels[1], texels[3], texels[5]};
    const double uw[3] = {u[0] * w[0], u[1] * w[1], u[2] * w[2]},
                 vw[3] = {v[0] * w[0], v[1] * w[1], v[2] * w[2]};
    linear(f->u, e, uw, scale, p[0], per, x, y);
    linear(f->v, e, vw, scale, p[0], per, x, y);
    linear(f->w, e, w, scale, p[0], per, x, y);
    const double texture = (u[1] - u[0]) * (v[2] - v[0]) - (v[1] - v[0]) * (u[2] - u[0]);
    f->det = (float)(fabs(texture) * w[0] * w[1] * w[2] * per * per * scale);
    f->x = (float)x;
    f->y = (float)y;
    f->u_low = (float)least(u[0], u[1], u[2]);
    f->u_high = (float)most(u[0], u[1], u[2]);
    f->v_low = (float)least(v[0], v[1], v[2]);
    f->v_high = (float)most(v[0], v[1], v[2]);
}

/* The samples [*from, *to] of a row for which all of e[i] + a[i] x may be positive; e is changed to
 * what it is at *from. */
static inline void narrow(const Edges *edges, double e[3], int32_t *from, int32_t *to) {
    double first = 0, last = *to - *from;
    for (int i = 0; i < 3; i++) {
        const double a = edges->a[i], at = -e[i] / a;
        if (a > 0)
            first = fmax(first, floor(at));
        else if (a < 0)
            last = fmin(last, ceil(at));
        else if (e[i] < 0)
            last = -1;
    }
    if (first > last) {
        *to = *from - 1;
        return;
    }
    *to = *from + (int32_t)last;
    *from += (int32_t)first;
    for (int i = 0; i < 3; i++)
        e[i] += edges->a[i] * first;
}

/* A row's samples from the first on: shows `face` at those within the edges that are nearest. */
static inline int draw_row(const Edges *edges, const double e[3], const double w,
                           const double along, const int32_t n, const int32_t face,
                           float *restrict nearest, int32_t *restrict shown) {
    const double a0 = edges->a[0], a1 = edges->a[1], a2 = edges->a[2];
    int hit = 0;
#pragma omp simd reduction(| : hit)
    for (int32_t i = 0; i < n; i++) {
        const double x = i;
        const float near = (float)(w + along * x);
        const int in = (e[0] + a0 * x >= 0) & (e[1] + a1 * x >= 0) & (e[2] + a2 * x >= 0) &
                       (near > nearest[i]);
        nearest[i] = in ? near : nearest[i];
        shown[i] = in ? face : shown[i];
        hit |= in;
    }
    return hit;
}

/* Draws a triangle that lies before the near plane. texels: of its corners, two each. */
static void draw(Canvas *c, const int32_t per, const Seen *const p[3], const float *texels) {
    const double left = least(p[0]->x, p[1]->x, p[2]->x), right = most(p[0]->x, p[1]->x, p[2]->x),
                 top = least(p[0]->y, p[1]->y, p[2]->y), bottom = most(p[0]->y, p[1]->y, p[2]->y);
    if (left > c->across || top > c->down)
        return;
    const int32_t x0 = (int32_t)ceil(fmax(left - MARGIN, 0)),
                  y0 = (int32_t)ceil(fmax(top - MARGIN, 0)),
                  x1 = (int32_t)floor(fmax(fmin(right + MARGIN, c->across - 1), -1)),
                  y1 = (int32_t)floor(fmax(fmin(bottom + MARGIN, c->down - 1), -1));
    if (x0 > x1 || y0 > y1)
        return;
    const Edges edges = edges_of(p);
    if (!(edges.area > 0))
        return;
    const double along =
                     (edges.a[0] * p[0]->w + edges.a[1] * p[1]->w + edges.a[2] * p[2]->w) /
                     edges.area,
                 down = (edges.b[0] * p[0]->w + edges.b[1] * p[1]->w + edges.b[2] * p[2]->w) /
                        edges.area;
    int hit = 0;
    for (int32_t y = y0; y <= y1; y++) {
        double e[3];
        int32_t from = x0, to = x1;
        for (int i = 0; i < 3; i++) {
            const Seen *const j = p[(i + 1) % 3];
            e[i] = edges.a[i] * (x0 - j->x) + edges.b[i] * (y - j->y) +
                   MARGIN * (fabs(edges.a[i]) + fabs(edges.b[i]));
        }
        if (x1 - x0 >= WIDE)
            narrow(&edges, e, &from, &to);
        const double w = p[0]->w + along * (from - p[0]->x) + down * (y - p[0]->y);
        const int64_t at = (int64_t)y * c->across + from;
        hit |= draw_row(&edges, e, w, along, to - from + 1, c->faces, c->nearest + at,
                        c->shown + at);
    }
    if (hit && c->face)
        describe(c->face + c->faces++, &edges, p, texels, per, x0 / per, y0 / per);
}

/* A point of the world in the camera frame. */
static inline void place(double at[3], const double pose[12], const double *point) {
    for (int i = 0; i < 3; i++)
        at[i] = pose[4 * i] * point[0] + pose[4 * i + 1] * point[1] + pose[4 * i + 2] * point[2] +
                pose[4 * i + 3];
}

static inline Seen project(const Solid *a, const double at[3]) {
    const double per = a->per, w = 1.0 / at[2], half = 0.5 * (per - 1);
    return (Seen){per * (a->fx * at[0] * w + a->cx) + half,
                  per * (a->fy * at[1] * w + a->cy) + half, w};
}

/* Draws the part of a triangle that lies before the near plane. */
static void draw_clipped(const Solid *a, Canvas *c, const double *pose, const int32_t *corners,
                         const float *texels) {
    double at[3][3];
    Seen seen[4];
    float shown[4][2];
    int n = 0;
    for (int i = 0; i < 3; i++)
        place(at[i], pose, a->vertices + 3 * (int64_t)corners[i]);
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3;
        const double *const p = at[i], *const q = at[j];
        if (p[2] >= a->near) {
            memcpy(shown[n], texels + 2 * i, sizeof shown[n]);
            seen[n++] = project(a, p);
        }
        if ((p[2] >= a->near) != (q[2] >= a->near)) {
            const double s = (a->near - p[2]) / (q[2] - p[2]);
            const double cut[3] = {p[0] + s * (q[0] - p[0]), p[1] + s * (q[1] - p[1]), a->near};
            for (int k = 0; k < 2; k++)
                shown[n][k] =
                    (float)(texels[2 * i + k] + s * (texels[2 * j + k] - texels[2 * i + k]));
            seen[n++] = project(a, cut);
        }
    }
    for (int k = 2; k < n; k++) {
        const Seen *const p[3] = {seen, seen + k - 1, seen + k};
        float corner[6];
        memcpy(corner, shown[0], sizeof shown[0]);
        memcpy(corner + 2, shown[k - 1], 2 * sizeof shown[0]);
        draw(c, a->per, p, corner);
    }
}

/* Draws all triangles. */
static void draw_all(const Solid *a, Canvas *c, const double *pose) {
    const int64_t samples = (int64_t)c->across * c->down;
    memset(c->nearest, 0, samples * sizeof *c->nearest);
    memset(c->shown, 0xff, samples * sizeof *c->shown);
    c->faces = 0;
    for (int64_t i = 0; i < a->vertex_count; i++) {
        double at[3];
        place(at, pose, a->vertices + 3 * i);
        c->seen[i] = project(a, at);
        if (!(at[2] >= a->near))
            c->seen[i].w = 0;
    }
    for (int64_t i = 0; i < a->triangle_count; i++) {
        const int32_t *const corners = a->triangles + 3 * i;
        const Seen *const p[3] = {c->seen + corners[0], c->seen + corners[1], c->seen + corners[2]};
        const int before = (p[0]->w > 0) + (p[1]->w > 0) + (p[2]->w > 0);
        if (before == 3)
            draw(c, a->per, p, a->texels + 6 * i);
        else if (before > 0)
            draw_clipped(a, c, pose, corners, a->texels + 6 * i);
    }
}

/* Reads of the texture for part of a row: which pixel each is for, and its share of it; where it is
 * in two levels, and how much the far one counts. */
typedef struct {
    int32_t n, pixel[MAX_SPAN], wide[MAX_SPAN], wide_far[MAX_SPAN];
    float share[MAX_SPAN], blend[MAX_SPAN];
    Taps fine, next;
} Reads;

/* Where pixel (x, y) shows the face; (sx, sy): the sample that is within it, from the centre. */
static inline void locate(const Level *levels, const int32_t count, const Face *f, Reads *r,
                          const float x, const float y, const float sx, const float sy) {
    const int32_t i = r->n;
    float dx = x - f->x, dy = y - f->y, w = f->w[0] * dx + f->w[1] * dy + f->w[2];
    const float within = w + f->w[0] * sx + f->w[1] * sy;
    if (w < 0.5f * within) { /* seen so edge-on that its plane is far at the pixel's centre */
        dx += sx;
        dy += sy;
        w = within;
    }
    const float inv = 1.0f / w;
    /* the pixel's centre may be beside the triangle, but hardly farther than the pixel is wide */
    const float room = sqrtf(fmaxf(f->det * inv * inv * inv, 1.0f));
    const float u = clampf((f->u[0] * dx + f->u[1] * dy + f->u[2]) * inv, f->u_low - room,
                           f->u_high + room),
                v = clampf((f->v[0] * dx + f->v[1] * dy + f->v[2]) * inv, f->v_low - room,
                           f->v_high + room);
    const float level = level_of(fmaxf(f->det, 1e-30f), inv, (float)(count - 1));
    const int32_t base = (int32_t)level, up = base + 1 < count ? base + 1 : base;
    r->blend[i] = level - (float)base;
    tap(&r->fine, i, u, v, levels[base]);
    tap(&r->next, i, u, v, levels[up]);
    r->wide[i] = levels[base].wl;
    r->wide_far[i] = levels[up].wl;
}

static inline float bilinear(const Taps *t, const int32_t i, const float *plane,
                             const int32_t wide) {
    const float *const above = plane + t->at[i], *const below = above + wide;
    const float upper = above[0] + (above[1] - above[0]) * t->fu[i],
                lower = below[0] + (below[1] - below[0]) * t->fu[i];
    return upper + (lower - upper) * t->fv[i];
}

/* Adds what was read to a row of the image, and forgets it. step: from channel to channel. */
static void add(const Solid *a, Reads *r, float *row, const int64_t step) {
    for (int32_t c = 0; c < a->channels; c++) {
        const float *const plane = a->texture + c * a->stride;
        for (int32_t i = 0; i < r->n; i++) {
            float value = bilinear(&r->fine, i, plane, r->wide[i]);
            if (r->blend[i] > 0)
                value += (bilinear(&r->next, i, plane, r->wide_far[i]) - value) * r->blend[i];
            row[c * step + r->pixel[i]] += value * r->share[i];
        }
    }
    r->n = 0;
}

/* The image that is drawn: of each pixel the mean over its samples. */
static void shade(const Solid *a, const Canvas *c, const int64_t image) {
    const int32_t per = a->per, samples = per * per, count = a->levels;
    const int64_t size = (int64_t)a->h * a->w;
    const float *const background = a->background + image * a->channels;
    Level levels[MAX_LEVELS];
    Reads reads = {0};
    for (int32_t k = 0; k < count; k++)
        levels[k] =
            (Level){a->padded_w >> k, a->padded_h >> k, a->offsets[k], power_of_two(-k)};
    for (int32_t y = 0; y < a->h; y++) {
        float *const row = a->out + image * a->channels * size + (int64_t)y * a->w;
        for (int32_t k = 0; k < a->channels; k++)
            memset(row + k * size, 0, a->w * sizeof *row);
        for (int32_t x = 0; x < a->w; x++) {
            const int32_t *const first = c->shown + (int64_t)y * per * c->across + x * per;
            int32_t face[16], empty = 0;
            for (int32_t s = 0; s < samples; s++)
                face[s] = first[s / per * c->across + s % per];
            for (int32_t s = 0; s < samples; s++) {
                if (face[s] < 0) {
                    empty++;
                    continue;
                }
                int32_t same = 0, earlier = 0;
                for (int32_t t = 0; t < samples; t++) {
                    same += face[t] == face[s];
                    earlier += t < s && face[t] == face[s];
                }
                if (earlier)
                    continue;
                const float middle = 0.5f * (float)(per - 1), length = 1.0f / (float)per;
                locate(levels, count, c->face + face[s], &reads, (float)x, (float)y,
                       ((float)(s % per) - middle) * length, ((float)(s / per) - middle) * length);
                reads.pixel[reads.n] = x;
                reads.share[reads.n++] = (float)same / (float)samples;
                if (reads.n == MAX_SPAN)
                    add(a, &reads, row, size);
            }
            for (int32_t k = 0; empty && k < a->channels; k++)
                row[k * size + x] += background[k] * (float)empty / (float)samples;
            if (a->inside)
                a->inside[image * size + (int64_t)y * a->w + x] =
                    1.0f - (float)empty / (float)samples;
        }
        add(a, &reads, row, size);
    }
}

void draw_solids(const void *arguments, int64_t begin, int64_t end) {
    const Solid *const a = arguments;
    const int32_t across = a->per * a->w, down = a->per * a->h;
    const int64_t samples = (int64_t)across * down;
    Canvas c = {across, down, 0, 0, 0, 0, 0};
    c.nearest = malloc(samples * sizeof *c.nearest);
    c.shown = malloc(samples * sizeof *c.shown);
    c.seen = malloc(a->vertex_count * sizeof *c.seen);
    /* the near plane cuts a triangle in two at most */
    c.face = a->out ? malloc(2 * a->triangle_count * sizeof *c.face) : 0;
    if (!c.nearest || !c.shown || !c.seen || (a->out && !c.face))
        *a->failed = 1;
    else
        for (int64_t b = begin; b < end; b++) {
            draw_all(a, &c, a->poses + 12 * b);
            if (a->out)
                shade(a, &c, b);
            else
                memcpy(a->inverse_depth + b * samples, c.nearest, samples * sizeof *c.nearest);
        }
    free(c.nearest);
    free(c.shown);
    free(c.seen);
    free(c.face);
}
