// SPDX-License-Identifier: Apache-2.0
// A module whose library is not there: as of CUDA, when its files were not brought along.
int ls_test_lacking(void);
int ls_test_lacking_elsewhere(void);

int ls_test_lacking(void)
{
    return ls_test_lacking_elsewhere();
}
