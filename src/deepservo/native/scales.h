/* The scale space of a picture (Lowe 2004): octaves of Gaussian blurred pictures. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LAYERS       3 /* of an octave, in which points are looked for */
#define BLURRED      (LAYERS + 3)
#define MOST_OCTAVES 16
#define SIGMA        1.6f /* of an octave's first picture [its pixels] */
#define TAKEN_WITH   0.5f /* the blur that a picture is taken to have [px] */
#define MOST_REACH   16   /* of a blur, in pixels to either side */
#define REACH_SIGMAS 4.0f

/* One octave: w x h pixels, twice as large as those of the octave before. */
typedef struct {
    int32_t w, h;
    float *level[BLURRED];
} Octave;

/* The number of a row or column, mirrored at the first and the last. */
static inline int32_t mirrored(int32_t i, int32_t n) {
    while (i < 0 || i >= n)
        i = i < 0 ? -i : 2 * n - 2 - i;
    return i;
}

/* Half of a normalised Gaussian, the centre first; the reach, an even number. */
static int32_t gaussian(float sigma, float *half) {
    int32_t reach = (int32_t)ceilf(REACH_SIGMAS * sigma);
    reach = reach + (reach & 1) < MOST_REACH ? reach + (reach & 1) : MOST_REACH;
    float sum = 0;
    for (int32_t i = 0; i <= reach; i++) {
        half[i] = expf(-0.5f * (float)(i * i) / (sigma * sigma));
        sum += i ? 2 * half[i] : half[i];
    }
    for (int32_t i = 0; i <= reach; i++)
        half[i] /= sum;
    return reach;
}

/* A picture blurred: each row along the columns first, then along itself. row: memory for one with
 * MOST_REACH pixels more at both ends. */
static void blur(const float *restrict in, float *restrict out, int32_t w, int32_t h, float sigma,
                 float *restrict row) {
    float k[MOST_REACH + 1];
    const int32_t reach = gaussian(sigma, k);
    float *restrict sum = row + MOST_REACH;
    for (int32_t y = 0; y < h; y++) {
        const float *centre = in + y * w;
        for (int32_t x = 0; x < w; x++)
            sum[x] = k[0] * centre[x];
        for (int32_t i = 1; i < reach; i += 2) {
            const float *a = in + mirrored(y - i, h) * w, *b = in + mirrored(y + i, h) * w,
                        *c = in + mirrored(y - i - 1, h) * w, *d = in + mirrored(y + i + 1, h) * w;
            const float near = k[i], far = k[i + 1];
            for (int32_t x = 0; x < w; x++)
                sum[x] += near * (a[x] + b[x]) + far * (c[x] + d[x]);
        }
        for (int32_t i = 1; i <= reach; i++)
            sum[-i] = sum[mirrored(-i, w)], sum[w - 1 + i] = sum[mirrored(w - 1 + i, w)];
        float *restrict to = out + y * w;
        for (int32_t x = 0; x < w; x++)
            to[x] = k[0] * sum[x];
        for (int32_t i = 1; i < reach; i += 2) {
            const float *a = sum - i, *b = sum + i, *c = sum - i - 1, *d = sum + i + 1;
            const float near = k[i], far = k[i + 1];
            for (int32_t x = 0; x < w; x++)
                to[x] += near * (a[x] + b[x]) + far * (c[x] + d[x]);
        }
    }
}

/* A picture of w x h bytes at twice its size, between its pixels. */
static void doubled(const uint8_t *in, float *out, int32_t w, int32_t h) {
    for (int32_t y = 0; y < 2 * h; y++) {
        const int32_t near = y / 2, far = near + (y & 1 ? 1 : -1);
        const uint8_t *a = in + near * w, *b = in + (far < 0 ? 0 : far < h ? far : h - 1) * w;
        float *to = out + 2 * y * w, before = 0.75f * a[0] + 0.25f * b[0], here = before;
        for (int32_t x = 0; x < w; x++) {
            const int32_t next = x + 1 < w ? x + 1 : x;
            const float after = 0.75f * a[next] + 0.25f * b[next];
            to[2 * x] = 0.75f * here + 0.25f * before;
            to[2 * x + 1] = 0.75f * here + 0.25f * after;
            before = here, here = after;
        }
    }
}

/* How many octaves a picture of this size, doubled, has; the floats that they take. */
static int32_t octaves_of(int32_t w, int32_t h, int64_t *floats) {
    const int32_t least = w < h ? w : h;
    int32_t n = (int32_t)lrintf(log2f((float)least)) - 1;
    n = n < 1 ? 1 : n < MOST_OCTAVES ? n : MOST_OCTAVES;
    *floats = 2 * w + 2 * MOST_REACH;
    for (int32_t i = 0; i < n; i++)
        *floats += (int64_t)BLURRED * (2 * w >> i) * (2 * h >> i);
    return n;
}

/* The scale space of a picture of w x h bytes, in this memory, whose first floats are for a row. */
static void fill(Octave *octaves, int32_t n, const uint8_t *picture, int32_t w, int32_t h,
                 float *memory) {
    float *row = memory;
    memory += 2 * w + 2 * MOST_REACH;
    const float first = sqrtf(SIGMA * SIGMA - 4 * TAKEN_WITH * TAKEN_WITH);
    for (int32_t i = 0; i < n; i++) {
        Octave *o = octaves + i;
        o->w = 2 * w >> i, o->h = 2 * h >> i;
        for (int32_t k = 0; k < BLURRED; k++, memory += (int64_t)o->w * o->h)
            o->level[k] = memory;
        if (i == 0) {
            doubled(picture, o->level[1], w, h);
            blur(o->level[1], o->level[0], o->w, o->h, first, row);
        } else {
            /* As blurred as an octave's first one, at half the size. */
            const Octave *before = o - 1;
            for (int32_t y = 0; y < o->h; y++)
                for (int32_t x = 0; x < o->w; x++)
                    o->level[0][y * o->w + x] = before->level[LAYERS][2 * y * before->w + 2 * x];
        }
        for (int32_t k = 1; k < BLURRED; k++) {
            const float last = SIGMA * exp2f((float)(k - 1) / LAYERS), more = exp2f(2.0f / LAYERS);
            blur(o->level[k - 1], o->level[k], o->w, o->h, last * sqrtf(more - 1), row);
        }
    }
}
