/* Textured triangles before a camera: which is nearest at each sample, and its texture there.
 *
 * A pixel has per x per samples, which say how much of it each triangle fills; the texture is read
 * once a triangle, at the pixel's centre, so that surfaces made of many small triangles are as
 * sharp as a plane. `draw_reference` of scene/solid_drawing.py is the slow plain twin.
 */
#include <stdlib.h>

#include "solid.h"

#include "taps.h"

#include "nearest.h"

/* A pixel has at most this many samples. */
#define MOST_SAMPLES 16

/* A point of the world in the camera frame. */
static inline void place(double at[3], const double pose[12], const double *point) {
    for (int i = 0; i < 3; i++)
        at[i] = pose[4 * i] * point[0] + pose[4 * i + 1] * point[1] + pose[4 * i + 2] * point[2] +
                pose[4 * i + 3];
}

static inline Seen project(const Solid *a, const double per, const double at[3]) {
    const double w = 1.0 / at[2], half = 0.5 * (per - 1);
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
            seen[n++] = project(a, c->per, p);
        }
        if ((p[2] >= a->near) != (q[2] >= a->near)) {
            const double s = (a->near - p[2]) / (q[2] - p[2]);
            const double cut[3] = {p[0] + s * (q[0] - p[0]), p[1] + s * (q[1] - p[1]), a->near};
            for (int k = 0; k < 2; k++)
                shown[n][k] =
                    (float)(texels[2 * i + k] + s * (texels[2 * j + k] - texels[2 * i + k]));
            seen[n++] = project(a, c->per, cut);
        }
    }
    for (int k = 2; k < n; k++) {
        const Seen *const p[3] = {seen, seen + k - 1, seen + k};
        float corner[6];
        memcpy(corner, shown[0], sizeof shown[0]);
        memcpy(corner + 2, shown[k - 1], 2 * sizeof shown[0]);
        draw(c, p, corner);
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
        c->seen[i] = project(a, c->per, at);
        if (!(at[2] >= a->near))
            c->seen[i].w = 0;
    }
    for (int64_t i = 0; i < a->triangle_count; i++) {
        const int32_t *const corners = a->triangles + 3 * i;
        const Seen *const p[3] = {c->seen + corners[0], c->seen + corners[1], c->seen + corners[2]};
        const int before = (p[0]->w > 0) + (p[1]->w > 0) + (p[2]->w > 0);
        if (before == 3)
            draw(c, p, a->texels + 6 * i);
        else if (before > 0)
            draw_clipped(a, c, pose, corners, a->texels + 6 * i);
    }
}

/* Reads of the texture for part of a row: pixels and their faces; a sample of each that is within
 * the face, from the pixel's centre; the shares of the pixels. Then where they are in two levels,
 * how wide these are, and how much the far one counts. */
typedef struct {
    int32_t n, pixel[MAX_SPAN], face[MAX_SPAN], wide[MAX_SPAN], wide_far[MAX_SPAN];
    float right[MAX_SPAN], below[MAX_SPAN], share[MAX_SPAN], blend[MAX_SPAN];
    Taps fine, next;
} Reads;

/* Where the reads of row y are in the texture. `restrict` lets compilers vectorise the loop. */
static void locate(const Solid *a, const Face *restrict faces, Reads *restrict r, const float y) {
    const int32_t n = r->n, count = a->levels, wide = a->padded_w, high = a->padded_h;
    const int32_t *restrict const offsets = a->offsets;
    const float last = (float)(count - 1);
#pragma omp simd
    for (int32_t i = 0; i < n; i++) {
        const Face *const f = faces + r->face[i];
        const float right = r->right[i], below = r->below[i],
                    near_x = (float)r->pixel[i] - f->along[3], near_y = y - f->down[3];
        const float centre = f->first[2] + f->along[2] * near_x + f->down[2] * near_y,
                    within = centre + f->along[2] * right + f->down[2] * below;
        /* a face may be seen so edge-on that its plane is far at the pixel's centre */
        const int edge_on = centre < 0.5f * within;
        const float dx = edge_on ? near_x + right : near_x, dy = edge_on ? near_y + below : near_y,
                    inv = 1.0f / (edge_on ? within : centre), area = f->first[3] * inv * inv * inv;
        /* the pixel's centre may be beside the face, but hardly farther than the pixel is wide */
        const float room = sqrtf(fmaxf(area, 1.0f));
        const float u = clampf((f->first[0] + f->along[0] * dx + f->down[0] * dy) * inv,
                               f->least[0] - room, f->most[0] + room),
                    v = clampf((f->first[1] + f->along[1] * dx + f->down[1] * dy) * inv,
                               f->least[1] - room, f->most[1] + room);
        const float level = clampf(0.5f * log2_positive(fmaxf(area, 1e-30f)), 0.0f, last);
        const int32_t base = (int32_t)level, up = base + 1 < count ? base + 1 : base;
        r->blend[i] = level - (float)base;
        r->wide[i] = wide >> base;
        r->wide_far[i] = wide >> up;
        tap(&r->fine, i, u, v,
            (Level){wide >> base, high >> base, offsets[base], power_of_two(-base)});
        tap(&r->next, i, u, v, (Level){wide >> up, high >> up, offsets[up], power_of_two(-up)});
    }
}

