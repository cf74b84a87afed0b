// SPDX-License-Identifier: Apache-2.0
// What a call came to, for people: warnings, the summary, the error with each field that was
// refused. Main thread. Server texts are cleaned for the terminal on the way out.
#ifndef LS_CLIENT_REPORT_H
#define LS_CLIENT_REPORT_H

#include <lipstream/v1/lip_sync.pb-c.h>

#include "client/link.h"
#include "client/view.h"

void ls_report_warning(struct ls_view *view, const Lipstream__V1__Warning *warning);
// name: of the output, "" for none.
void ls_report_summary(struct ls_view *view, const Lipstream__V1__Summary *summary,
                       const char *name);
// To view's stream: status, reason, message, violations, when to try again, the session's id.
void ls_report_status(struct ls_view *view, const struct ls_link_status *status);
// After how many seconds the server says to try again; negative: it does not.
double ls_report_retry_s(const struct ls_link_status *status);

#endif
