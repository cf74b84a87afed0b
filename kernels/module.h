// SPDX-License-Identifier: Apache-2.0
// Finds the back end of an NVIDIA device in liblipstream_cuda.so, so that the program itself
// neither links nor needs CUDA. Any thread; ls_backend_open calls it.
#ifndef LS_MODULE_H
#define LS_MODULE_H

#include "backend.h"

// Opens the module at path (NULL: there is none); the table lives as long as the process, or until
// ls_module_leave(library). LS_EDEVICE with one line if the file is missing or damaged, lacks a
// library of its own, or is of another build.
LS_MUST int ls_module_load(const struct ls_backend_ops **out, void **library, const char *path,
                           struct ls_err *err);
// After its back end could not be opened: gives the module's memory back (43 MiB, mostly cuDNN's
// and nvrtc's) where there is no driver; else it stays. *library becomes NULL.
void ls_module_leave(void **library);

#endif
