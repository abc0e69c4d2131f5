/* What `draw_solids` works on: `Arguments` of scene/solid.py. */
#include <stdint.h>

typedef struct {
    const float *texture; /* (C, stride): a pyramid */
    int64_t stride;
    const int32_t *offsets; /* where each level begins */
    int32_t levels, padded_w, padded_h;
    const double *vertices;   /* (vertex_count, 3) in the world [m] */
    const int32_t *triangles; /* (triangle_count, 3) vertices */
    const float *texels;      /* (triangle_count, 3, 2) where each corner is in the texture */
    int64_t vertex_count, triangle_count;
    const double *poses; /* (B, 3, 4) T_cam_world */
    double fx, fy, cx, cy, near;
    const double *right, *below; /* of the rows of samples and of their columns: how far [samples]
                                    they lie to the right of whole numbers, and below */
    const float *background;     /* (B, C) */
    float *out, *inside;     /* (B, C, h, w); NULL, or (B, h, w) coverage to write */
    float *inverse_depth;    /* (B, h, w), written where there is no `out` */
    int32_t channels, h, w, per; /* per: samples of a pixel along x and along y, 4 at most */
    int32_t *failed; /* set where there is not enough memory */
} Solid;

/* Images [begin, end). arguments: a Solid. */
void draw_solids(const void *arguments, int64_t begin, int64_t end);
