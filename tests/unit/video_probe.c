// SPDX-License-Identifier: Apache-2.0
// The trial of NVDEC where there is no device: a picture is made and decoded, by software, and that
// is no for an answer.
#include <string.h>

#include <libavutil/log.h>

#include "server/encode_parts.h"
#include "tests/unit/_check.h"

int main(void)
{
    struct ls_err err = {0};

    av_log_set_level(AV_LOG_QUIET);

    CHECK(ls_nvdec_probe(NULL, &err) == LS_EDEVICE, "without a device");
    CHECK(!strcmp(err.text, "NVDEC does not decode H.264"), err.text);
    return check_done();
}
