// SPDX-License-Identifier: Apache-2.0
// A shared library that is no module of ours.
int ls_test_empty(void);

int ls_test_empty(void)
{
    return 0;
}
