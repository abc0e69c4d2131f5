/* The nearest and the second nearest of other descriptors to each of some, and the nearest of these
 * to each of the others. Of several that are equally near it is the first.
 *
 * The arithmetic is that of `nearest_reference` in features/neighbours.py, its slow plain twin.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>

typedef struct { /* `Arguments` of features/neighbours.py */
    /* squared lengths (n,), (m,) and products (n, m) of vectors; or bits (n, words), (words, m) */
    const float *lengths, *other_lengths, *products;
    const uint64_t *bits, *other_bits;
    float *row;                /* (m,): distances from one of them */
    int32_t *nearest, *back;   /* (n,), (m,), to write */
    float *first, *second;     /* (n,): squared distances to the nearest, to the one after */
    float *back_first;         /* (m,) */
    int32_t n, m, words;
} Neighbours;

/* Squared distances from vector i. */
static void of_vectors(const Neighbours *a, const int32_t i) {
    const float length = a->lengths[i], *restrict const product = a->products + (int64_t)i * a->m,
                *restrict const other = a->other_lengths;
    float *restrict const row = a->row;
#pragma omp simd
    for (int32_t j = 0; j < a->m; j++)
        row[j] = (length + other[j]) - 2 * product[j];
}

/* Numbers of bits that differ from descriptor i. */
static void of_bits(const Neighbours *a, const int32_t i) {
    const int32_t m = a->m, words = a->words;
    const uint64_t *const own = a->bits + (int64_t)i * words, *restrict const other = a->other_bits;
    float *restrict const row = a->row;
#pragma omp simd
    for (int32_t j = 0; j < m; j++) {
        int64_t apart = 0;
        for (int32_t k = 0; k < words; k++)
            apart += __builtin_popcountll(own[k] ^ other[(int64_t)k * m + j]);
        row[j] = (float)apart;
    }
}

/* All of them, one after the other: the others' nearest are kept from row to row. */
void neighbours(const void *arguments, int64_t begin, int64_t end) {
    const Neighbours *const a = arguments;
    const int32_t m = a->m;
    float *restrict const row = a->row, *restrict const back_first = a->back_first;
    int32_t *restrict const back = a->back;
    for (int32_t j = 0; j < m; j++)
        back_first[j] = FLT_MAX;
    for (int32_t i = (int32_t)begin; i < end; i++) {
        if (a->bits)
            of_bits(a, i);
        else
            of_vectors(a, i);
        float least = FLT_MAX;
#pragma omp simd reduction(min : least)
        for (int32_t j = 0; j < m; j++) {
            const int nearer = row[j] < back_first[j];
            back_first[j] = nearer ? row[j] : back_first[j];
            back[j] = nearer ? i : back[j];
            least = fminf(least, row[j]);
        }
        int32_t nearest = 0;
        while (nearest < m - 1 && row[nearest] != least) /* none is, of what is no number */
            nearest++;
        row[nearest] = FLT_MAX;
        float second = FLT_MAX;
#pragma omp simd reduction(min : second)
        for (int32_t j = 0; j < m; j++)
            second = fminf(second, row[j]);
        a->nearest[i] = nearest;
        a->first[i] = least;
        a->second[i] = second;
    }
}
