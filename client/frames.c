// SPDX-License-Identifier: Apache-2.0
// Writes what was done to each frame (see frames.h). Numbers have a point in every locale, because
// the client takes none but LC_CTYPE.
#include "client/frames.h"

#include "client/config.h"

void ls_frames_head(FILE *to)
{
    fputs("index,source_frame,pts_s,left,top,right,bottom,score,track_id,action,roll_degrees,"
          "opacity\n",
          to);
}

void ls_frames_write(FILE *to, const Lipstream__V1__Frames *frames)
{
    char action[32];

    for (size_t i = 0; i < frames->n_frames; i++) {
        const Lipstream__V1__FrameInfo *f = frames->frames[i];
        double pts = f->pts ? (double)f->pts->seconds + f->pts->nanos * 1e-9 : 0;

        fprintf(to, "%lld,%lld,%.6f,", (long long)f->index, (long long)f->source_frame, pts);
        if (f->box)
            fprintf(to, "%.2f,%.2f,%.2f,%.2f,", (double)f->box->left, (double)f->box->top,
                    (double)f->box->right, (double)f->box->bottom);
        else
            fputs(",,,,", to);
        fprintf(to, "%.3f,%d,%s,%.3f,%.3f\n", (double)f->score, (int)f->track_id,
                ls_enum_name(&lipstream__v1__frame_action__descriptor, (int)f->action, action,
                             sizeof(action)),
                (double)f->roll_degrees, (double)f->opacity);
    }
}
