// SPDX-License-Identifier: Apache-2.0
// Reads addresses, binds and listens. A host name may have several addresses; the first that can be
// bound is taken. Any thread, but getaddrinfo of a name may ask a resolver: at the start only.
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void ls_address_format(char out[LS_ADDRESS_SIZE], const struct sockaddr *address)
{
    const struct sockaddr_in6 *v6 = (const void *)address;
    const struct sockaddr_in *v4 = (const void *)address;
    char host[INET6_ADDRSTRLEN];

    out[0] = '\0';
    if (address->sa_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host))
        snprintf(out, LS_ADDRESS_SIZE, "%s:%u", host, ntohs(v4->sin_port));
    else if (address->sa_family == AF_INET6 &&
             inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host))
        snprintf(out, LS_ADDRESS_SIZE, "[%s]:%u", host, ntohs(v6->sin6_port));
}

bool ls_address_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in6 *v6 = (const void *)address;
    const struct sockaddr_in *v4 = (const void *)address;

    if (address->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family != AF_INET6)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
}

// "host:port" into its parts; false if it is not of that form.
static bool split(const char *address, char *host, size_t host_size, char *port, size_t port_size)
{
    const char *colon = strrchr(address, ':');
    size_t size;

    if (!colon || !colon[1] || strlen(colon + 1) >= port_size ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
        return false;
    size = (size_t)(colon - address);
    if (address[0] == '[') {
        if (size < 2 || address[size - 1] != ']')
            return false;
        address++;
        size -= 2;
    } else if (memchr(address, ':', size)) {
        return false; // an IPv6 address without brackets is ambiguous
    }
    if (size >= host_size)
        return false;
    memcpy(host, address, size);
    host[size] = '\0';
    strcpy(port, colon + 1);
    return true;
}

static int listen_on(const struct addrinfo *ai, int backlog)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, backlog)) {
        int e = errno;

        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

int ls_listen(char bound[LS_ADDRESS_SIZE], const char *address, const char *flag, int backlog,
              struct ls_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    char host[256], port[8];
    int r, fd = -1;

    if (!split(address, host, sizeof host, port, sizeof port))
        return ls_fail_field(err, LS_EFIELD, flag, "\"%s\" is not host:port", address);
    r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (r)
        return ls_fail_field(err, LS_EFIELD, flag, "%s: %s", address, gai_strerror(r));
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
        fd = listen_on(ai, backlog);
    freeaddrinfo(list);
    if (fd < 0)
        return ls_fail_field(err, LS_EIO, flag, "%s: %s", address, strerror(errno));
    bound[0] = '\0';
    if (!getsockname(fd, (struct sockaddr *)&name, &size))
        ls_address_format(bound, (struct sockaddr *)&name);
    return fd;
}
