// SPDX-License-Identifier: Apache-2.0
// Tells systemd how the service is (sd_notify(3)'s protocol: datagrams to $NOTIFY_SOCKET): ready,
// reloading, stopping, and, where the unit has WatchdogSec, that the loop still turns. Without that
// variable nothing happens. Loop thread only.
#ifndef LS_NOTIFY_H
#define LS_NOTIFY_H

struct uv_loop_s;
struct ls_notify;

// *out is NULL where nobody listens; all functions accept that. Takes the variables out of the
// environment, so that no child speaks for us.
void ls_notify_open(struct ls_notify **out, struct uv_loop_s *loop);
void ls_notify_ready(struct ls_notify *n, const char *text); // also after a reload
void ls_notify_reloading(struct ls_notify *n);
void ls_notify_stopping(struct ls_notify *n);
void ls_notify_close(struct ls_notify **n); // its memory goes when the loop has closed the timer

#endif
