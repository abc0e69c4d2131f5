/* Values by their rank. */
#include <stdint.h>
#include <string.h>

/* The value that `rank` of n > rank values are below or equal to, beside itself. It bisects their
 * bits, which have the order of the values once the lower 31 of a negative one are flipped:
 * counting needs no branches, so it is many times as fast as to sort them in part. */
static float of_rank(const float *v, const int32_t n, const int32_t rank) {
    int64_t lo = INT32_MIN, hi = INT32_MAX;
    while (lo < hi) { /* the value lies in [lo, hi] */
        const int32_t middle = (int32_t)(lo + (hi - lo) / 2);
        int32_t count = 0;
#pragma omp simd reduction(+ : count)
        for (int32_t i = 0; i < n; i++) {
            int32_t bits;
            memcpy(&bits, v + i, sizeof bits);
            count += (bits ^ (bits >> 31 & INT32_MAX)) <= middle;
        }
        if (count > rank)
            hi = middle;
        else
            lo = (int64_t)middle + 1;
    }
    const int32_t bits = (int32_t)lo ^ ((int32_t)lo >> 31 & INT32_MAX);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
