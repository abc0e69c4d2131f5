/* Points of a scale space: extrema of the difference of neighbouring blurred pictures, placed
 * between pixels and layers, without those of low contrast and those along edges. */
#include <string.h>

#define BORDER      5     /* px of an octave, in which no points are looked for */
#define MOST_STEPS  5     /* from pixel to pixel, to where an extremum is */
#define MOST_EDGE   10.0f /* ratio of the curvatures across and along an edge */
#define DIFFERENCES (LAYERS + 2)

/* x, y: in pixels of its octave. scale: its blur there. */
typedef struct {
    float x, y, scale, response, angle;
    int32_t octave, layer;
} Point;

typedef struct {
    Point *points;
    int32_t count, room;
} Points;

static void add(Points *all, Point point) {
    if (all->count == all->room) {
        all->room = all->room ? 2 * all->room : 1024;
        all->points = realloc(all->points, all->room * sizeof(Point));
        if (!all->points)
            abort();
    }
    all->points[all->count++] = point;
}

/* The extremum near a pixel of a layer, by the parabola through its neighbours; 0 where there is
 * none that counts. contrast: least difference of grey levels. */
static int placed(const Octave *o, int32_t layer, int32_t x, int32_t y, float contrast,
                  Point *point) {
    const int32_t w = o->w;
#define D(l, dy, dx)                                                                               \
    (o->level[(l) + 1][(y + (dy)) * w + x + (dx)] - o->level[l][(y + (dy)) * w + x + (dx)])
    for (int32_t step = 0; step < MOST_STEPS; step++) {
        const float v = D(layer, 0, 0), twice = 2 * v;
        const float gx = 0.5f * (D(layer, 0, 1) - D(layer, 0, -1)),
                    gy = 0.5f * (D(layer, 1, 0) - D(layer, -1, 0)),
                    gs = 0.5f * (D(layer + 1, 0, 0) - D(layer - 1, 0, 0));
        const float xx = D(layer, 0, 1) + D(layer, 0, -1) - twice,
                    yy = D(layer, 1, 0) + D(layer, -1, 0) - twice,
                    ss = D(layer + 1, 0, 0) + D(layer - 1, 0, 0) - twice;
        const float xy = 0.25f *
                         (D(layer, 1, 1) - D(layer, 1, -1) - D(layer, -1, 1) + D(layer, -1, -1)),
                    xs = 0.25f * (D(layer + 1, 0, 1) - D(layer + 1, 0, -1) - D(layer - 1, 0, 1) +
                                  D(layer - 1, 0, -1)),
                    ys = 0.25f * (D(layer + 1, 1, 0) - D(layer + 1, -1, 0) - D(layer - 1, 1, 0) +
                                  D(layer - 1, -1, 0));
        /* Cramer's rule, for the way to where the gradient is zero. */
        const float a = yy * ss - ys * ys, b = xs * ys - xy * ss, c = xy * ys - yy * xs;
        const float det = xx * a + xy * b + xs * c;
        if (det == 0)
            return 0;
        const float dx = -(a * gx + b * gy + c * gs) / det,
                    dy = -(b * gx + (xx * ss - xs * xs) * gy + (xy * xs - xx * ys) * gs) / det,
                    ds = -(c * gx + (xy * xs - xx * ys) * gy + (xx * yy - xy * xy) * gs) / det;
        if (fabsf(dx) < 0.5f && fabsf(dy) < 0.5f && fabsf(ds) < 0.5f) {
            const float height = v + 0.5f * (gx * dx + gy * dy + gs * ds);
            const float trace = xx + yy, flat = xx * yy - xy * xy;
            if (fabsf(height) < contrast || flat <= 0 ||
                trace * trace * MOST_EDGE >= (MOST_EDGE + 1) * (MOST_EDGE + 1) * flat)
                return 0;
            *point = (Point){(float)x + dx,
                             (float)y + dy,
                             SIGMA * exp2f(((float)layer + ds) / LAYERS),
                             fabsf(height),
                             0,
                             0,
                             layer};
            return 1;
        }
        if (!(fabsf(dx) < 1e4f && fabsf(dy) < 1e4f && fabsf(ds) < 1e4f))
            return 0;
        x += (int32_t)lrintf(dx), y += (int32_t)lrintf(dy), layer += (int32_t)lrintf(ds);
        if (layer < 1 || layer > LAYERS || x < BORDER || x >= w - BORDER || y < BORDER ||
            y >= o->h - BORDER)
            return 0;
    }
#undef D
    return 0;
}

