/* The direction of a point of a scale space, and its description: histograms of the gradients about
 * it (Lowe 2004). */
#define BINS            36   /* of directions */
#define DIRECTION_SIGMA 1.5f /* of the gradients' weights, in the point's scale */
#define SECOND          0.8f /* of the highest bin: another direction as high is one too */
#define PLACES          4    /* a description's histograms, along each side */
#define TURNS           8    /* their bins */
#define DESCRIBED       (PLACES * PLACES * TURNS)
#define PLACE_SCALES    3.0f /* side of a place, in the point's scale */
#define CLIPPED         0.2f /* share of a description's length that a bin may have at most */
#define MOST_SAMPLES    128  /* gradients that are worked on at once */
#define PI              3.14159265f

/* The angle of (x, y) in turns, within 1e-4 of a radian; 0 to 1. */
static inline float turns_of(float y, float x) {
    const float ax = fabsf(x), ay = fabsf(y);
    const float ratio = fminf(ax, ay) / fmaxf(fmaxf(ax, ay), 1e-20f), s = ratio * ratio;
    float turn =
        ratio *
        (0.159121116f +
         s * (-0.0528398691f + s * (0.0304914652f + s * (-0.0175058739f + s * 0.00574004437f))));
    turn = ay > ax ? 0.25f - turn : turn;
    turn = x < 0 ? 0.5f - turn : turn;
    return y < 0 ? 1 - turn : turn;
}

/* e^x within 1e-5 of it, for x from -20 to 0. */
static inline float exponential(float x) {
    const float t = x * 1.44269504f, whole = floorf(t), f = t - whole;
    const float part =
        1 +
        f * (0.693147f + f * (0.240227f + f * (0.0555041f + f * (0.00961813f + f * 0.00133336f))));
    const int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return part * power;
}

