// SPDX-License-Identifier: Apache-2.0
// The generator's plans compiled for an NVIDIA T4 (sm_75).
#include "tests/device/_plans.h"

int main(void)
{
    return plans_main("t4", false, 2); // it has no TF32, and its plans take twice as long
}
