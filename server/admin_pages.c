// SPDX-License-Identifier: Apache-2.0
// The pages of the admin port. Those of whoever watches over the process (/healthz, /readyz) are
// open to all and say next to nothing; /metrics and /configz want scope admin where callers are
// identified. Loop thread. Options that name files of secrets show the path and no more.
#include "server/admin_pages.h"

#include <inttypes.h>
#include <string.h>

#include "server/gauges.h"
#include "server/metrics.h"
#include "server/text.h"

static const char PLAIN[] = "text/plain; charset=utf-8";

static void put_texts(struct ls_text *t, const struct ls_options *opt)
{
#define S(name, flag, value, help)                                                                 \
    ls_text_put(t, "    \"%s\": ", flag);                                                          \
    ls_text_put_json(t, opt->name);                                                                \
    ls_text_put(t, ",\n");
#define N(name, flag, value, min, max, unit, help)
    LS_OPTIONS(S, N)
#undef S
#undef N
}

static void put_number(void *user, const char *flag, int64_t value, const char *unit,
                       const char *help)
{
    struct ls_text *t = user;

    (void)unit;
    (void)help;
    ls_text_put(t, "    \"%s\": %" PRId64 ",\n", flag, value);
}

static void configz(struct ls_text *t, const struct ls_engine *engine, const struct ls_rpc *rpc)
{
    char device[256] = "";

    if (engine->backend)
        ls_engine_describe(engine, device, sizeof device);
    ls_text_put(t, "{\n  \"version\": \"%s\",\n  \"address\": ", LS_VERSION);
    ls_text_put_json(t, rpc ? ls_rpc_address(rpc) : "");
    ls_text_put(t, ",\n  \"device\": ");
    ls_text_put_json(t, device);
    ls_text_put(t, ",\n  \"options\": {\n");
    put_texts(t, &engine->opt);
    ls_options_each(&engine->opt, put_number, t);
    if (!t->failed)
        t->size -= 2; // the last comma
    ls_text_put(t, "\n  }\n}\n");
}

static void readyz(struct ls_page *out, struct ls_text *t, const struct ls_engine *engine)
{
    const char *why;

    if (ls_gauges_ready(engine, &why)) {
        ls_text_put(t, "ready\n");
    } else {
        ls_text_put(t, "not ready: %s\n", why);
        out->status = 503;
    }
}

// Whether the page may be shown; else it says why not.
static bool allowed(struct ls_page *out, struct ls_text *t, const struct ls_page_request *request,
                    const struct ls_auth *auth)
{
    const char *authorization = request->authorization;
    struct ls_identity identity;
    struct ls_err err = {0};
    int r = 0;

    if (auth)
        r = ls_auth_check(auth, &identity, &request->peer, authorization,
                          authorization ? (int)strlen(authorization) : 0, LS_SCOPE_ADMIN, &err);
    if (r == 0)
        return true;
    out->status = r == LS_ESCOPE ? 403 : 401;
    out->challenge = r != LS_ESCOPE;
    ls_text_put(t, "%s\n", err.text[0] ? err.text : ls_err_text(r));
    return false;
}

static void answer(struct ls_page *out, struct ls_text *t, const struct ls_page_request *request,
                   struct ls_engine *engine, const struct ls_auth *auth, struct ls_rpc *rpc)
{
    const char *path = request->path;
    bool metrics = !strcmp(path, "/metrics"), config = !strcmp(path, "/configz");
    bool ready = !strcmp(path, "/readyz"), health = !strcmp(path, "/healthz");

    if (!metrics && !config && !ready && !health) {
        out->status = 404;
        ls_text_put(t, "there are /metrics, /configz, /healthz and /readyz\n");
    } else if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        out->status = 405;
        out->allow = true;
        ls_text_put(t, "GET and HEAD only\n");
    } else if (health) {
        ls_text_put(t, "ok\n");
    } else if (ready) {
        readyz(out, t, engine);
    } else if (allowed(out, t, request, auth)) {
        out->type = config ? "application/json" : "text/plain; version=0.0.4; charset=utf-8";
        if (config)
            configz(t, engine, rpc);
        else
            out->body = ls_metrics_text(engine->metrics, engine, rpc, &out->size);
    }
}

bool ls_page_make(struct ls_page *out, const struct ls_page_request *request,
                  struct ls_engine *engine, const struct ls_auth *auth, struct ls_rpc *rpc)
{
    struct ls_text t = {.size = 0};

    *out = (struct ls_page){.status = 200, .type = PLAIN};
    answer(out, &t, request, engine, auth, rpc);
    if (!out->body)
        out->body = ls_text_take(&t, &out->size);
    return out->body != NULL;
}
