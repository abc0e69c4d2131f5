/* Grey levels with a meaning of their own. */

/* From this one on a sensor is saturated. */
#define SATURATED (1 - 0.5f / 255)
/* A pixel that shows nothing (the C knows no NaN), and the least of one that mixes in no share of
 * such a pixel. */
#define UNSEEN -1e4f
#define MIN_SHOWN -0.01f
