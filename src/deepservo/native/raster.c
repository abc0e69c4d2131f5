/* Triangles drawn with a pinhole camera: depth, and what their corners carry, at each sample.
 *
 * The arithmetic is that of `raster_reference` in images/raster.py, its slow plain twin.
 */
#include <math.h>
#include <stdint.h>

typedef struct {          /* `Arguments` of images/raster.py */
    const double *px;     /* (n, 3, 2): pixels of each triangle's corners, */
    const double *depths; /* (n, 3): their Z, all positive, */
    const double *given;  /* (n, 3, channels): and what each carries */
    float *depth, *out;   /* (h, w), infinite before; (h, w, channels), to write */
    int32_t n, channels, h, w;
} Raster;

/* Twice the area of the triangle a, b and (x, y); positive where the three turn clockwise as one
 * sees the picture. */
static double turn(const double *a, const double *b, double x, double y) {
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]);
}

/* Rows [begin, end) of all triangles that are seen from outside. arguments: a Raster. */
void raster_rows(const void *arguments, int64_t begin, int64_t end) {
    const Raster *const r = arguments;
    for (int64_t k = 0; k < r->n; k++) {
        const double *a = r->px + 6 * k, *b = a + 2, *c = a + 4, *Z = r->depths + 3 * k;
        const double area = turn(a, c, b[0], b[1]);
        if (!(area > 0)) /* seen from inside, or on edge */
            continue;
        const double left = fmin(a[0], fmin(b[0], c[0])), right = fmax(a[0], fmax(b[0], c[0])),
                     top = fmin(a[1], fmin(b[1], c[1])), bottom = fmax(a[1], fmax(b[1], c[1]));
        const int64_t first = (int64_t)fmax(ceil(top), (double)begin),
                      last = (int64_t)fmin(floor(bottom), (double)(end - 1)),
                      west = (int64_t)fmax(ceil(left), 0),
                      east = (int64_t)fmin(floor(right), (double)(r->w - 1));
        for (int64_t y = first; y <= last; y++)
            for (int64_t x = west; x <= east; x++) {
                const double share[3] = {turn(c, b, x, y) / area, turn(a, c, x, y) / area,
                                         turn(b, a, x, y) / area};
                if (share[0] < 0 || share[1] < 0 || share[2] < 0)
                    continue;
                const double near[3] = {share[0] / Z[0], share[1] / Z[1], share[2] / Z[2]};
                const double z = 1 / (near[0] + near[1] + near[2]);
                float *depth = r->depth + r->w * y + x;
                if (!((float)z < *depth))
                    continue;
                *depth = (float)z;
                const double *one = r->given + 3 * r->channels * k, *two = one + r->channels,
                             *three = two + r->channels;
                float *out = r->out + r->channels * (r->w * y + x);
                for (int32_t i = 0; i < r->channels; i++) {
                    const double sum = near[0] * one[i] + near[1] * two[i] + near[2] * three[i];
                    out[i] = (float)(z * sum);
                }
            }
    }
}
