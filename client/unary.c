// SPDX-License-Identifier: Apache-2.0
// One message there, one back (see unary.h), on the same link that `sync` streams on.
#include "client/unary.h"

#include <poll.h>
#include <stdlib.h>

#include "client/link.h"
#include "client/report.h"
#include "client/secure.h"
#include "client/view.h"

// Waits for the call's end; data is the reply, NULL if there was none.
static void wait_for_end(struct ls_link *link, uint8_t **data, size_t *size)
{
    struct ls_link_event event;
    int sends = 0;
    bool over = false, ended = false;

    ls_link_send(link, "", 0, NULL, 0);
    ls_link_receive(link);
    while (!over || !ended) {
        struct pollfd p = {.fd = ls_link_fd(link), .events = POLLIN};

        poll(&p, 1, -1);
        while (ls_link_take(link, &event)) {
            if (event.kind == LS_LINK_SENT && sends++ == 0)
                ls_link_half_close(link);
            over |= event.kind == LS_LINK_STATUS;
            if (event.kind != LS_LINK_MESSAGE)
                continue;
            ended = true;
            *data = event.data;
            *size = event.size;
        }
    }
}

int ls_unary_call(const struct ls_client_options *opt, const char *method, uint8_t **data,
                  size_t *size)
{
    struct ls_fault fault = {0};
    struct ls_secure secure = {0};
    struct ls_link *link = NULL;
    struct ls_view errors;
    uint8_t *reply = NULL;
    int exit_code = LS_EXIT_OK;

    ls_view_open(&errors, stderr, LS_PROGRESS_NONE);
    if (ls_secure_load(&secure, opt, &fault) < 0 ||
        ls_link_open(&link,
                     &(struct ls_link_params){.server = opt->server,
                                              .method = method,
                                              .secure = &secure,
                                              .timeout_s = opt->timeout_s},
                     &fault) < 0) {
        ls_view_line(&errors, "lipstream: %s", fault.text);
        ls_secure_free(&secure);
        return fault.exit_code;
    }
    wait_for_end(link, &reply, size);
    if (ls_link_status(link)->code != 0) {
        ls_report_status(&errors, ls_link_status(link));
        exit_code = LS_EXIT_STATUS + ls_link_status(link)->code;
        free(reply);
    } else {
        *data = reply;
    }
    ls_link_close(&link);
    ls_secure_free(&secure);
    return exit_code;
}
