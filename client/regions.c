// SPDX-License-Identifier: Apache-2.0
// CSV to regions messages (see regions.h). A message ends where the frame numbers jump or after
// RUN_MAX frames. A first line that starts with a letter is a heading.
#include "client/regions.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <lipstream/v1/lip_sync.pb-c.h>

enum { RUN_MAX = 256 };

struct line {
    int64_t frame;
    bool present, bypass;
    float box[4];
};

struct ls_regions {
    FILE *file;
    char *path;
    long line_number;
    bool ahead; // next was read and not yet sent
    struct line next;
    Lipstream__V1__Region region[RUN_MAX];
    Lipstream__V1__Region *pointer[RUN_MAX];
    Lipstream__V1__Box box[RUN_MAX];
};

int ls_regions_open(struct ls_regions **out, const char *path, struct ls_fault *fault)
{
    struct ls_regions *r = calloc(1, sizeof(*r));

    if (!r)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "out of memory");
    r->path = strdup(path);
    r->file = fopen(path, "re");
    if (!r->file || !r->path) {
        ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", path, strerror(errno));
        ls_regions_close(&r);
        return -1;
    }
    *out = r;
    return 0;
}

// A field up to a comma or the end; moves *text behind the comma. NULL when the line has ended.
static const char *take_field(char **text)
{
    char *field = *text, *comma;

    if (!field)
        return NULL;
    comma = strchr(field, ',');
    *text = comma ? comma + 1 : NULL;
    if (comma)
        *comma = '\0';
    while (isspace((unsigned char)*field))
        field++;
    return field;
}

static bool parse_line(struct line *line, char *text)
{
    const char *field = take_field(&text);
    int given = 0;
    char *end;

    memset(line, 0, sizeof(*line));
    line->frame = strtoll(field, &end, 10);
    if (end == field || line->frame < 0)
        return false;
    for (int i = 0; i < 4 && (field = take_field(&text)); i++) {
        if (!field[0])
            continue;
        line->box[i] = strtof(field, &end);
        if (end == field)
            return false;
        given++;
    }
    field = take_field(&text);
    line->bypass = field && (strcmp(field, "1") == 0 || strcmp(field, "true") == 0);
    line->present = given == 4;
    return given == 4 || given == 0;
}

static int read_line(struct ls_regions *r, struct ls_fault *fault)
{
    char text[256];

    while (!r->ahead && fgets(text, sizeof(text), r->file)) {
        r->line_number++;
        text[strcspn(text, "\r\n")] = '\0';
        if (!text[0] || text[0] == '#' || (r->line_number == 1 && isalpha((unsigned char)text[0])))
            continue;
        if (!parse_line(&r->next, text))
            return ls_fault_set(fault, LS_EXIT_USAGE,
                                "%s:%ld: must be frame,left,top,right,bottom[,bypass]", r->path,
                                r->line_number);
        r->ahead = true;
    }
    return 0;
}

static void put_region(struct ls_regions *r, size_t i)
{
    lipstream__v1__region__init(&r->region[i]);
    lipstream__v1__box__init(&r->box[i]);
    r->pointer[i] = &r->region[i];
    r->region[i].bypass = r->next.bypass;
    if (r->next.present) {
        r->box[i].left = r->next.box[0];
        r->box[i].top = r->next.box[1];
        r->box[i].right = r->next.box[2];
        r->box[i].bottom = r->next.box[3];
        r->region[i].box = &r->box[i];
    }
    r->ahead = false;
}

int ls_regions_next(struct ls_regions *r, uint8_t **data, size_t *size, struct ls_fault *fault)
{
    Lipstream__V1__Regions run = LIPSTREAM__V1__REGIONS__INIT;
    Lipstream__V1__SyncRequest request = LIPSTREAM__V1__SYNC_REQUEST__INIT;

    *data = NULL;
    if (read_line(r, fault) < 0)
        return -1;
    run.first_frame = r->next.frame;
    run.regions = r->pointer;
    while (r->ahead && run.n_regions < RUN_MAX &&
           r->next.frame == run.first_frame + (int64_t)run.n_regions) {
        put_region(r, run.n_regions++);
        if (read_line(r, fault) < 0)
            return -1;
    }
    if (run.n_regions == 0)
        return 0;
    request.request_case = LIPSTREAM__V1__SYNC_REQUEST__REQUEST_REGIONS;
    request.regions = &run;
    *size = lipstream__v1__sync_request__get_packed_size(&request);
    *data = malloc(*size);
    if (!*data)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "out of memory");
    lipstream__v1__sync_request__pack(&request, *data);
    return 0;
}

void ls_regions_close(struct ls_regions **pointer)
{
    struct ls_regions *r = *pointer;

    *pointer = NULL;
    if (!r)
        return;
    if (r->file)
        fclose(r->file);
    free(r->path);
    free(r);
}
