/* out[i] = a[i] * b[i] + c[i] by the kernel's vectors and by its single floats, for ``count`` times four. */
#define VECTOR_BYTES 16
#include "vectors.h"

void multiply_add(int64_t count, const float *a, const float *b, const float *c, float *vectors, float *singles) {
    for (int64_t i = 0; i < 4 * count; i += 4) {
        V x, y, z, sum;
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        memcpy(&z, c + i, sizeof z);
        sum = vmadd(x, y, z);
        memcpy(vectors + i, &sum, sizeof sum);
    }
    for (int64_t i = 0; i < 4 * count; i++) singles[i] = madd1(a[i], b[i], c[i]);
}
