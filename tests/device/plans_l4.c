// SPDX-License-Identifier: Apache-2.0
// The generator's plans compiled for an NVIDIA L4 (sm_89), the RTX 4090's generation.
#include "tests/device/_plans.h"

int main(void)
{
    return plans_main("l4", true, 1);
}
