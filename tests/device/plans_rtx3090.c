// SPDX-License-Identifier: Apache-2.0
// The generator's plans compiled for an NVIDIA RTX 3090 (sm_86).
#include "tests/device/_plans.h"

int main(void)
{
    return plans_main("rtx3090", true, 1);
}
