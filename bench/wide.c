// SPDX-License-Identifier: Apache-2.0
// Writes a random network with the original Wav2Lip-96's widths (36.3 million parameters) as
// .safetensors: `bench_wide OUT`. The whole service is measured with it, because the original's
// weights may not be passed on, and time and memory do not depend on the values. The same bytes
// every time.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/wav2lip.h"
#include "kernels/weights.h"

enum { HEADER_MAX = 1 << 20, SEED = 1 };

// The format's header: JSON with name, type, shape and place of each tensor, padded to 8 bytes.
static size_t write_header(char *text, const struct ls_weights *w)
{
    size_t n = (size_t)sprintf(text, "{\"__metadata__\":{\"name\":\"seeded-wide\"}");
    int64_t at = 0;

    for (int i = 0; i < ls_weights_count(w); i++) {
        const struct ls_tensor *t = ls_weights_at(w, i);
        int64_t size = 4 * ls_tensor_size(t);

        if (n > HEADER_MAX - 512)
            return 0;
        n += (size_t)sprintf(text + n, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", t->name);
        for (int d = 0; d < t->dim_count; d++)
            n += (size_t)sprintf(text + n, "%s%" PRId64, d ? "," : "", t->dim[d]);
        n += (size_t)sprintf(text + n, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", at,
                             at + size);
        at += size;
    }
    text[n++] = '}';
    while (n % 8)
        text[n++] = ' ';
    return n;
}

static int write_values(FILE *to, const struct ls_weights *w)
{
    for (int i = 0; i < ls_weights_count(w); i++) {
        const struct ls_tensor *t = ls_weights_at(w, i);
        size_t count = (size_t)ls_tensor_size(t);
        float *values = malloc(count ? count * sizeof *values : 1);
        size_t written;

        if (!values)
            return -1;
        ls_tensor_read(values, t);
        written = fwrite(values, sizeof *values, count, to);
        free(values);
        if (written != count)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static char header[HEADER_MAX];
    struct ls_weights *w = NULL;
    struct ls_err err = {0};
    FILE *to = NULL;
    uint64_t size;
    int failed = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: bench_wide OUT.safetensors\n");
        return 2;
    }
    if (ls_weights_new(&w, &err) < 0 || ls_wav2lip_seed(w, 1, SEED, &err) < 0) {
        fprintf(stderr, "bench_wide: %s\n", err.text);
        goto done;
    }
    size = write_header(header, w);
    to = fopen(argv[1], "wb");
    failed = !size || !to || fwrite(&size, sizeof size, 1, to) != 1 ||
             fwrite(header, 1, size, to) != size || write_values(to, w) < 0;
    if (failed)
        fprintf(stderr, "bench_wide: cannot write %s\n", argv[1]);
done:
    if (to && fclose(to))
        failed = 1;
    ls_weights_close(&w);
    return failed;
}