/* The largest and the smallest of nine differences about each pixel of a row. rows: of one layer,
 * three below each other; edges: memory for two rows. */
static void nine(const float *const *rows, int32_t w, float *restrict edges, float *restrict most,
                 float *restrict least) {
    const float *a = rows[0], *b = rows[1], *c = rows[2];
    float *restrict high = edges, *restrict low = edges + w;
    for (int32_t x = 0; x < w; x++) {
        high[x] = fmaxf(fmaxf(a[x], b[x]), c[x]);
        low[x] = fminf(fminf(a[x], b[x]), c[x]);
    }
    for (int32_t x = 1; x < w - 1; x++) {
        most[x] = fmaxf(fmaxf(high[x - 1], high[x]), high[x + 1]);
        least[x] = fminf(fminf(low[x - 1], low[x]), low[x + 1]);
    }
}

/* Where a row's differences are no smaller, or no larger, than all 26 about them. */
static void marked(const float *restrict row, float *const *most, float *const *least, int32_t w,
                   uint8_t *restrict marks) {
    const float *restrict m0 = most[0], *restrict m1 = most[1], *restrict m2 = most[2];
    const float *restrict l0 = least[0], *restrict l1 = least[1], *restrict l2 = least[2];
    for (int32_t x = 0; x < w; x++) {
        const float v = row[x];
        marks[x] = (uint8_t)((v > 0 && v >= fmaxf(fmaxf(m0[x], m1[x]), m2[x])) ||
                             (v < 0 && v <= fminf(fminf(l0[x], l1[x]), l2[x])));
    }
}

/* All points of an octave, without their angles. memory: for 28 rows. */
static void extrema(const Octave *o, int32_t octave, float contrast, float *memory, Points *all) {
    const int32_t w = o->w, h = o->h;
    float *ring[DIFFERENCES][3], *most[DIFFERENCES], *least[DIFFERENCES];
    for (int32_t l = 0; l < DIFFERENCES; l++) {
        for (int32_t k = 0; k < 3; k++, memory += w)
            ring[l][k] = memory;
        most[l] = memory, least[l] = memory + w, memory += 2 * w;
    }
    float *const edges = memory;
    uint8_t *const marks = (uint8_t *)(memory + 2 * w);
    for (int32_t y = BORDER - 1; y < h - BORDER + 1; y++) {
        for (int32_t l = 0; l < DIFFERENCES; l++) {
            const float *restrict a = o->level[l] + y * w, *restrict b = o->level[l + 1] + y * w;
            float *restrict to = ring[l][y % 3];
            for (int32_t x = 0; x < w; x++)
                to[x] = b[x] - a[x];
        }
        if (y < BORDER + 1)
            continue;
        for (int32_t l = 0; l < DIFFERENCES; l++)
            nine((const float *const *)ring[l], w, edges, most[l], least[l]);
        for (int32_t l = 1; l <= LAYERS; l++) {
            marked(ring[l][(y - 1) % 3], most + l - 1, least + l - 1, w, marks);
            for (int32_t x = BORDER; x < w - BORDER; x++) {
                Point point;
                if (marks[x] && placed(o, l, x, y - 1, contrast, &point)) {
                    point.octave = octave;
                    add(all, point);
                }
            }
        }
    }
}
