/* Views warped to the pixels of goals whose depth is known, without registration. */
#include "depth_warp.h"

#include "gradient.h"

typedef struct {                                    /* `WarpArguments` of features/depth_warp.py */
    const float *views, *rotations, *shifts;        /* (R, view_h, view_w), (R, 3, 3), (R, 3) */
    const float *inverse_depths;                    /* (h, w), one (depth_step 0) or one each */
    int64_t depth_step;
    float *out, *cover; /* (R, h, w), to write */
    int32_t view_w, view_h, w, h;
} Warping;

/* Runs [begin, end). arguments: a Warping. */
void depth_warp_runs(const void *arguments, int64_t begin, int64_t end) {
    const Warping *const a = arguments;
    const int64_t size = (int64_t)a->w * a->h, view_size = (int64_t)a->view_w * a->view_h;
    float *const shown = working_memory(size + view_size);
    for (int64_t run = begin; run < end; run++) {
        const DepthWarp warp = {a->rotations + 9 * run, a->shifts + 3 * run,
                                a->inverse_depths + run * a->depth_step, a->w, a->h};
        mark_shown(&warp, a->view_w, a->view_h, shown + size, shown);
        warp_by_depth(&warp, a->views + run * view_size, a->view_w, a->view_h, shown,
                      a->out + run * size, a->cover + run * size);
    }
    free(shown);
}
