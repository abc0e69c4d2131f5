/* What `sample_rows` works on: `Arguments` of images/sampler.py. */
#include <stdint.h>

typedef struct {
    /* (T, C, stride), T = 1 shared by all images (texture_step 0) or one each (C * stride) */
    const float *textures;
    int64_t texture_step, stride;
    const int32_t *offsets; /* where each level begins */
    int32_t levels, padded_w, padded_h, texture_w, texture_h;
    const float *homographies, *dets; /* (B, 3, 3) and |det H|, computed in double by the caller */
    const float *background;          /* (B, C), or NULL: the edge goes on outside */
    float *out, *inside;              /* (B, C, h, w); NULL, or (B, h, w) coverage to write */
    int32_t channels, h, w;
} Sampling;

/* Rows [begin, end), counted through all images. arguments: a Sampling. */
void sample_rows(const void *arguments, int64_t begin, int64_t end);
