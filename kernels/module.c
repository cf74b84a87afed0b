// SPDX-License-Identifier: Apache-2.0
// Opens liblipstream_cuda.so and takes its table of operations. A module that has met a
// driver is never closed: CUDA leaves threads and exit handlers behind that would run into unmapped
// code. A file that was cut
// short is found here, because the dynamic linker would die of it (SIGBUS) instead of refusing it.
#include "module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/module.h"

// The table of sections is the last thing in a linked file: is it there?
static int check_file(const char *path, struct ls_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    Elf64_Ehdr head;
    struct stat st;

    if (fd < 0)
        return ls_fail(err, LS_EDEVICE, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64)
        r = ls_fail(err, LS_EDEVICE, "%s is not a shared library", path);
    else if (head.e_shoff > (uint64_t)st.st_size ||
             (uint64_t)head.e_shnum * head.e_shentsize > (uint64_t)st.st_size - head.e_shoff)
        r = ls_fail(err, LS_EDEVICE, "%s is cut short", path);
    close(fd);
    return r;
}

// What the library holds, if it is ours and of this build.
static int take_table(const struct ls_backend_ops **out, void *library, const char *path,
                      struct ls_err *err)
{
    const struct ls_cuda_module *module = dlsym(library, LS_CUDA_MODULE_SYMBOL);

    if (!module)
        return ls_fail(err, LS_EDEVICE, "%s is no module of lipstream", path);
    if (module->abi != LS_CUDA_MODULE_ABI)
        return ls_fail(err, LS_EDEVICE, "%s belongs to another build of lipstream (%08x, not %08x)",
                       path, module->abi, LS_CUDA_MODULE_ABI);
    *out = module->ops;
    return 0;
}

int ls_module_load(const struct ls_backend_ops **out, void **library, const char *path,
                   struct ls_err *err)
{
    char full[4096];
    const char *why;
    int r;

    if (!path)
        return ls_fail(err, LS_EDEVICE, "no liblipstream_cuda.so: built without CUDA");
    r = check_file(path, err);
    if (r < 0)
        return r;
    // dlopen looks for a name without a slash among the system's libraries.
    snprintf(full, sizeof full, "%s%s", strchr(path, '/') ? "" : "./", path);
    *library = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    if (!*library) {
        why = dlerror();
        return ls_fail(err, LS_EDEVICE, "%s: %s", path, why ? why : "cannot be opened");
    }
    r = take_table(out, *library, path, err);
    if (r < 0)
        ls_module_leave(library);
    return r;
}

void ls_module_leave(void **library)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);

    if (driver)
        dlclose(driver);
    else if (*library)
        dlclose(*library);
    *library = NULL;
}
