/* What the measurements share: working memory and the gradient. */
#include <stdint.h>
#include <stdlib.h>

static inline float *working_memory(int64_t floats) {
    float *memory = malloc(floats * sizeof(float));
    if (!memory)
        abort();
    return memory;
}

/* The derivative of features/luminance.py: seven taps, along x (step 1) or y (step w). */
static const float derivative[3] = {2047.0f / 8418.0f, 913.0f / 8418.0f, 112.0f / 8418.0f};

static inline float slope(const float *p, int64_t step) {
    return derivative[0] * (p[step] - p[-step]) + derivative[1] * (p[2 * step] - p[-2 * step]) +
           derivative[2] * (p[3 * step] - p[-3 * step]);
}