static inline float bilinear(const Taps *t, const int32_t i, const float *plane,
                             const int32_t wide) {
    const float *const above = plane + t->at[i], *const below = above + wide;
    const float upper = above[0] + (above[1] - above[0]) * t->fu[i],
                lower = below[0] + (below[1] - below[0]) * t->fu[i];
    return upper + (lower - upper) * t->fv[i];
}

/* Adds what is read to row y of an image, and forgets it. */
static void add(const Solid *a, const Canvas *c, Reads *r, const int64_t image, const int32_t y) {
    const int64_t size = (int64_t)a->h * a->w;
    locate(a, c->face, r, (float)y);
    for (int32_t k = 0; k < a->channels; k++) {
        const float *const plane = a->texture + k * a->stride;
        float *const row = a->out + (image * a->channels + k) * size + (int64_t)y * a->w;
        for (int32_t i = 0; i < r->n; i++) {
            float value = bilinear(&r->fine, i, plane, r->wide[i]);
            if (r->blend[i] > 0)
                value += (bilinear(&r->next, i, plane, r->wide_far[i]) - value) * r->blend[i];
            row[r->pixel[i]] += value * r->share[i];
        }
    }
    r->n = 0;
}

/* Notes what the samples of pixel (x, y) show, each face once; returns how many show nothing. */
static inline int32_t look(const Canvas *c, const int32_t per, Reads *r, const int32_t x,
                           const int32_t y) {
    const int32_t count = per * per;
    const int32_t *const first = c->shown + (int64_t)per * y * c->across + per * x;
    int32_t face[MOST_SAMPLES], empty = 0, others = 0;
    for (int32_t i = 0; i < per; i++)
        for (int32_t k = 0; k < per; k++) {
            face[per * i + k] = first[(int64_t)i * c->across + k];
            others |= face[per * i + k] ^ first[0];
        }
    const int alike = others == 0;
    for (int32_t s = 0; s < (alike ? 1 : count); s++) {
        int32_t same = alike ? count : 0, earlier = 0;
        for (int32_t t = 0; t < count && !alike; t++) {
            same += face[t] == face[s];
            earlier |= t < s && face[t] == face[s];
        }
        if (earlier)
            continue;
        if (face[s] < 0) {
            empty = same;
            continue;
        }
        const float middle = 0.5f * (float)(per - 1), size = 1.0f / (float)per;
        r->face[r->n] = face[s];
        r->pixel[r->n] = x;
        r->right[r->n] = ((float)(s % per) - middle + (float)c->right[per * y + s / per]) * size;
        r->below[r->n] = ((float)(s / per) - middle + (float)c->below[per * x + s % per]) * size;
        r->share[r->n++] = (float)same / (float)count;
    }
    return empty;
}

/* The image that is drawn: of each pixel the mean over its samples. */
static void shade(const Solid *a, const Canvas *c, const int64_t image) {
    const int64_t size = (int64_t)a->h * a->w;
    const float *const background = a->background + image * a->channels;
    const float part = 1.0f / (float)(c->per * c->per);
    Reads reads;
    reads.n = 0;
    for (int32_t y = 0; y < a->h; y++) {
        float *const row = a->out + image * a->channels * size + (int64_t)y * a->w,
                     *const inside = a->inside ? a->inside + image * size + (int64_t)y * a->w : 0;
        for (int32_t k = 0; k < a->channels; k++)
            memset(row + k * size, 0, a->w * sizeof *row);
        for (int32_t x = 0; x < a->w; x++) {
            /* a number that compilers know is faster */
            const int32_t empty =
                c->per == 4 ? look(c, 4, &reads, x, y) : look(c, c->per, &reads, x, y);
            for (int32_t k = 0; empty && k < a->channels; k++)
                row[k * size + x] += background[k] * part * (float)empty;
            if (inside)
                inside[x] = 1.0f - part * (float)empty;
            if (reads.n > MAX_SPAN - MOST_SAMPLES)
                add(a, c, &reads, image, y);
        }
        add(a, c, &reads, image, y);
    }
}

void draw_solids(const void *arguments, int64_t begin, int64_t end) {
    const Solid *const a = arguments;
    const int32_t per = a->per;
    const int64_t samples = (int64_t)per * per * a->w * a->h;
    Canvas c = {per, per * a->w, per * a->h, a->right, a->below, 0, 0, 0, 0, 0};
    c.nearest = malloc(samples * sizeof *c.nearest);
    c.shown = malloc(samples * sizeof *c.shown);
    c.seen = malloc(a->vertex_count * sizeof *c.seen);
    /* the near plane cuts a triangle in two at most */
    c.face = a->out ? aligned_alloc(sizeof *c.face, 2 * a->triangle_count * sizeof *c.face) : 0;
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
