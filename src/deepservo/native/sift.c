/* Keypoints of a picture and their descriptions by SIFT (Lowe 2004). The twin is OpenCV's, which
 * has the same numbers: tests/features/test_sift.py. */
#include "scales.h"

#include "extrema.h"

#include "descriptors.h"

typedef struct {            /* `Arguments` of features/sift.py */
    const uint8_t *picture; /* (h, w) */
    int32_t w, h, most;
    float contrast;      /* least difference of grey levels */
    float *points;       /* (most, 2) [px], to write, as all that follows */
    float *descriptions; /* (most, DESCRIBED) */
    int32_t *count;
} Sift;

/* Pictures come one after the other, and memory takes a while to be had: of small ones a thread
 * keeps it. */
#define MOST_KEPT 4000000
static _Thread_local float *kept;
static _Thread_local int64_t room;

static float *memory_of(int64_t floats) {
    if (floats > room) {
        free(kept);
        kept = malloc(floats * sizeof(float));
        if (!kept)
            abort();
        room = floats;
    }
    return kept;
}

static void give_back(void) {
    if (room > MOST_KEPT) {
        free(kept);
        kept = NULL, room = 0;
    }
}

/* The strongest first; of equally strong ones in a fixed order. */
static int by_response(const void *one, const void *other) {
    const Point *a = one, *b = other;
    const float keys[][2] = {
        {b->response, a->response}, {a->x, b->x},         {a->y, b->y},
        {a->scale, b->scale},       {a->angle, b->angle}, {(float)a->octave, (float)b->octave}};
    for (int32_t k = 0; k < 6; k++)
        if (keys[k][0] != keys[k][1])
            return keys[k][0] < keys[k][1] ? -1 : 1;
    return 0;
}

/* Of one picture. arguments: a Sift. */
void sift_run(const void *arguments, int64_t begin, int64_t end) {
    const Sift *const a = arguments;
    Octave octaves[MOST_OCTAVES];
    int64_t floats;
    const int32_t n = octaves_of(a->w, a->h, &floats);
    float *const memory = memory_of(floats + 28 * 2 * a->w);
    fill(octaves, n, a->picture, a->w, a->h, memory);
    Points found = {0}, turned = {0};
    for (int32_t i = 0; i < n; i++)
        extrema(octaves + i, i, a->contrast, memory + floats, &found);
    for (int32_t i = 0; i < found.count; i++)
        add_turned(octaves + found.points[i].octave, found.points[i], &turned);
    qsort(turned.points, turned.count, sizeof(Point), by_response);
    int32_t count = 0;
    for (int32_t i = 0; i < turned.count && count < a->most; i++) {
        const Point *p = turned.points + i;
        /* Two pixels may lead to one extremum. */
        if (i && by_response(p, p - 1) == 0)
            continue;
        const float size = (float)(1 << p->octave);
        a->points[2 * count] = (size * p->x + 0.5f) / 2 - 0.5f;
        a->points[2 * count + 1] = (size * p->y + 0.5f) / 2 - 0.5f;
        describe(octaves + p->octave, p, a->descriptions + DESCRIBED * count++);
    }
    *a->count = count;
    free(found.points);
    free(turned.points);
    give_back();
    (void)begin, (void)end;
}