static inline int32_t at_most(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t at_least(int32_t a, int32_t b) { return a > b ? a : b; }

/* The histogram of directions about a point. */
static void directions(const Octave *o, const Point *p, float *bins) {
    const float *image = o->level[p->layer];
    const int32_t w = o->w, x = (int32_t)lrintf(p->x), y = (int32_t)lrintf(p->y);
    const float sigma = DIRECTION_SIGMA * p->scale, falls = -0.5f / (sigma * sigma);
    const int32_t radius = at_most((int32_t)lrintf(3 * sigma), MOST_SAMPLES / 2 - 1);
    float along[MOST_SAMPLES], weight[MOST_SAMPLES], raw[BINS + 4] = {0}, *centre = raw + 2;
    int32_t bin[MOST_SAMPLES];
    const int32_t left = at_least(x - radius, 1), right = at_most(x + radius, w - 2);
    for (int32_t i = left; i <= right; i++)
        along[i - left] = exponential(falls * (float)((i - x) * (i - x)));
    for (int32_t j = at_least(y - radius, 1); j <= at_most(y + radius, o->h - 2); j++) {
        const float *row = image + j * w + left, across = exponential(falls * (j - y) * (j - y));
        const int32_t n = right - left + 1;
        for (int32_t i = 0; i < n; i++) {
            const float dx = row[i + 1] - row[i - 1], dy = row[i - w] - row[i + w];
            weight[i] = across * along[i] * sqrtf(dx * dx + dy * dy);
            bin[i] = (int32_t)(BINS * turns_of(dy, dx) + 0.5f);
        }
        for (int32_t i = 0; i < n; i++)
            centre[bin[i] < BINS ? bin[i] : 0] += weight[i];
    }
    raw[0] = centre[BINS - 2], raw[1] = centre[BINS - 1];
    centre[BINS] = centre[0], centre[BINS + 1] = centre[1];
    for (int32_t i = 0; i < BINS; i++)
        bins[i] = 0.0625f * (centre[i - 2] + centre[i + 2]) +
                  0.25f * (centre[i - 1] + centre[i + 1]) + 0.375f * centre[i];
}

/* Adds the point once for each of its directions. */
static void add_turned(const Octave *o, Point point, Points *all) {
    float bins[BINS], most = 0;
    directions(o, &point, bins);
    for (int32_t i = 0; i < BINS; i++)
        most = fmaxf(most, bins[i]);
    for (int32_t i = 0; i < BINS; i++) {
        const float before = bins[(i + BINS - 1) % BINS], after = bins[(i + 1) % BINS];
        if (bins[i] <= before || bins[i] <= after || bins[i] < SECOND * most)
            continue;
        const float turn =
            ((float)i + 0.5f * (before - after) / (before - 2 * bins[i] + after)) / BINS;
        point.angle = turn - floorf(turn);
        add(all, point);
    }
}

/* Narrows [first, last] to where `slope u + at` lies in the places, with the next ones' halves. */
static inline void narrow(float slope, float at, int32_t *first, int32_t *last) {
    const float low = -0.5f * PLACES - 0.5f - at, high = 0.5f * PLACES + 0.5f - at;
    if (fabsf(slope) < 1e-6f) {
        *last = low < 0 && high > 0 ? *last : *first - 1;
        return;
    }
    const float a = low / slope, b = high / slope;
    *first = at_least(*first, (int32_t)ceilf(fminf(a, b)));
    *last = at_most(*last, (int32_t)floorf(fmaxf(a, b)));
}

/* Gradients about a point in its own frame: their places and directions in bins, and weights. */
typedef struct {
    float row[MOST_SAMPLES], column[MOST_SAMPLES], turn[MOST_SAMPLES], weight[MOST_SAMPLES];
} Samples;

#define HISTOGRAMS ((PLACES + 2) * (PLACES + 2) * (TURNS + 2))
#define COPIES                                                                                     \
    4 /* neighbours go into the same bins: each waits for the one before, but in its own */

/* Adds gradients to the histograms, each to the two nearest bins along each axis. */
static void spread(const Samples *s, int32_t n, float *restrict histograms) {
    for (int32_t i = 0; i < n; i++) {
        if (!(s->row[i] > -1 && s->row[i] < PLACES && s->column[i] > -1 && s->column[i] < PLACES))
            continue;
        const int32_t r = (int32_t)(s->row[i] + 1), c = (int32_t)(s->column[i] + 1),
                      t = (int32_t)s->turn[i];
        const float fr = s->row[i] + 1 - (float)r, fc = s->column[i] + 1 - (float)c,
                    ft = s->turn[i] - (float)t;
        float *here =
            histograms + (i % COPIES) * HISTOGRAMS + (r * (PLACES + 2) + c) * (TURNS + 2) + t;
        const float below = s->weight[i] * fr, above = s->weight[i] - below;
        const float b1 = below * fc, b0 = below - b1, a1 = above * fc, a0 = above - a1;
        float *next = here + (PLACES + 2) * (TURNS + 2);
        here[0] += a0 - a0 * ft, here[1] += a0 * ft;
        here[TURNS + 2] += a1 - a1 * ft, here[TURNS + 3] += a1 * ft;
        next[0] += b0 - b0 * ft, next[1] += b0 * ft;
        next[TURNS + 2] += b1 - b1 * ft, next[TURNS + 3] += b1 * ft;
    }
}

/* The description of a point: DESCRIBED numbers from 0 to 255, whole ones. */
static void describe(const Octave *o, const Point *p, float *description) {
    const float *image = o->level[p->layer];
    const int32_t w = o->w, h = o->h, x = (int32_t)lrintf(p->x), y = (int32_t)lrintf(p->y);
    const float side = PLACE_SCALES * p->scale, angle = 2 * PI * p->angle;
    const float c = cosf(angle) / side, s = sinf(angle) / side, falls = -2.0f / (PLACES * PLACES);
    const float middle = 0.5f * PLACES - 0.5f;
    const int32_t radius = at_most((int32_t)lrintf(side * 1.41421356f * (PLACES + 1) * 0.5f),
                                   (int32_t)sqrtf((float)w * w + (float)h * h));
    float histograms[COPIES * HISTOGRAMS] = {0};
    Samples samples;
    for (int32_t j = at_least(-radius, 1 - y); j <= at_most(radius, h - 2 - y); j++) {
        const float v = (float)j;
        int32_t begin = at_least(-radius, 1 - x), last = at_most(radius, w - 2 - x);
        narrow(c, -v * s, &begin, &last);
        narrow(s, v * c, &begin, &last);
        for (; begin <= last; begin += MOST_SAMPLES) {
            const int32_t n = at_most(MOST_SAMPLES, last - begin + 1);
            const float *row = image + (y + j) * w + x + begin;
            for (int32_t i = 0; i < n; i++) {
                const float u = (float)(begin + i);
                const float column = u * c - v * s, down = u * s + v * c;
                const float dx = row[i + 1] - row[i - 1], dy = row[i - w] - row[i + w];
                float turn = turns_of(dy, dx) - p->angle;
                turn = TURNS * (turn < 0 ? turn + 1 : turn);
                samples.turn[i] = turn < TURNS ? turn : 0;
                samples.row[i] = down + middle, samples.column[i] = column + middle;
                samples.weight[i] =
                    sqrtf(dx * dx + dy * dy) *
                    exponential(fmaxf(falls * (column * column + down * down), -20));
            }
            spread(&samples, n, histograms);
        }
    }
    for (int32_t k = 0; k < HISTOGRAMS; k++)
        for (int32_t copy = 1; copy < COPIES; copy++)
            histograms[k] += histograms[copy * HISTOGRAMS + k];
    float squares = 0, left = 0;
    for (int32_t r = 0, k = 0; r < PLACES; r++)
        for (int32_t q = 0; q < PLACES; q++) {
            float *bins = histograms + ((r + 1) * (PLACES + 2) + q + 1) * (TURNS + 2);
            bins[0] += bins[TURNS], bins[1] += bins[TURNS + 1];
            for (int32_t t = 0; t < TURNS; t++, k++)
                description[k] = bins[t], squares += bins[t] * bins[t];
        }
    const float most = CLIPPED * sqrtf(squares);
    for (int32_t k = 0; k < DESCRIBED; k++)
        description[k] = fminf(description[k], most), left += description[k] * description[k];
    const float scale = 512 / fmaxf(sqrtf(left), 1e-7f);
    for (int32_t k = 0; k < DESCRIBED; k++)
        description[k] = fminf(rintf(scale * description[k]), 255);
}
