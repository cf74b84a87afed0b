// SPDX-License-Identifier: Apache-2.0
// The client's patience (see retry.h): what the server said, never less, and up to half as much
// more; where it said nothing, seconds that double.
#include "client/retry.h"

#include <sys/random.h>

#include "client/report.h"

enum { RESOURCE_EXHAUSTED = 8, UNAVAILABLE = 14, DELAY_S_MAX = 30 };

bool ls_retry_fits(const struct ls_link_status *status)
{
    return status->code == RESOURCE_EXHAUSTED || status->code == UNAVAILABLE;
}

double ls_retry_delay_s(const struct ls_link_status *status, int tries)
{
    double seconds = ls_report_retry_s(status);
    uint16_t random = 0;

    if (seconds < 0)
        seconds = tries < 6 && 1 << (tries - 1) < DELAY_S_MAX ? 1 << (tries - 1) : DELAY_S_MAX;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = 0;
    return seconds * (1 + 0.5 * random / 65536);
}
