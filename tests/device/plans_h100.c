// SPDX-License-Identifier: Apache-2.0
// The generator's plans compiled for an NVIDIA H100 (sm_90), as good for an H200.
#include "tests/device/_plans.h"

int main(void)
{
    return plans_main("h100", true, 1);
}
